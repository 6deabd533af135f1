package spec_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/spec"
)

func TestLookup(t *testing.T) {
	for _, tt := range []struct {
		name, user string
		groups     []string
		passwd     []byte
		want       spec.User
		err        string
	}{
		{name: "nobody named", passwd: []byte(passwd), want: spec.User{Home: "/root"}},
		{name: "by name", user: "user", passwd: []byte(passwd), want: spec.User{UID: 1000, GID: 1000, Home: "/home"}},
		{name: "with a group", user: "user:nogroup", passwd: []byte(passwd), want: spec.User{UID: 1000, GID: 65534, Home: "/home"}},
		{name: "unknown number", user: "7:8", passwd: []byte(passwd), want: spec.User{UID: 7, GID: 8, Home: "/"}},
		{name: "no files", user: "7", want: spec.User{UID: 7, Home: "/"}},
		{name: "more groups", user: "user", groups: []string{"9", "nogroup"}, passwd: []byte(passwd), want: spec.User{UID: 1000, GID: 1000, Additional: []uint32{9, 65534}, Home: "/home"}},
		// CVE-2016-3697: a name that looks like a number would make 1000 root.
		{name: "a number is no name", user: "1000", passwd: []byte("1000:x:0:0::/:/bin/sh\n"), want: spec.User{UID: 1000, Home: "/"}},
		{name: "unknown name", user: "x", passwd: []byte(passwd), err: "unable to find user x: no matching entries in passwd file"},
		{name: "unknown group", user: "user:x", passwd: []byte(passwd), err: "unable to find group x: no matching entries in group file"},
		{name: "unknown further group", groups: []string{"x"}, passwd: []byte(passwd), err: "unable to find group x: no matching entries in group file"},
		{name: "out of range", user: "4294967296", passwd: []byte(passwd), err: "uids and gids must be in range 0-2147483647"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := []byte(group)
			if tt.passwd == nil {
				g = nil
			}
			got, err := spec.Lookup(tt.user, tt.groups, tt.passwd, g)
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Fatalf("got %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Home == "" {
				got.Home = "/"
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
		})
	}
}

func TestExec(t *testing.T) {
	of := func() (*container.Container, *specs.Spec) {
		c := &container.Container{
			Config:     &api.Config{Hostname: "h", Env: []string{"A=a"}, WorkingDir: "/w"},
			HostConfig: &api.HostConfig{},
		}
		p := &specs.Process{
			User: specs.User{UID: 5, Umask: new(uint32(7))}, Capabilities: &specs.LinuxCapabilities{Bounding: []string{"CAP_CHOWN"}},
			NoNewPrivileges: true, Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_CORE"}}, ConsoleSize: &specs.Box{Height: 1}, Terminal: true,
			ApparmorProfile: "p", SelinuxLabel: "l", OOMScoreAdj: new(7), Args: []string{"init"}, Env: []string{"X=x"}, Cwd: "/",
		}
		return c, &specs.Spec{Process: p}
	}
	plain := func(change func(*specs.Process)) *specs.Process {
		_, s := of()
		p := s.Process
		p.Args, p.Env, p.Cwd, p.Terminal, p.ConsoleSize = []string{"a", "b"}, []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=h", "A=a"}, "/w", false, nil
		change(p)
		return p
	}
	for _, tt := range []struct {
		name string
		req  api.ExecCreateRequest
		user spec.User
		want *specs.Process
	}{
		{name: "plain", want: plain(func(*specs.Process) {}), user: spec.User{UID: 9}},
		{name: "folder", req: api.ExecCreateRequest{WorkingDir: "/x"}, want: plain(func(p *specs.Process) { p.Cwd = "/x" })},
		{
			name: "environment", req: api.ExecCreateRequest{Env: []string{"A=b", "HOSTNAME"}},
			want: plain(func(p *specs.Process) { p.Env = []string{p.Env[0], "A=b"} }),
		},
		{
			name: "terminal", req: api.ExecCreateRequest{Tty: true, ConsoleSize: &[2]uint{3, 4}},
			want: plain(func(p *specs.Process) {
				p.Terminal, p.ConsoleSize = true, &specs.Box{Height: 3, Width: 4}
				p.Env = []string{p.Env[0], "HOSTNAME=h", "TERM=xterm", "A=a"}
			}),
		},
		{
			name: "user", req: api.ExecCreateRequest{User: "u"}, user: spec.User{UID: 1, GID: 2, Additional: []uint32{3}},
			want: plain(func(p *specs.Process) {
				p.User = specs.User{UID: 1, GID: 2, AdditionalGids: []uint32{2, 3}, Umask: new(uint32(7))}
			}),
		},
		{
			name: "privileged", req: api.ExecCreateRequest{Privileged: true},
			want: plain(func(p *specs.Process) {
				all := aMachine().Capabilities
				p.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
			}),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, s := of()
			tt.req.Cmd = []string{"a", "b"}
			got, err := spec.Exec(c, s, tt.req, tt.user, aMachine())
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
			if s.Process.Args[0] != "init" {
				t.Error("the container's own process was changed")
			}
		})
	}
}

// startRefusals has what only a start can find out.
func startRefusals() map[string]request {
	return map[string]request{
		`error gathering device information while adding custom device "/dev/none": no such file or directory`: hostConfig("", func(h *api.HostConfig) {
			h.Devices = []api.DeviceMapping{{PathOnHost: "/dev/none"}}
		}),
		"invalid device cgroup rule format: 'x'": hostConfig("", func(h *api.HostConfig) { h.DeviceCgroupRules = []string{"x"} }),
		"invalid major value in device cgroup rule format: 'c 99999999999999999999:1 r'": hostConfig("", func(h *api.HostConfig) {
			h.DeviceCgroupRules = []string{"c 99999999999999999999:1 r"}
		}),
		`could not select device driver "" with capabilities: [[tpu]]`: hostConfig("", func(h *api.HostConfig) {
			h.DeviceRequests = []api.DeviceRequest{{Capabilities: [][]string{{"tpu"}}}}
		}),
		"CDI device injection failed: unresolvable CDI devices nobody.com/d=0": hostConfig("", func(h *api.HostConfig) {
			h.DeviceRequests = []api.DeviceRequest{{Driver: "cdi", DeviceIDs: []string{"nobody.com/d=0"}}}
		}),
		"failed to discover GPU vendor from CDI: no known GPU vendor found": hostConfig("", func(h *api.HostConfig) {
			h.DeviceRequests = []api.DeviceRequest{{Count: -1, Capabilities: [][]string{{"gpu"}}}}
		}),
		`invalid --security-opt 1: "x"`:                         hostConfig("", func(h *api.HostConfig) { h.SecurityOpt = []string{"x"} }),
		`invalid --security-opt 2: "x=y"`:                       hostConfig("", func(h *api.HostConfig) { h.SecurityOpt = []string{"x=y"} }),
		`invalid --security-opt 2: "no-new-privileges=perhaps"`: hostConfig("", func(h *api.HostConfig) { h.SecurityOpt = []string{"no-new-privileges=perhaps"} }),
		`invalid tmpfs option "x"`:                              hostConfig("", func(h *api.HostConfig) { h.Tmpfs = map[string]string{"/x": "x"} }),
		"path /opt is mounted on / but it is not a shared mount": {
			change: func(_ *api.Config, h *api.HostConfig) { h.Binds = []string{"/opt:/x:rshared"} },
			mounts: hostMount(mount.Mount{Type: "bind", Source: "/opt", Target: "/x"}, true, "rshared"),
		},
		"path /opt is mounted on / but it is not a shared or slave mount": {
			change: func(_ *api.Config, h *api.HostConfig) {
				h.Mounts = []mount.Mount{{Type: "bind", Source: "/opt", Target: "/x", BindOptions: &mount.BindOptions{Propagation: "rslave"}}}
			},
			mounts: hostMount(mount.Mount{Type: "bind", Source: "/opt", Target: "/x", BindOptions: &mount.BindOptions{Propagation: "rslave"}}, true, "rslave"),
		},
		"mount options conflict: !ReadOnly && BindOptions.ReadOnlyNonRecursive":              withMount("", aBind(false, &mount.BindOptions{ReadOnlyNonRecursive: true})),
		"mount options conflict: !ReadOnly && BindOptions.ReadOnlyForceRecursive":            withMount("", aBind(false, &mount.BindOptions{ReadOnlyForceRecursive: true})),
		"mount options conflict: ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive": withMount("", aBind(true, &mount.BindOptions{ReadOnlyForceRecursive: true, ReadOnlyNonRecursive: true})),
		"no container is known whose ipc namespace can be joined":                            hostConfig("", func(h *api.HostConfig) { h.IpcMode = "container:x" }),
	}
}

func TestBuildRefuses(t *testing.T) {
	for want, r := range startRefusals() {
		_, err := create(strings.Repeat("a1", 32), "machine", r, spec.Input{Facts: aMachine(), Features: aRuntime(), Machine: paths{}})
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// byName is a CDI of one device.
type byName struct{}

func (byName) InjectDevices(s *specs.Spec, names ...string) ([]string, error) {
	if len(names) != 1 || names[0] != "v.com/d=0" {
		return names, errors.New("unresolvable CDI devices " + strings.Join(names, ", "))
	}
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/d"})
	return nil, nil
}

func (byName) ListVendors() []string { return []string{"amd.com", "v.com"} }

func TestDeviceRequests(t *testing.T) {
	for _, tt := range []struct {
		name string
		req  api.DeviceRequest
		err  string
	}{
		{"known", api.DeviceRequest{Driver: "cdi", DeviceIDs: []string{"v.com/d=0"}}, ""},
		{"unknown", api.DeviceRequest{Driver: "cdi", DeviceIDs: []string{"x"}}, "CDI device injection failed: unresolvable CDI devices x"},
		{"counted", api.DeviceRequest{Driver: "cdi", Count: 1}, "unexpected count in CDI device request"},
		{"options", api.DeviceRequest{Driver: "cdi", Options: map[string]string{"a": "b"}}, "unexpected options in CDI device request"},
		{"all GPUs", api.DeviceRequest{Count: -1, Capabilities: [][]string{{"gpu"}}}, "CDI device injection failed: unresolvable CDI devices amd.com/gpu=all"},
		{"two GPUs", api.DeviceRequest{Count: 2, Capabilities: [][]string{{"tpu"}, {"amd", "gpu"}}}, "CDI device injection failed: unresolvable CDI devices amd.com/gpu=0, amd.com/gpu=1"},
		{"GPU by number and name", api.DeviceRequest{DeviceIDs: []string{"5", "a.com/b=c"}, Capabilities: [][]string{{"gpu"}}}, "CDI device injection failed: unresolvable CDI devices amd.com/gpu=5, a.com/b=c"},
		{"count and names", api.DeviceRequest{Count: 1, DeviceIDs: []string{"5"}, Capabilities: [][]string{{"gpu"}}}, "cannot set both Count and DeviceIDs on device request"},
		{"another's GPU", api.DeviceRequest{Count: 1, Capabilities: [][]string{{"gpu", "nvidia"}}}, `could not select device driver "" with capabilities: [[gpu nvidia]]`},
		{"other driver", api.DeviceRequest{Driver: "nvidia"}, `could not select device driver "nvidia" with capabilities: []`},
	} {
		r := hostConfig("", func(h *api.HostConfig) { h.DeviceRequests = []api.DeviceRequest{tt.req} })
		s, err := create(strings.Repeat("a1", 32), "machine", r, spec.Input{Facts: aMachine(), Machine: paths{}, CDI: byName{}})
		switch {
		case tt.err != "" && (err == nil || err.Error() != tt.err):
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.err)
		case tt.err == "" && (err != nil || s.Mounts[len(s.Mounts)-1].Destination != "/d"):
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// TestBuildOnLess is about machines and runtimes that cannot do everything.
func TestBuildOnLess(t *testing.T) {
	id := strings.Repeat("a1", 32)
	old := aMachine()
	old.Seccomp, old.InitPath, old.SystemdCgroup = false, "", true
	s, err := create(id, "machine", withMount("", aBind(true, nil)), spec.Input{Facts: old, Machine: paths{}})
	if err != nil {
		t.Fatal(err)
	}
	if s.Linux.Seccomp != nil {
		t.Error("seccomp where the kernel has none")
	}
	if s.Linux.CgroupsPath != "system.slice:docker:"+id {
		t.Errorf("cgroup %s", s.Linux.CgroupsPath)
	}
	for _, ns := range s.Linux.Namespaces {
		if ns.Type == specs.TimeNamespace {
			t.Error("a time namespace of a runtime that does not know it")
		}
	}
	for _, m := range s.Mounts {
		if m.Destination == "/x" && !cmp.Equal(m.Options, []string{"rbind", "ro", "rprivate"}) {
			t.Errorf("options of a read-only mount: %q", m.Options)
		}
	}
	for _, r := range []request{
		hostConfig("seccomp", func(h *api.HostConfig) { h.SecurityOpt = []string{"seccomp=" + allowAll} }),
		hostConfig("init", func(h *api.HostConfig) { h.Init = new(true) }),
		withMount("rro", aBind(true, &mount.BindOptions{ReadOnlyForceRecursive: true})),
	} {
		if _, err := create(id, "machine", r, spec.Input{Facts: old, Machine: paths{}}); err == nil {
			t.Errorf("%s: no error", r.flags)
		}
	}
}

func TestShare(t *testing.T) {
	find := func(ref string) (*container.Container, error) {
		if ref == "name" || ref == "0123" {
			return &container.Container{ID: "0123"}, nil
		}
		return nil, errors.New("No such container: " + ref)
	}
	hc := &api.HostConfig{IpcMode: "container:name", PidMode: "container:name", NetworkMode: "container:gone"}
	if err := spec.Share(hc, find); err != nil {
		t.Fatal(err)
	}
	if hc.IpcMode != "container:0123" || hc.PidMode != "container:0123" || hc.NetworkMode != "container:gone" {
		t.Errorf("got %s, %s, %s", hc.IpcMode, hc.PidMode, hc.NetworkMode)
	}
	if err := spec.Share(&api.HostConfig{IpcMode: "container:gone"}, find); err == nil || err.Error() != "No such container: gone" {
		t.Errorf("got %v", err)
	}
}
