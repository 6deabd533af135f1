package system_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/moby/moby/api/types/image"
	api "github.com/moby/moby/api/types/system"
	runtimespec "github.com/opencontainers/runtime-spec/specs-go/features"

	"github.com/gantry-containers/gantry/engine/config"
	"github.com/gantry-containers/gantry/engine/host"
	"github.com/gantry-containers/gantry/engine/system"
)

// manager is one that knows runc, and counts how often it was asked.
type manager struct {
	asked    int
	versions atomic.Int64
}

func (m *manager) Version(context.Context) (containerd.Version, error) {
	m.versions.Add(1)
	return containerd.Version{Version: "2.4.2", Revision: "rev"}, nil
}

func (m *manager) RuntimeInfo(_ context.Context, _ string, opts any) (*containerd.RuntimeInfo, error) {
	m.asked++
	if opts != nil {
		return nil, errors.New("no such runtime")
	}
	return &containerd.RuntimeInfo{Features: &runtimespec.Features{OCIVersionMax: "1.3.0"}}, nil
}

// sizes is images of which there are 3.
type sizes struct{ err error }

func (sizes) Count(context.Context) int { return 3 }
func (s sizes) DiskUsage(context.Context) (*image.DiskUsage, error) {
	return &image.DiskUsage{TotalSize: 7}, s.err
}

// program writes a shell script that answers to --version.
func program(t *testing.T, dir, name, says string) {
	t.Helper()
	script := "#!/bin/sh\necho run >> " + filepath.Join(dir, name+".runs") + "\nprintf '" + says + "'\n"
	if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
}

type fixture struct {
	*system.Service
	manager *manager
	config  *config.Config
	dir     string
}

func fix(t *testing.T, facts host.Facts) fixture {
	t.Helper()
	f := fixture{manager: &manager{}, config: config.Default("gantry-engine"), dir: t.TempDir()}
	program(t, f.dir, "runc", `runc version 1.3.0\ncommit: v1.3.0-0-g4ca\nspec: 1.2.1\n`)
	program(t, f.dir, "docker-init", `tini version 0.19.0 - git.de40ad0\n`)
	s, err := system.New(system.Options{
		Version: "1.0", Commit: "abc", Facts: facts, Address: "/m.sock", Manager: f.manager, Images: sizes{},
		Config: func() *config.Config { return f.config }, Listeners: func() int { return 4 },
		Find: func(name string) (string, error) { return filepath.Join(f.dir, name), nil },
	}, f.dir)
	if err != nil {
		t.Fatal(err)
	}
	f.Service = s
	return f
}

func TestIDStays(t *testing.T) {
	f := fix(t, host.Facts{})
	again, err := system.New(system.Options{}, f.dir)
	if err != nil || again.ID() != f.ID() || len(f.ID()) != 36 {
		t.Errorf("ids %q and %q, %v", f.ID(), again.ID(), err)
	}
}

func TestVersion(t *testing.T) {
	f := fix(t, host.Facts{})
	for range 2 {
		v, err := f.Version(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, c := range v.Components {
			got[c.Name] = c.Version + " " + c.Details["GitCommit"]
		}
		want := map[string]string{"Engine": "1.0 abc", "containerd": "2.4.2 rev", "runc": "1.3.0 v1.3.0-0-g4ca", "docker-init": "0.19.0 de40ad0"}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
	runs, err := os.ReadFile(filepath.Join(f.dir, "runc.runs"))
	if err != nil || string(runs) != "run\n" {
		t.Errorf("runc ran %q times, %v", runs, err)
	}
}

// However many ask at the same time, neither the manager nor a program notices.
func TestManyAskAtOnce(t *testing.T) {
	f := fix(t, host.Facts{})
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			if _, err := f.Version(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	runs, err := os.ReadFile(filepath.Join(f.dir, "runc.runs"))
	if n := f.manager.versions.Load(); err != nil || n > 20 || len(runs) > 20*len("run\n") {
		t.Errorf("the manager was asked %d times, runc ran %d times, %v", n, len(runs)/len("run\n"), err)
	}
}

func TestInfo(t *testing.T) {
	f := fix(t, host.Facts{Seccomp: true, CgroupNamespace: true, Controllers: map[string]bool{host.Memory: true, host.Pids: true, host.CPUQuota: true}})
	c := f.config
	c.Containers.Runtimes["crun"] = api.Runtime{Path: "/usr/bin/crun", Args: []string{"-x"}}
	c.Containers.NoNewPrivileges, c.Containers.Seccomp = true, "unconfined"
	c.Registry.Mirrors, c.Registry.Insecure = []string{"https://m", "https://m/"}, []string{"r:5000", "10.1.2.3/8"}
	c.Proxies.HTTP = "http://user:secret@p:1"
	var info *api.Info
	for range 2 {
		var err error
		if info, err = f.Info(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if f.manager.asked != 2 {
		t.Errorf("runtimes were asked %d times, want once each", f.manager.asked)
	}
	want := &api.Info{
		ID: f.ID(), ServerVersion: "1.0", Images: 3, NEventsListener: 4, Driver: "overlayfs", DriverStatus: [][2]string{{"driver-type", "io.containerd.snapshotter.v1"}},
		LoggingDriver: "json-file", CgroupDriver: "cgroupfs", CgroupVersion: "1", OSType: "linux", IndexServerAddress: "https://index.docker.io/v1/",
		MemoryLimit: true, PidsLimit: true, CPUCfsPeriod: true, CPUCfsQuota: true, LiveRestoreEnabled: true, DockerRootDir: "/var/lib/gantry/engine",
		HTTPProxy: "http://xxxxx:xxxxx@p:1", DefaultRuntime: "runc", InitBinary: "docker-init",
		RuncCommit: api.Commit{ID: "v1.3.0-0-g4ca"}, InitCommit: api.Commit{ID: "de40ad0"}, ContainerdCommit: api.Commit{ID: "rev"},
		SecurityOptions: []string{"name=seccomp,profile=unconfined", "name=no-new-privileges"},
		CDISpecDirs:     []string{"/etc/cdi", "/var/run/cdi"}, DiscoveredDevices: []api.DeviceInfo{},
		Containerd: &api.ContainerdInfo{Address: "/m.sock", Namespaces: api.ContainerdNamespaces{Containers: "moby", Plugins: "plugins.moby"}},
	}
	ofTheMachine := cmpopts.IgnoreFields(api.Info{}, "NFd", "NGoroutines", "SystemTime", "KernelVersion", "OperatingSystem", "OSVersion", "Architecture",
		"NCPU", "MemTotal", "Name", "IPv4Forwarding", "Warnings", "Plugins", "RegistryConfig", "Runtimes", "Swarm", "HTTPSProxy", "NoProxy")
	if d := cmp.Diff(want, info, ofTheMachine); d != "" {
		t.Error(d)
	}
	features := map[string]string{"org.opencontainers.runtime-spec.features": `{"ociVersionMax":"1.3.0"}`}
	stock := api.RuntimeWithStatus{Runtime: api.Runtime{Path: "runc"}, Status: features}
	wantRuntimes := map[string]api.RuntimeWithStatus{
		"runc": stock, "io.containerd.runc.v2": stock, "crun": {Runtime: api.Runtime{Path: "/usr/bin/crun", Args: []string{"-x"}}},
	}
	if d := cmp.Diff(wantRuntimes, info.Runtimes); d != "" {
		t.Error(d)
	}
	r := info.RegistryConfig
	if d := cmp.Diff([]string{"https://m/"}, r.Mirrors); d != "" || r.IndexConfigs["r:5000"] == nil || r.IndexConfigs["r:5000"].Secure || !r.IndexConfigs["docker.io"].Secure {
		t.Errorf("%s; %v", d, r.IndexConfigs)
	}
	if !slices.Contains(r.InsecureRegistryCIDRs, netip.MustParsePrefix("10.0.0.0/8")) || !slices.Contains(r.InsecureRegistryCIDRs, netip.MustParsePrefix("127.0.0.0/8")) {
		t.Errorf("insecure networks %v", r.InsecureRegistryCIDRs)
	}
	if info.MemTotal < 1<<20 || info.NFd < 3 || info.KernelVersion == "" || info.Architecture == "" || info.OperatingSystem == "" {
		t.Errorf("about the machine: %d bytes, %d descriptors, %q, %q, %q", info.MemTotal, info.NFd, info.KernelVersion, info.Architecture, info.OperatingSystem)
	}
}

func TestWarnings(t *testing.T) {
	tests := map[string]struct {
		facts     host.Facts
		has, hasn []string
	}{
		"v1": {
			host.Facts{Controllers: map[string]bool{host.Memory: true}},
			[]string{"WARNING: No swap limit support", "WARNING: No oom kill disable support", "WARNING: No blkio throttle.read_bps_device support"},
			[]string{"WARNING: No memory limit support", "WARNING: No io.weight support"},
		},
		"v2": {
			host.Facts{CgroupV2: true, Controllers: map[string]bool{}},
			[]string{"WARNING: No memory limit support", "WARNING: No io.weight support", "WARNING: No io.max (rbps) support"},
			[]string{"WARNING: No oom kill disable support"},
		},
	}
	for name, test := range tests {
		info, err := fix(t, test.facts).Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all := strings.Join(info.Warnings, "\n") + "\n"
		for _, w := range test.has {
			if !strings.Contains(all, w+"\n") {
				t.Errorf("%s: %q is missing in %s", name, w, all)
			}
		}
		for _, w := range test.hasn {
			if strings.Contains(all, w+"\n") {
				t.Errorf("%s: %q is in %s", name, w, all)
			}
		}
	}
}

func TestDiskUsage(t *testing.T) {
	u, err := fix(t, host.Facts{}).DiskUsage(t.Context(), map[api.DiskUsageObject]bool{api.ImageObject: true, api.VolumeObject: true})
	if err != nil {
		t.Fatal(err)
	}
	if u.ImageUsage == nil || u.ImageUsage.TotalSize != 7 || u.VolumeUsage == nil || u.ContainerUsage != nil || u.BuildCacheUsage != nil {
		t.Errorf("got %+v", u)
	}
	broken := errors.New("broken")
	s, err := system.New(system.Options{Images: sizes{broken}}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.DiskUsage(t.Context(), map[api.DiskUsageObject]bool{api.ImageObject: true}); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}
