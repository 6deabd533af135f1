package root_test

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

// network is a network namespace of the test's own, which stands for the host's: the
// runtime is started in it.
type network struct {
	*harness.Env
	t   *testing.T
	pid int
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{Env: harness.New(t), t: t, pid: holderOf(t, specs.NetworkNamespace)}
	if out, err := n.command("ip", "link", "add", "gta", "type", "veth", "peer", "name", "gtb").CombinedOutput(); err != nil {
		t.Skipf("needs a kernel with veth: %s", out)
	}
	for _, args := range []string{
		"link set lo up", "link set gtb up", "link set gta mtu 1400", "link set gta address 02:00:00:00:00:11", "link set gta up",
		"addr add 10.11.12.13/24 brd + dev gta label gta:one", "addr add 10.11.12.14/24 dev gta",
		"addr add 192.0.2.1 peer 192.0.2.2/32 dev gta", "addr add 169.254.7.7/16 scope link dev gta",
		"addr add 10.9.9.9/24 dev gta valid_lft 1000 preferred_lft 500", "addr add 2001:db8::5/64 dev gta nodad",
	} {
		n.ip(args)
	}
	return n
}

// command makes a command that runs in the namespace.
func (n *network) command(args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=" + nsPath(n.pid, "net"), "--"}, args...)...)
}

func (n *network) ip(args string) string {
	n.t.Helper()
	out, err := n.command(append([]string{"ip"}, strings.Fields(args)...)...).CombinedOutput()
	if err != nil {
		n.t.Fatalf("ip %s: %s", args, out)
	}
	return string(out)
}

// runtime runs the runtime in the namespace.
func (n *network) runtime(args ...string) harness.Result {
	n.t.Helper()
	return n.RunWith(func(cmd *exec.Cmd) {
		in := n.command(cmd.Args...)
		cmd.Path, cmd.Args = in.Path, in.Args
	}, args...)
}

// addresses are those of a device, as ip(8) prints them, without lifetimes.
func addresses(text string) string {
	var list []string
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[0], "inet") && !strings.HasPrefix(f[1], "fe80") {
			list = append(list, strings.Join(f, " "))
		}
	}
	return strings.Join(list, "\n")
}

func netDevices(devices map[string]string) change {
	return func(s *specs.Spec) {
		s.Linux.NetDevices = map[string]specs.LinuxNetDevice{}
		for name, inside := range devices {
			s.Linux.NetDevices[name] = specs.LinuxNetDevice{Name: inside}
		}
	}
}

// inContainer runs ip(8) of the host in the container's network namespace.
func inContainer(t *testing.T, pid int, args string) string {
	t.Helper()
	out, err := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(pid), "-n", "ip"}, strings.Fields(args)...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %s", args, out)
	}
	return string(out)
}

func TestNetDevice(t *testing.T) {
	for _, tc := range []struct {
		name, inside, want string
		edit               change
	}{
		{"keeps its name", "", "gta", func(*specs.Spec) {}},
		{"gets a new name", "eth0", "eth0", func(*specs.Spec) {}},
		{"gets a number", "net%d", "net0", func(*specs.Spec) {}},
		{"in a user namespace", "eth0", "eth0", mapped},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := newNetwork(t)
			id := n.ID("c")
			bundle := n.Bundle(sleeper, func(s *specs.Spec) {
				tc.edit(s)
				netDevices(map[string]string{"gta": tc.inside})(s)
			})
			if r := n.runtime("run", "-d", "-b", bundle, id); r.Code != 0 {
				t.Fatal(r.Stderr)
			}
			pid := n.State(id).Pid
			link := inContainer(t, pid, "link show dev "+tc.want)
			for _, attribute := range []string{"mtu 1400", "02:00:00:00:00:11", "UP"} {
				if !strings.Contains(link, attribute) {
					t.Errorf("no %q in %s", attribute, link)
				}
			}
			label := tc.want + ":one"
			equal(t, "permanent global addresses", strings.Join([]string{
				"inet 10.11.12.13/24 brd 10.11.12.255 scope global " + label,
				"inet 192.0.2.1 peer 192.0.2.2/32 scope global " + tc.want,
				"inet 10.11.12.14/24 scope global secondary " + tc.want,
				"inet6 2001:db8::5/64 scope global nodad",
			}, "\n"), addresses(inContainer(t, pid, "addr show dev "+tc.want)))
			if left, _ := n.command("ip", "-o", "link").CombinedOutput(); strings.Contains(string(left), "gta") && !strings.Contains(string(left), "gtb@if") {
				t.Errorf("on the host: %s", left)
			}
		})
	}
}

// TestNetDevicesComeBack: of a container that did not come to be, all devices are on the
// host again as they were.
func TestNetDevicesComeBack(t *testing.T) {
	for _, tc := range []struct {
		name  string
		edit  change
		words []string
	}{
		{"when a later step fails", func(s *specs.Spec) {
			netDevices(map[string]string{"gta": "eth0", "gtb": "eth1"})(s)
			s.Mounts = append(s.Mounts, bind("/nowhere", "/mnt"))
		}, []string{"mounts[7]"}},
		{"when another one is missing", netDevices(map[string]string{"gta": "", "gtz": ""}), []string{"linux.netDevices[gtz]", "no such device"}},
		{"when the name is taken", netDevices(map[string]string{"gta": "eth0", "gtb": "lo"}), []string{"linux.netDevices[gtb]", "file exists"}},
		{"when it may not be moved", netDevices(map[string]string{"gta": "eth0", "lo": "lo1"}), []string{"linux.netDevices[lo]", "invalid argument"}},
		{"when a hook fails", func(s *specs.Spec) {
			netDevices(map[string]string{"gta": "eth%d"})(s)
			s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/false"}}}
		}, []string{"hooks.createRuntime[0]"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := newNetwork(t)
			before := n.ip("-o link show dev gta")[len("1: "):]
			hadAddresses := addresses(n.ip("addr show dev gta"))
			r := n.runtime("run", "-b", n.Bundle("echo started", tc.edit), n.ID("c"))
			wantFailure(t, r, tc.words...)
			after := n.ip("-o link show dev gta")[len("1: "):]
			equal(t, "device", before, after)
			equal(t, "addresses", hadAddresses, addresses(n.ip("addr show dev gta")))
			n.ip("link show dev gtb up")
		})
	}
}

func TestNetDeviceOfAnotherNamespace(t *testing.T) {
	n := newNetwork(t)
	pid := holderOf(t, specs.NetworkNamespace)
	n.ip("link set gtb netns " + strconv.Itoa(pid))
	r := n.runtime("run", "-b", n.Bundle("true", netDevices(map[string]string{"gtb": ""})), n.ID("c"))
	wantFailure(t, r, "linux.netDevices[gtb]", "no such device")
	t.Run("is a namespace to join", func(t *testing.T) {
		id := n.ID("joins")
		bundle := n.Bundle(sleeper, func(s *specs.Spec) {
			netDevices(map[string]string{"gta": "gtb2"})(s)
			for i := range s.Linux.Namespaces {
				if s.Linux.Namespaces[i].Type == specs.NetworkNamespace {
					s.Linux.Namespaces[i].Path = nsPath(pid, "net")
				}
			}
		})
		if r := n.runtime("run", "-d", "-b", bundle, id); r.Code != 0 {
			t.Fatal(r.Stderr)
		}
		if out := inContainer(t, pid, "-o link"); !strings.Contains(out, "gtb2") {
			t.Errorf("devices there: %s", out)
		}
	})
}

func TestNetDevicesAreRefused(t *testing.T) {
	for _, tc := range []struct {
		name  string
		edit  change
		words []string
	}{
		{"of the same name", netDevices(map[string]string{"a": "eth0", "b": "eth0"}), []string{"linux.netDevices.b.name", "already the name"}},
		{"with a long name", netDevices(map[string]string{"a": "sixteen-bytes-16"}), []string{"linux.netDevices.a.name", "at most 15 bytes"}},
		{"with a path for a name", netDevices(map[string]string{"../a": ""}), []string{"linux.netDevices", "no network device"}},
		{"with two numbers", netDevices(map[string]string{"a": "b%d%d"}), []string{"linux.netDevices.a.name", "%d"}},
		{"with another verb", netDevices(map[string]string{"a": "b%s"}), []string{"linux.netDevices.a.name", "%d"}},
		{"without a network namespace", func(s *specs.Spec) {
			plain(s, specs.LinuxNamespace{Type: specs.MountNamespace})
			netDevices(map[string]string{"a": ""})(s)
		}, []string{"linux.netDevices", "NET namespace"}},
	} {
		t.Run(tc.name, func(t *testing.T) { refuse(t, tc.edit, tc.words...) })
	}
	t.Run("for a user", func(t *testing.T) {
		r := newRootless(t)
		wantFailure(t, r.as("run", "-b", r.bundle("true", netDevices(map[string]string{"a": ""})), r.ID("c")), "linux.netDevices", "rootless")
	})
}
