package config

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// write makes a file of the test and returns its path.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSettings(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want func(*Config)
	}{
		"nothing": {"", func(*Config) {}},
		"version 2": {
			`
version = 2
root = "/r"
state = "/s"
temp = "/t"
oom_score = -5
[grpc]
  address = "/a.sock"
  uid = 1
  gid = 2
  max_recv_message_size = 3
  max_send_message_size = 4
[ttrpc]
  address = "/t.sock"
[debug]
  address = "/d.sock"
  level = "debug"
  format = "json"
[metrics]
  address = "127.0.0.1:1338"
[cgroup]
  path = "/c"
[timeouts]
  "io.containerd.timeout.task.state" = "3s"
`, func(c *Config) {
				c.Root, c.State, c.Temp, c.OOMScore = "/r", "/s", "/t", -5
				c.GRPC = Socket{"/a.sock", 1, 2, 3, 4}
				c.TTRPC.Address = "/t.sock"
				c.Debug = Debug{Address: "/d.sock", Level: "debug", Format: "json"}
				c.Metrics.Address, c.Cgroup = "127.0.0.1:1338", "/c"
				c.Timeouts["io.containerd.timeout.task.state"] = 3 * time.Second
			},
		},
		"version 4": {
			`
version = 4
[debug]
  level = "warn"
[plugins."io.containerd.server.v1.grpc"]
  address = "/a.sock"
  gid = 7
[plugins."io.containerd.server.v1.ttrpc"]
  address = "/t.sock"
  uid = 8
[plugins."io.containerd.server.v1.debug"]
  address = "/d.sock"
[plugins."io.containerd.server.v1.metrics"]
  address = ":1"
`, func(c *Config) {
				c.Debug.Level, c.Debug.Address = "warn", "/d.sock"
				c.GRPC.Address, c.GRPC.GID = "/a.sock", 7
				c.TTRPC.Address, c.TTRPC.UID = "/t.sock", 8
				c.Metrics.Address = ":1"
			},
		},
		"plugins": {
			`
version = 3
disabled_plugins = ["io.containerd.grpc.v1.cri"]
required_plugins = ["io.containerd.grpc.v1.tasks"]
[plugins."io.gantry.manager.v1"]
  default_runtime = "io.containerd.runc.v2"
  default_snapshotter = "native"
[plugins."io.containerd.gc.v1.scheduler"]
  pause_threshold = 0.5
  deletion_threshold = 1
  mutation_threshold = 2
  schedule_delay = "1ms"
  startup_delay = "1m"
[plugins."io.containerd.metadata.v1.bolt"]
  content_sharing_policy = "isolated"
  no_sync = true
[plugins."io.containerd.snapshotter.v1.overlayfs"]
  root_path = "/o"
  upperdir_label = true
  sync_remove = true
  slow_chown = true
  mount_options = ["volatile"]
[plugins."io.containerd.monitor.container.v1.restart"]
  interval = "5s"
[plugins."io.gantry.manager.v1".runtimes]
  "io.containerd.runc.v2" = "io.containerd.runc.v2"
  "io.containerd.kata.v2" = "/opt/kata/shim"
[plugins."io.containerd.shim.v1.manager"]
  env = ["A=b"]
  socket_dir = "/x"
[plugins."io.containerd.transfer.v1.local"]
  config_path = "/certs"
  max_concurrent_downloads = 5
  max_concurrent_uploaded_layers = 6
  max_concurrent_unpacks = 7
  concurrent_layer_fetch_buffer = 8
`, func(c *Config) {
				c.Runtime, c.Snapshotter = "io.containerd.runc.v2", "native"
				c.Runtimes = map[string]string{"io.containerd.runc.v2": "io.containerd.runc.v2", "io.containerd.kata.v2": "/opt/kata/shim"}
				c.GC = GC{0.5, 1, 2, time.Millisecond, time.Minute}
				c.Metadata = Metadata{Isolated: true, NoSync: true}
				c.Overlay = Overlay{"/o", true, true, true, []string{"volatile"}}
				c.Restart.Interval = 5 * time.Second
				c.Shim = Shim{[]string{"A=b"}, "/x"}
				c.Transfer = Transfer{"/certs", 5, 6, 7, 8}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Load(write(t, t.TempDir(), "c.toml", c.text))
			if err != nil {
				t.Fatal(err)
			}
			want := Default()
			c.want(&want)
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestMalformed(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"root = 1", ":1: root: "},
		{"\na = ", ":2: "},
		{"[gc\n", ":1: "},
		{"[grpc]\nuid = 'x'", ":2: grpc.uid: "},
		{"[plugins.'io.containerd.gc.v1.scheduler']\nschedule_delay = 'x'", `:2: plugins."io.containerd.gc.v1.scheduler".schedule_delay: `},
		{"[plugins.'io.containerd.gc.v1.scheduler']\nstartup_delay = '-1s'", "below 0"},
		{"[plugins.'io.containerd.metadata.v1.bolt']\ncontent_sharing_policy = 'x'", "neither shared nor isolated"},
		{"version = 1", "version = 1, want 2, 3 or 4"},
		{"version = 5", "version = 5, want 2, 3 or 4"},
		{"root = '/a'\nroot = '/b'", ":2: root: "},
		{"imports = ['nowhere.toml']", "nowhere.toml: no such file"},
		{"imports = ['[*']", "imports: "},
	} {
		path := write(t, t.TempDir(), "c.toml", c.text)
		_, err := Load(path)
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %s and %q in it", c.text, err, path, c.want)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is missing: %v", err)
	}
}

func TestWarnings(t *testing.T) {
	path := write(t, t.TempDir(), "c.toml", `
plugin_dir = ""
newkey = 1
[cgroup]
  path = ""
[grpc]
  tcp_address = "127.0.0.1:1"
  tcp_tls_ca = ""
[plugins."io.containerd.gc.v1.scheduler"]
  surprise = true
[plugins."io.containerd.internal.v1.restart"]
  interval = "3s"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "pause"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
[plugins."io.containerd.snapshotter.v1.zfs"]
  root_path = ""
[proxy_plugins.soci]
  type = "snapshot"
`)
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if c.Restart.Interval != 3*time.Second {
		t.Errorf("restart interval under the name of version 2: %s", c.Restart.Interval)
	}
	want := []string{
		path + ": newkey means nothing here",
		path + ": grpc.tcp_address means nothing here",
		path + `: plugins."io.containerd.gc.v1.scheduler".surprise means nothing here`,
		path + `: plugins."io.containerd.grpc.v1.cri" means nothing here`,
		path + ": proxy_plugins means nothing here",
	}
	if d := cmp.Diff(want, c.Warnings); d != "" {
		t.Error(d)
	}
}

func TestImports(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, "c.toml", "imports = ['conf.d/*.toml', 'c.toml']\nroot = '/first'\nstate = '/s'")
	if err := os.Mkdir(filepath.Join(dir, "conf.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "conf.d/a.toml", "root = '/second'\nodd = 1\n[timeouts]\na = '1s'")
	write(t, dir, "conf.d/b.toml", "imports = ['a.toml', '../c.toml']\n[timeouts]\nb = '2s'\n[grpc]\ngid = 3")
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Root, want.State, want.GRPC.GID = "/second", "/s", 3
	want.Timeouts = map[string]time.Duration{"a": time.Second, "b": 2 * time.Second}
	want.Warnings = []string{filepath.Join(dir, "conf.d/a.toml") + ": odd means nothing here"}
	if d := cmp.Diff(want, c); d != "" {
		t.Error(d)
	}
}

func TestWriteAndLoad(t *testing.T) {
	want := Default()
	want.Root, want.GRPC.GID, want.Debug.Level = "/r", 5, "trace"
	want.GC.ScheduleDelay, want.Metadata.Isolated = 90*time.Second, true
	want.Overlay.MountOptions, want.Shim.Env = []string{"volatile"}, []string{"A=b", "C=d"}
	want.Timeouts["x.y"], want.Runtimes["x.y"] = time.Minute, "z.y"
	var text bytes.Buffer
	if err := want.Write(&text); err != nil {
		t.Fatal(err)
	}
	got, err := Load(write(t, t.TempDir(), "c.toml", text.String()))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text.String())
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestComplete(t *testing.T) {
	c := Default()
	c.GRPC.GID = 4
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	if want := (Socket{Address: "/run/gantry/manager.sock.ttrpc", GID: 4}); c.TTRPC != want {
		t.Errorf("socket for shims: %+v, want %+v", c.TTRPC, want)
	}
	for name, change := range map[string]func(*Config){
		"root":         func(c *Config) { c.Root = "relative" },
		"state":        func(c *Config) { c.State = "" },
		"same":         func(c *Config) { c.State = c.Root },
		"grpc.address": func(c *Config) { c.GRPC.Address = "tcp:1" },
		"debug.level":  func(c *Config) { c.Debug.Level = "loud" },
		"debug.format": func(c *Config) { c.Debug.Format = "xml" },
		"oom_score":    func(c *Config) { c.OOMScore = 1001 },
		"size":         func(c *Config) { c.GRPC.MaxRecv = -1 },
		"transfer":     func(c *Config) { c.Transfer.Unpacks = 0 },
		"pause":        func(c *Config) { c.GC.PauseThreshold = 0.6 },
		"runtimes":     func(c *Config) { c.Runtimes["/a/path"] = "io.containerd.runc.v2" },
	} {
		c := Default()
		change(&c)
		if err := c.Complete(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestContainerdsOwn loads what containerd says is its default: as it is, and without a word about what is off in it.
func TestContainerdsOwn(t *testing.T) {
	programs := map[string]string{
		"2.4": "../../.tools/clients/bin/containerd",
		"1.6": "/usr/bin/containerd",
	}
	for version, program := range programs {
		t.Run(version, func(t *testing.T) {
			text, err := exec.Command(program, "config", "default").Output()
			if errors.Is(err, fs.ErrNotExist) {
				t.Skipf("no %s here", program)
			}
			if err != nil {
				t.Fatal(err)
			}
			// Its own imports are of the machine, not of the test.
			text = bytes.Replace(text, []byte("'/etc/containerd/conf.d/*.toml'"), nil, 1)
			c, err := Load(write(t, t.TempDir(), "c.toml", string(text)))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Complete(); err != nil {
				t.Error(err)
			}
			checkDefault(t, c)
		})
	}
}

// checkDefault compares what came of containerd's default file.
func checkDefault(t *testing.T, c Config) {
	t.Helper()
	if c.Root != "/var/lib/containerd" || c.State != "/run/containerd" ||
		c.GRPC.Address != "/run/containerd/containerd.sock" || c.TTRPC.Address != "/run/containerd/containerd.sock.ttrpc" ||
		c.GRPC.MaxRecv != 16<<20 || c.GC != Default().GC {
		t.Errorf("settings: %+v", c)
	}
	for _, w := range c.Warnings {
		if !strings.Contains(w, "plugins.") && !strings.Contains(w, "stream_processors") {
			t.Errorf("warning: %s", w)
		}
	}
	if !strings.Contains(strings.Join(c.Warnings, "\n"), "io.containerd.grpc.v1.cri") {
		t.Errorf("no warning for CRI in %q", c.Warnings)
	}
}
