package spec_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	api "github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/compat/docker"
	"github.com/gantry-containers/gantry/tests/harness"
)

// image is the one that the daemon was given.
var image = strings.TrimPrefix(compat.ImageName, "docker.io/library/")

// answered is an answer that is an error.
type answered struct {
	status  int
	message string
}

func (a answered) Error() string { return fmt.Sprintf("%d %s", a.status, a.message) }

// dockerd is an engine that speaks Docker's API: the real one, or ours.
type dockerd struct{ socket, bundles, namespace string }

// theReal is the dockerd of an environment.
func theReal(e *docker.Engine) dockerd { return dockerd{e.Socket(), e.Bundles(), "moby"} }

// engine starts ours, in whole, beside a dockerd and above the same containerd.
func engine(t *testing.T, e *docker.Engine) dockerd {
	t.Helper()
	dir := t.TempDir()
	d := dockerd{filepath.Join(dir, "sock"), e.Bundles(), "gantry-oracle"}
	t.Cleanup(func() { endKeeper(t, dir) }) // After the engine, which leaves it.
	none := filepath.Join(dir, "none.json")
	if err := os.WriteFile(none, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	e.Beside(t, func() error { return d.call(t.Context(), http.MethodGet, "/v1.44/version", nil, nil) },
		filepath.Join(harness.Top(), "bin/gantry-engine"), "--config-file", none, "--data-root", filepath.Join(dir, "data"),
		"--exec-root", filepath.Join(dir, "exec"), "--pidfile", filepath.Join(dir, "pid"), "--host", "unix://"+d.socket,
		"--containerd", e.Containerd(), "--containerd-namespace", d.namespace, "--bridge", "none",
		"--cgroup-parent", e.Parent(), "--default-ulimit", "core=0:0", "--add-runtime", "gantry="+harness.Runtime(t), "--default-runtime", "gantry")
	archive, err := os.ReadFile(compat.Image(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.send(t.Context(), http.MethodPost, "/v1.44/images/load", archive, nil); err != nil {
		t.Fatal(err)
	}
	return d
}

// endKeeper ends the process that outlives an engine of a folder.
func endKeeper(t *testing.T, dir string) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		b, _ := os.ReadFile(l) // It may have ended.
		if !strings.Contains(string(b), dir) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(l)))
		if err == nil && pid != os.Getpid() {
			err = unix.Kill(pid, unix.SIGTERM)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// make creates a container and starts it; it is removed when the test ends. The id is empty when there is none.
func (d dockerd) make(t *testing.T, r request) (id string, err error) {
	t.Helper()
	req := struct {
		*api.Config
		HostConfig *api.HostConfig
	}{&api.Config{Image: image, Cmd: []string{"sleep", "1000"}}, &api.HostConfig{}}
	withoutNetwork(r).change(req.Config, req.HostConfig)
	var created api.CreateResponse
	if err := d.call(t.Context(), http.MethodPost, "/v1.56/containers/create", req, &created); err != nil {
		return "", err
	}
	t.Cleanup(func() {
		if err := d.call(context.Background(), http.MethodDelete, "/v1.56/containers/"+created.ID+"?force=1&v=1", nil, nil); err != nil {
			t.Error(err)
		}
	})
	return created.ID, d.call(t.Context(), http.MethodPost, "/v1.56/containers/"+created.ID+"/start", nil, nil)
}

// fails is the answer to a request that fails.
func (d dockerd) fails(t *testing.T, r request) answered {
	t.Helper()
	id, err := d.make(t, r)
	var a answered
	if err != nil && !errors.As(err, &a) {
		t.Fatal(err)
	}
	if id != "" {
		a.message = strings.ReplaceAll(a.message, id, "ID")
	}
	return a
}

// spec is what a container is started with.
func (d dockerd) spec(t *testing.T, r request) (*specs.Spec, string) {
	t.Helper()
	id, err := d.make(t, r)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(d.bundles, d.namespace, id, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var s specs.Spec
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	return &s, id
}

func (d dockerd) call(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return d.send(ctx, method, path, body, out)
}

func (d dockerd) send(ctx context.Context, method, path string, body []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://docker"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", d.socket)
	}}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= http.StatusBadRequest {
		var e struct{ Message string }
		if err := json.Unmarshal(answer, &e); err != nil {
			return err
		}
		return answered{res.StatusCode, e.Message}
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}
