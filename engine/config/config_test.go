package config_test

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/system"

	"github.com/gantry-containers/gantry/engine/config"
)

// load reads a file with flags behind it, in an environment without anything.
func load(t *testing.T, file string, args ...string) (*config.Command, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "daemon.json")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Load("gantry-engine", append([]string{"--config-file", path}, args...), func(string) string { return "" })
}

// sameSettings are settings as the file and as flags have them.
var sameSettings = map[string]struct {
	file string
	args []string
	want func(*config.Config)
}{
	"folders": {
		`{"data-root":"/d","exec-root":"/e","pidfile":"/p"}`,
		[]string{"--data-root=/d", "--exec-root", "/e", "-p", "/p"},
		func(c *config.Config) { c.Root, c.ExecRoot, c.Pidfile = "/d", "/e", "/p" },
	},
	"addresses": {
		`{"hosts":["unix:///a","fd://","unix:///a"]}`,
		[]string{"-H", "unix:///a", "--host", "fd://"},
		func(c *config.Config) { c.Hosts = []string{"unix:///a", "fd://"} },
	},
	"manager": {
		`{"containerd":"/c.sock","containerd-namespace":"n","storage-driver":"native"}`,
		[]string{"--containerd=/c.sock", "--containerd-namespace=n", "-s", "native"},
		func(c *config.Config) { c.Containerd, c.Namespace, c.Snapshotter = "/c.sock", "n", "native" },
	},
	"labels, once": {
		`{"labels":["a=b","c=d","a=b"]}`,
		[]string{"--label", "a=b", "--label=c=d"},
		func(c *config.Config) { c.Labels = []string{"a=b", "c=d"} },
	},
	"plugins that allow requests": {
		`{"authorization-plugins":["a","b"]}`,
		[]string{"--authorization-plugin=a", "--authorization-plugin", "b"},
		func(c *config.Config) { c.AuthZ = []string{"a", "b"} },
	},
	"log": {
		`{"debug":true,"log-level":"warn","log-format":"json"}`,
		[]string{"-D", "-l", "warn", "--log-format=json"},
		func(c *config.Config) { c.Log.Debug, c.Log.Level, c.Log.Format = true, "warn", "json" },
	},
	"runtimes": {
		`{"runtimes":{"crun":{"path":"/usr/bin/crun"}},"default-runtime":"crun"}`,
		[]string{"--add-runtime", "crun=/usr/bin/crun", "--default-runtime=crun"},
		func(c *config.Config) {
			c.Containers.Runtimes["crun"] = system.Runtime{Path: "/usr/bin/crun"}
			c.Containers.DefaultRuntime = "crun"
		},
	},
	"container defaults": {
		`{"default-shm-size":"128M","init":true,"no-new-privileges":true,"cgroup-parent":"/x","exec-opts":["native.cgroupdriver=systemd"],
		"default-ulimits":{"nofile":{"Name":"nofile","Soft":1,"Hard":2}},"log-driver":"local","log-opts":{"max-size":"1m"},"seccomp-profile":"unconfined"}`,
		[]string{
			"--default-shm-size", "128M", "--init", "--no-new-privileges=true", "--cgroup-parent=/x", "--exec-opt", "native.cgroupdriver=systemd",
			"--default-ulimit", "nofile=1:2", "--log-driver=local", "--log-opt", "max-size=1m", "--seccomp-profile=unconfined",
		},
		func(c *config.Config) {
			d := &c.Containers
			d.ShmSize, d.Init, d.NoNewPrivileges, d.CgroupParent, d.CgroupDriver = 128<<20, true, true, "/x", "systemd"
			d.Ulimits["nofile"] = &container.Ulimit{Name: "nofile", Soft: 1, Hard: 2}
			d.LogDriver, d.Seccomp = "local", "unconfined"
			d.LogOpts["max-size"] = "1m"
		},
	},
	"registries": {
		`{"registry-mirrors":["https://m/"],"insecure-registries":["r:5000"],"max-concurrent-downloads":7,"proxies":{"https-proxy":"http://p"}}`,
		[]string{"--registry-mirror=https://m/", "--insecure-registry", "r:5000", "--max-concurrent-downloads", "7", "--https-proxy=http://p"},
		func(c *config.Config) {
			c.Registry.Mirrors, c.Registry.Insecure, c.Registry.Downloads = []string{"https://m/"}, []string{"r:5000"}, 7
			c.Proxies.HTTPS = "http://p"
		},
	},
	"network": {
		`{"dns":["9.9.9.9"],"iptables":false,"userland-proxy":false,"bip":"10.0.0.1/24","default-address-pools":[{"base":"10.1.0.0/16","size":24}],
		"default-network-opts":{"bridge":{"a":"b"}},"host-gateway-ips":["1.2.3.4"]}`,
		[]string{
			"--dns", "9.9.9.9", "--iptables=false", "--userland-proxy=false", "--bip", "10.0.0.1/24", "--default-address-pool", "base=10.1.0.0/16,size=24",
			"--default-network-opt", "bridge=a=b", "--host-gateway-ip=1.2.3.4",
		},
		func(c *config.Config) {
			n := &c.Network
			n.DNS, n.IPTables, n.UserlandProxy, n.BridgeIP = []netip.Addr{netip.MustParseAddr("9.9.9.9")}, false, false, "10.0.0.1/24"
			n.Pools = []config.Pool{{Base: netip.MustParsePrefix("10.1.0.0/16"), Size: 24}}
			n.DriverOptions["bridge"] = map[string]string{"a": "b"}
			n.HostGatewayIPs = []netip.Addr{netip.MustParseAddr("1.2.3.4")}
		},
	},
	"features": {
		`{"features":{"containerd-snapshotter":true,"x":false},"live-restore":true}`,
		[]string{"--feature=containerd-snapshotter", "--feature=x=false", "--live-restore"},
		func(c *config.Config) { c.Features["containerd-snapshotter"], c.Features["x"] = true, false },
	},
	"no folders of CDI": {
		`{"cdi-spec-dirs":["",""]}`,
		[]string{"--cdi-spec-dir="},
		func(c *config.Config) { c.Containers.CDIDirs = []string{} },
	},
	"no CDI": {
		`{"features":{"cdi":false},"cdi-spec-dirs":["/a"]}`,
		[]string{"--feature=cdi=false", "--cdi-spec-dir=/a"},
		func(c *config.Config) { c.Features["cdi"], c.Containers.CDIDirs = false, []string{} },
	},
}

func TestFlagsAndFileMeanTheSame(t *testing.T) {
	for name, test := range sameSettings {
		t.Run(name, func(t *testing.T) {
			want := config.Default("gantry-engine")
			want.Hosts = []string{"unix:///run/gantry/engine.sock"}
			test.want(want)
			for how, got := range map[string]func() (*config.Command, error){
				"file":  func() (*config.Command, error) { return load(t, test.file) },
				"flags": func() (*config.Command, error) { return load(t, "", test.args...) },
			} {
				cmd, err := got()
				if err != nil {
					t.Errorf("%s: %v", how, err)
					continue
				}
				opts := cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmpopts.EquateEmpty()}
				if d := cmp.Diff(want, cmd.Config, opts); d != "" {
					t.Errorf("%s: %s", how, d)
				}
			}
		})
	}
}

// The words are dockerd's.
func TestRefused(t *testing.T) {
	tests := map[string]struct {
		file string
		args []string
		want string
	}{
		"no JSON":          {`x`, nil, "invalid JSON: invalid character 'x' looking for beginning of value"},
		"unknown key":      {`{"nope":1}`, nil, "the following directives don't match any configuration option: nope"},
		"unknown in group": {`{"foo":{"bar":1}}`, nil, "the following directives don't match any configuration option: bar"},
		"twice":            {`{"debug":false}`, []string{"--debug"}, "the following directives are specified both as a flag and in the configuration file: debug: (from flag: true, from file: false)"},
		"list twice":       {`{"labels":["a=b"]}`, []string{"--label=c=d"}, "labels: (from flag: [c=d], from file: [a=b])"},
		"proxy twice":      {`{"proxies":{"http-proxy":"http://u:secret@p"}}`, []string{"--http-proxy=http://q"}, "http-proxy: (from flag:"},
		"wrong type":       {`{"debug":"x"}`, nil, "invalid JSON: debug: json: cannot unmarshal string into Go value of type bool"},
		"log level":        {``, []string{"--log-level=x"}, "invalid logging level: x"},
		"label":            {`{"labels":["x"]}`, nil, "bad attribute format: x"},
		"labels differ":    {`{"labels":["a=b","a=c"]}`, nil, "conflict labels for a=c and a=b"},
		"address":          {`{"hosts":["foo://x"]}`, nil, "invalid bind address (foo://x): unsupported proto 'foo'"},
		"open port":        {``, []string{"-H", "tcp://127.0.0.1:2375"}, "it is served with --tlsverify only"},
		"TLS without ids":  {``, []string{"-H", "tcp://127.0.0.1:2376", "--tls", "--tlsverify=false"}, "it is served with --tlsverify only"},
		"exec-opt":         {`{"exec-opts":["a"]}`, nil, "invalid exec-opt (a): must be formatted 'opt=value'"},
		"exec-opt unknown": {``, []string{"--exec-opt=a=b"}, "unknown option: 'a'"},
		"mirror":           {`{"registry-mirrors":["x"]}`, nil, `invalid mirror: no scheme specified for "x"`},
		"runtime":          {``, []string{"--default-runtime=zz"}, "specified default runtime 'zz' does not exist"},
		"reserved":         {`{"runtimes":{"runc":{"path":"x"}}}`, nil, "runtime name 'runc' is reserved"},
		"API version":      {`{"min-api-version":"1.23"}`, nil, "minimum supported API version is 1.24: 1.23"},
		"API too new":      {`{"min-api-version":"1.99"}`, nil, "maximum supported API version is 1.56: 1.99"},
		"negative":         {``, []string{"--max-concurrent-downloads=-1"}, "invalid max concurrent downloads: -1"},
		"argument":         {``, []string{"x"}, `"gantry-engine" accepts no argument(s).`},
		"unknown flag":     {``, []string{"--foo"}, "unknown flag: --foo"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, test.file, test.args...)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v\nwant %s", err, test.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("a password is told: %v", err)
			}
			_, isFlag := errors.AsType[config.FlagError](err)
			if want := strings.HasPrefix(name, "argument") || name == "unknown flag" || name == "exec-opt unknown"; isFlag != want {
				t.Errorf("is about the command line: %v, want %v", isFlag, want)
			}
		})
	}
}

func TestFileThatIsMissing(t *testing.T) {
	none := func(string) string { return "" }
	missing := filepath.Join(t.TempDir(), "none.json")
	_, err := config.Load("dockerd", []string{"--config-file", missing}, none)
	if err == nil || !strings.HasPrefix(err.Error(), "unable to configure the Docker daemon with file "+missing+": open") {
		t.Errorf("error %v", err)
	}
	cmd, err := config.Load("/usr/bin/dockerd", []string{"--config-file="}, none)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"unix:///run/docker.sock"}, cmd.Config.Hosts); d != "" {
		t.Error(d)
	}
}

func TestEnvironment(t *testing.T) {
	env := map[string]string{"DOCKER_MIN_API_VERSION": "1.44", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/certs"}
	cmd, err := config.Load("gantry-engine", []string{"--config-file=", "--tlskey=/my.pem"}, func(k string) string { return env[k] })
	if err != nil {
		t.Fatal(err)
	}
	c := cmd.Config
	want := config.TLS{Enabled: true, Verify: true, CA: "/certs/ca.pem", Cert: "/certs/cert.pem", Key: "/my.pem"}
	if d := cmp.Diff(want, c.TLS); d != "" || c.MinAPI != "1.44" || c.Hosts[0] != "tcp://localhost:2376" {
		t.Errorf("%s, API from %s, hosts %v", d, c.MinAPI, c.Hosts)
	}
	env["DOCKER_MIN_API_VERSION"] = "v1.44"
	if _, err := config.Load("gantry-engine", []string{"--config-file="}, func(k string) string { return env[k] }); err == nil ||
		err.Error() != `invalid DOCKER_MIN_API_VERSION: API version must be provided without "v" prefix` {
		t.Errorf("error %v", err)
	}
}

// What means nothing here is taken and told, unless it was left at what it is.
func TestIgnored(t *testing.T) {
	cmd, err := load(t, `{"metrics-addr":"127.0.0.1:9323","node-generic-resources":[],"experimental":false}`, "--network-control-plane-mtu=1400", "--restart=true")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"metrics-addr", "network-control-plane-mtu"}, cmd.Ignored, cmpopts.SortSlices(strings.Compare)); d != "" {
		t.Error(d)
	}
}
