package spec_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"github.com/gantry-containers/gantry/engine/host"
	"github.com/gantry-containers/gantry/engine/spec"
	"github.com/gantry-containers/gantry/tests/compat/docker"
	"github.com/gantry-containers/gantry/tests/harness"
)

// TestOracle makes the requests to a real dockerd 29, reads what it gave to its runtime, and compares that with ours. It
// takes half a minute, so it runs when it is asked for: GANTRY_ORACLE=1.
func TestOracle(t *testing.T) {
	facts, feat := oracle(t)
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	e := docker.Start(t, &docker.Releases[1], docker.Setup{Containerd: true, Args: []string{"--default-ulimit", "core=0:0"}})
	d := theReal(e)
	for _, r := range requests {
		if !r.oracle {
			continue
		}
		t.Run("docker run "+r.flags, func(t *testing.T) {
			theirs, id := d.spec(t, r)
			in := spec.Input{
				Facts: facts, Features: feat,
				HostnameFile: "/state/hostname", Hosts: "/state/hosts", ResolvConf: "/state/resolv.conf",
				Defaults: spec.Defaults{
					CgroupParent: e.Parent(), Runtime: "gantry", Runtimes: []string{"gantry"},
					Ulimits: map[string]*api.Ulimit{"core": {Name: "core"}},
				},
			}
			ours, err := create(id, hostname, withoutNetwork(r), in)
			if err != nil {
				t.Fatal(err)
			}
			same(t, masked(t, theirs, id), masked(t, ours, id))
		})
	}
}

// TestOracleEngine compares the specs of the engine in whole (bin/gantry-engine) with those of a real dockerd.
func TestOracleEngine(t *testing.T) {
	oracle(t)
	e := docker.Start(t, &docker.Releases[1], docker.Setup{Containerd: true, Args: []string{"--default-ulimit", "core=0:0"}})
	theirs, ours := theReal(e), engine(t, e)
	for _, r := range requests {
		if r.oracle {
			t.Run("docker run "+r.flags, func(t *testing.T) {
				a, aID := theirs.spec(t, r)
				b, bID := ours.spec(t, r)
				same(t, masked(t, a, aID), masked(t, b, bID))
			})
		}
	}
}

// TestOracleStarts compares the answers to starts that fail, of the engine in whole and of a real dockerd.
func TestOracleStarts(t *testing.T) {
	oracle(t)
	e := docker.Start(t, &docker.Releases[1], docker.Setup{Containerd: true})
	theirs, ours := theReal(e), engine(t, e)
	for what, r := range startRefusals() {
		a, b := theirs.fails(t, r), ours.fails(t, r)
		if a != b {
			t.Errorf("%s: dockerd says %v, the engine says %v", what, a, b)
		}
	}
}

func same(t *testing.T, theirs, ours []string) {
	t.Helper()
	for _, l := range changes(theirs, ours) {
		// Our default profile is a release younger: it allows fewer kinds of sockets.
		if !strings.Contains(l, `"names":["socket"]`) {
			t.Errorf("(- dockerd, + ours) %s", l)
		}
	}
}

// oracle skips a test that was not asked for, and finds out about this machine and runtime.
func oracle(t *testing.T) (host.Facts, *features.Features) {
	t.Helper()
	harness.NeedRoot(t)
	if os.Getenv("GANTRY_ORACLE") == "" {
		t.Skip("takes half a minute with a dockerd of its own: set GANTRY_ORACLE=1")
	}
	facts, err := host.Probe()
	if err != nil {
		t.Fatal(err)
	}
	var feat features.Features
	if err := json.Unmarshal([]byte(harness.New(t).MustRun("features")), &feat); err != nil {
		t.Fatal(err)
	}
	return facts, &feat
}

// withoutNetwork keeps bridges out of it: they are another's business.
func withoutNetwork(r request) request {
	change := r.change
	r.change = func(c *api.Config, h *api.HostConfig) {
		h.NetworkMode = "none"
		change(c, h)
	}
	return r
}

// masked takes away what may differ: ids, and where each engine keeps its files.
func masked(t *testing.T, s *specs.Spec, id string) []string {
	t.Helper()
	s.Root.Path = ""
	for i, m := range s.Mounts {
		switch {
		case strings.HasSuffix(m.Source, "/shm") && m.Type == "bind" && m.Source != "/dev/shm":
			s.Mounts[i].Source = "/state/shm"
		case strings.HasPrefix(m.Destination, "/etc/") && strings.Contains(m.Source, id):
			s.Mounts[i].Source = "/state/" + filepath.Base(m.Source)
		case m.Destination == "/sbin/docker-init":
			s.Mounts[i].Source = "/init"
		}
	}
	lines := flat(t, s)
	for i, l := range lines {
		lines[i] = strings.ReplaceAll(strings.ReplaceAll(l, id, "ID"), id[:12], "SHORT")
	}
	return lines
}

// TestOracleRefuses compares what Adjust and Check say no to with the answers of a real dockerd.
func TestOracleRefuses(t *testing.T) {
	facts, _ := oracle(t)
	d := theReal(docker.Start(t, &docker.Releases[1], docker.Setup{Containerd: true}))
	for what, change := range refusals() {
		req := &api.CreateRequest{Config: &api.Config{}, HostConfig: &api.HostConfig{}}
		change(req.Config, req.HostConfig)
		if req.HostConfig.CpusetMems == "1" {
			continue // dockerd takes it for a CPU, and the start fails.
		}
		d.compare(t, what, "1.56", req, facts)
	}
	for _, a := range adjustments {
		req := a.request()
		if a.refused == "" || a.version < "1.40" || req.Config == nil || a.body != "" {
			continue // dockerd 29 knows no older versions; the rest cannot be said by this client.
		}
		d.compare(t, a.name, a.version, req, facts)
	}
}

// compare makes a request to dockerd and to us, where one of both is to refuse it.
func (d dockerd) compare(t *testing.T, what, version string, req *api.CreateRequest, facts host.Facts) {
	t.Helper()
	req.Image, req.Cmd = image, []string{"true"}
	body, err := json.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	var created api.CreateResponse
	theirs := d.call(t.Context(), http.MethodPost, "/v"+version+"/containers/create", json.RawMessage(body), &created)
	status, ours := refuse(version, body, facts)
	var answer answered
	switch {
	case theirs == nil:
		// This machine can do it, or cannot and says so in a warning.
		if ours != nil {
			t.Errorf("%s: dockerd made a container of it, we say %v", what, ours)
		}
		if err := d.call(t.Context(), http.MethodDelete, "/v1.56/containers/"+created.ID, nil, nil); err != nil {
			t.Error(err)
		}
	case !errors.As(theirs, &answer) || ours == nil || answer.status != status || answer.message != ours.Error():
		t.Errorf("%s: dockerd says %v, we say %d %v", what, theirs, status, ours)
	}
}

// refuse goes the way of a create as far as this package does.
func refuse(version string, body []byte, facts host.Facts) (int, error) {
	var req api.CreateRequest
	err := json.Unmarshal(body, &req)
	if err == nil {
		_, err = spec.Adjust(version, &req, body, facts)
	}
	if err == nil {
		_, err = spec.Check(req.Config, req.HostConfig, spec.Defaults{}, facts)
	}
	if err == nil {
		err = spec.CheckNetworking(req.NetworkingConfig, networksOf)
	}
	if errors.Is(err, errdefs.ErrInvalidArgument) {
		return http.StatusBadRequest, err
	}
	return http.StatusInternalServerError, err
}
