package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/bridge"
)

const private = "GANTRY_BRIDGE_PRIVATE"

// TestMain gives the tests network and mounts of their own.
func TestMain(m *testing.M) {
	if os.Geteuid() == 0 && os.Getenv(private) == "" {
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), private+"=1"))
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func open(t *testing.T) *bridge.Devices {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network devices need root")
	}
	d, err := bridge.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		list, err := d.Namespaces()
		for _, n := range list {
			if err := d.RemoveNamespace(n); err != nil {
				t.Error(err)
			}
		}
		if err != nil {
			t.Error(err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func do(t *testing.T, command ...string) string {
	t.Helper()
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", command, err, out)
	}
	return string(out)
}

func inside(t *testing.T, path string, command ...string) string {
	t.Helper()
	return do(t, append([]string{"nsenter", "--net=" + path}, command...)...)
}

// bridged is a bridge for a test.
func bridged(t *testing.T, d *bridge.Devices, name string, v6 bool) bridge.Bridge {
	t.Helper()
	b := bridge.Bridge{Name: name, MAC: bridge.MAC(), MTU: 1400, Addresses: []netip.Prefix{netip.MustParsePrefix("10.9.0.1/24")}, IPv6: v6}
	if v6 {
		b.Addresses = append(b.Addresses, netip.MustParsePrefix("fd00:9::1/64"))
	}
	if err := d.Ensure(b); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Remove(name); err != nil {
			t.Error(err)
		}
	})
	return b
}

func link(b bridge.Bridge, name, address string) bridge.Link {
	return bridge.Link{
		Host: bridge.HostName(), Bridge: b.Name, Name: name, MAC: bridge.MAC(), MTU: b.MTU,
		Addresses: []netip.Prefix{netip.MustParsePrefix(address)},
	}
}

func TestAttach(t *testing.T) {
	d := open(t)
	b := bridged(t, d, "br-attach", true)
	ns, err := d.NewNamespace("one")
	if err != nil {
		t.Fatal(err)
	}
	first, second := link(b, "eth0", "10.9.0.2/24"), link(b, "eth1", "10.9.0.3/24")
	first.Addresses = append(first.Addresses, netip.MustParsePrefix("fd00:9::2/64"))
	first.IPv6 = true
	second.Settings = map[string]string{"ipv4/conf/eth1/log_martians": "1"}
	routes := bridge.Routes{
		IPv4: bridge.Gateway{Link: "eth0", Via: netip.MustParseAddr("10.9.0.1")}, IPv6: bridge.Gateway{Link: "eth0", Via: netip.MustParseAddr("fd00:9::1")},
	}
	if err := d.Attach(ns, routes, first, second); err != nil {
		t.Fatal(err)
	}
	for command, want := range map[string]string{
		"ip -o link show lo":                            "UP",
		"ip -o link show eth0":                          first.MAC.String(),
		"ip -o link show eth1":                          "mtu 1400",
		"ip -o addr show eth0":                          "fd00:9::2/64",
		"ip -4 route show default":                      "via 10.9.0.1 dev eth0",
		"ip -6 route show default":                      "via fd00:9::1 dev eth0",
		"busybox ping -c 1 10.9.0.1":                    " 0% packet loss",
		"busybox ping -c 1 fd00:9::1":                   " 0% packet loss",
		"cat /proc/sys/net/ipv6/conf/eth1/disable_ipv6": "1",
		"cat /proc/sys/net/ipv4/conf/eth1/log_martians": "1",
		"ip -o -6 addr show eth1":                       "",
	} {
		got := inside(t, ns, strings.Fields(command)...)
		if !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
	plain := bridged(t, d, "br-plain", false)
	for setting, want := range map[string]string{
		b.Name + "/accept_ra": "0", b.Name + "/disable_ipv6": "0", plain.Name + "/disable_ipv6": "1", first.Host + "/disable_ipv6": "1",
	} {
		if got := do(t, "cat", "/proc/sys/net/ipv6/conf/"+setting); got != want+"\n" {
			t.Errorf("%s is %q, want %s", setting, got, want)
		}
	}
	// Other default routes go away.
	if err := d.Route(ns, bridge.Routes{IPv4: bridge.Gateway{Link: "eth1", Via: netip.MustParseAddr("10.9.0.9")}}); err != nil {
		t.Fatal(err)
	}
	if got := inside(t, ns, "ip", "route", "show", "default"); strings.TrimSpace(got) != "default via 10.9.0.9 dev eth1" {
		t.Errorf("default route %q", got)
	}
	if got := inside(t, ns, "ip", "-6", "route", "show", "default"); got != "" {
		t.Errorf("IPv6's default route %q", got)
	}
	for range 2 {
		if err := d.Detach(ns, second); err != nil {
			t.Fatal(err)
		}
	}
	if got := inside(t, ns, "ip", "-o", "link"); strings.Contains(got, "eth1") || !strings.Contains(got, "eth0") {
		t.Errorf("after a detach: %s", got)
	}
}

// A link that cannot be made whole is not there at all, and neither are those before it.
func TestAttachFails(t *testing.T) {
	d := open(t)
	b := bridged(t, d, "br-fails", false)
	ns, err := d.NewNamespace("fails")
	if err != nil {
		t.Fatal(err)
	}
	bad := link(b, "eth1", "10.9.0.3/24")
	bad.Settings = map[string]string{"ipv4/conf/eth1/nonsense": "1"}
	missing := link(b, "eth1", "10.9.0.3/24")
	missing.Bridge = "br-nowhere"
	for _, second := range []bridge.Link{bad, missing} {
		first := link(b, "eth0", "10.9.0.2/24")
		if err := d.Attach(ns, bridge.Routes{}, first, second); err == nil || bridge.IsMissing(err) != (second.Bridge != b.Name) {
			t.Errorf("attached with %v", err)
		}
		if got := inside(t, ns, "ip", "-o", "link"); strings.Contains(got, "eth") && strings.Contains(got, "eth0") {
			t.Errorf("left: %s", got)
		}
		for _, name := range []string{first.Host, second.Host} {
			if there, err := d.Exists(name); there || err != nil {
				t.Errorf("%s is left (%v)", name, err)
			}
		}
	}
}

// noticed waits until a loss is told.
func noticed(t *testing.T, lost <-chan string, name string) {
	t.Helper()
	limit := time.After(30 * time.Second)
	for {
		select {
		case got := <-lost:
			if got == name {
				return
			}
		case <-limit:
			t.Fatalf("nobody noticed that %s is gone", name)
		}
	}
}

// A bridge that somebody removed, or set down, is noticed, made again, and its ports work as before.
func TestRepair(t *testing.T) {
	d := open(t)
	b := bridged(t, d, "br-repair", false)
	ns, err := d.NewNamespace("repair")
	if err != nil {
		t.Fatal(err)
	}
	l := link(b, "eth0", "10.9.0.2/24")
	if err := d.Attach(ns, bridge.Routes{IPv4: bridge.Gateway{Link: "eth0", Via: netip.MustParseAddr("10.9.0.1")}}, l); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended, lost := make(chan struct{}), make(chan string, 1000)
	go func() {
		d.Watch(ctx, func(name string) { lost <- name })
		close(ended)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	for _, damage := range []string{"ip link del br-repair", "ip link set br-repair down", "ip addr flush dev br-repair"} {
		do(t, strings.Fields(damage)...)
		if !strings.Contains(damage, "flush") {
			noticed(t, lost, "br-repair")
		}
		if err := d.Ensure(b); err != nil {
			t.Fatal(err)
		}
		if err := d.Enslave(l); err != nil {
			t.Fatal(err)
		}
		if got := inside(t, ns, "busybox", "ping", "-c", "1", "-W", "10", "10.9.0.1"); !strings.Contains(got, " 0% packet loss") {
			t.Errorf("%s: %s", damage, got)
		}
		if got := do(t, "ip", "-o", "link", "show", "br-repair"); !strings.Contains(got, b.MAC.String()) || !strings.Contains(got, "mtu 1400") {
			t.Errorf("%s: %s", damage, got)
		}
	}
}

func TestIsolated(t *testing.T) {
	d := open(t)
	b := bridged(t, d, "br-icc", false)
	var ns [2]string
	for i := range ns {
		var err error
		if ns[i], err = d.NewNamespace(fmt.Sprint("icc", i)); err != nil {
			t.Fatal(err)
		}
		l := link(b, "eth0", fmt.Sprintf("10.9.0.%d/24", i+2))
		l.Isolated = true
		if err := d.Attach(ns[i], bridge.Routes{}, l); err != nil {
			t.Fatal(err)
		}
	}
	inside(t, ns[0], "busybox", "ping", "-c", "1", "10.9.0.1")
	if out, err := exec.Command("nsenter", "--net="+ns[0], "busybox", "ping", "-c", "1", "-W", "1", "10.9.0.3").CombinedOutput(); err == nil {
		t.Errorf("reached: %s", out)
	}
}

func TestMacvlan(t *testing.T) {
	d := open(t)
	do(t, "ip", "link", "add", "par0", "type", "veth", "peer", "name", "par1")
	t.Cleanup(func() { do(t, "ip", "link", "del", "par0") })
	do(t, "ip", "link", "set", "par0", "up")
	do(t, "ip", "link", "set", "par1", "up")
	switch err := d.Probe(bridge.Macvlan, "par0", ""); {
	case errors.Is(err, unix.EOPNOTSUPP):
		t.Skip("the kernel has no macvlan:", err)
	case err != nil:
		t.Fatal(err)
	}
	parent := "par0.7"
	made, err := d.EnsureParent(parent, false)
	if errdefs.IsNotImplemented(err) {
		t.Log(err)
		parent = "par0"
	} else if err != nil || !made {
		t.Fatalf("made %t, %v", made, err)
	}
	for name, want := range map[string]string{
		"nodot":  "invalid subinterface vlan name nodot, example formatting is eth0.10",
		"a.b.c":  "required interface name format is: name.vlan_id, ex. eth0.10 for vlan 10, instead received a.b.c",
		"par0.x": "unable to parse a valid vlan id from: x (ex. eth0.10 for vlan 10)",
		"no.1":   "-o parent interface was not found on the host: no",
		"par0.0": "vlan id must be between 1-4094, received: 0",
	} {
		if _, err := d.EnsureParent(name, false); err == nil || err.Error() != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	var ns [2]string
	for i := range ns {
		if ns[i], err = d.NewNamespace(fmt.Sprint("mac", i)); err != nil {
			t.Fatal(err)
		}
		l := bridge.Link{
			Kind: bridge.Macvlan, Parent: parent, Name: "eth0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, byte(i)},
			Addresses: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.8.0.%d/24", i+1))},
		}
		if err := d.Attach(ns[i], bridge.Routes{}, l); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			for range 2 {
				if err := d.Detach(ns[i], l); err != nil {
					t.Error(err)
				}
			}
		})
	}
	inside(t, ns[0], "busybox", "ping", "-c", "1", "-W", "10", "10.8.0.2")
	if err := d.Probe(bridge.IPvlan, "par0", ""); err != nil && !strings.Contains(err.Error(), "the kernel of this machine has no ipvlan devices") {
		t.Error(err)
	}
}

func TestStrays(t *testing.T) {
	d := open(t)
	b := bridged(t, d, "br-stray", false)
	ns, err := d.NewNamespace("stray")
	if err != nil {
		t.Fatal(err)
	}
	known, stray := link(b, "eth0", "10.9.0.2/24"), link(b, "eth1", "10.9.0.3/24")
	if err := d.Attach(ns, bridge.Routes{}, known, stray); err != nil {
		t.Fatal(err)
	}
	if err := d.RemoveStrays(map[string]bool{b.Name: true}, map[string]bool{known.Host: true}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{known.Host: true, stray.Host: false} {
		if there, err := d.Exists(name); there != want || err != nil {
			t.Errorf("%s is there: %t, %v", name, there, err)
		}
	}
	routes, err := d.Networks()
	if err != nil || len(routes) != 1 || routes[0].String() != "10.9.0.0/24" {
		t.Errorf("%v, %v", routes, err)
	}
	if err := d.BindHome("default"); err != nil {
		t.Fatal(err)
	}
	if got := inside(t, d.Path("default"), "ip", "-o", "link"); !strings.Contains(got, "br-stray") {
		t.Error(got)
	}
}

func TestGivenBridge(t *testing.T) {
	d := open(t)
	b := bridged(t, d, "br-given", false)
	do(t, "ip", "addr", "add", "10.7.0.1/24", "dev", "br-given")
	for _, given := range []bool{true, false} {
		b.Given = given
		if err := d.Ensure(b); err != nil {
			t.Fatal(err)
		}
		has, err := d.Addresses("br-given")
		if err != nil || strings.Contains(fmt.Sprint(has), "10.7.0.1/24") != given || !strings.Contains(fmt.Sprint(has), "10.9.0.1/24") {
			t.Errorf("given %t: %v, %v", given, has, err)
		}
	}
	if err := d.Ensure(bridge.Bridge{Name: "lo"}); err == nil || !strings.Contains(err.Error(), "not a bridge") {
		t.Error(err)
	}
}

func BenchmarkStart(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("network devices need root")
	}
	d, err := bridge.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	br := bridge.Bridge{Name: "br-bench", MAC: bridge.MAC(), Addresses: []netip.Prefix{netip.MustParsePrefix("10.9.0.1/16")}}
	if err := d.Ensure(br); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		ns, err := d.NewNamespace("x")
		if err != nil {
			b.Fatal(err)
		}
		l := link(br, "eth0", "10.9.0.2/16")
		if err := d.Attach(ns, bridge.Routes{IPv4: bridge.Gateway{Link: "eth0", Via: netip.MustParseAddr("10.9.0.1")}}, l); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := d.Detach(ns, l); err != nil {
			b.Fatal(err)
		}
		if err := d.RemoveNamespace("x"); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	if err := d.Remove("br-bench"); err != nil {
		b.Fatal(err)
	}
}

// sleeper is a process in namespaces of its own, with users of its own.
func sleeper(t *testing.T) (netns string) {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	ids := []syscall.SysProcIDMap{{HostID: 100000, Size: 65536}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNET, UidMappings: ids, GidMappings: ids}
	if err := cmd.Start(); err != nil {
		t.Skip("user namespaces cannot be made here:", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)
}

// A namespace that belongs to other users is kept beyond its process, and linked as others are.
func TestKeepNamespace(t *testing.T) {
	d := open(t)
	b := bridged(t, d, "br-keep", false)
	if err := d.KeepNamespace("own", "/proc/thread-self/ns/net"); err == nil || !strings.Contains(err.Error(), "no network namespace") {
		t.Errorf("the engine's own: %v", err)
	}
	if list, err := d.Namespaces(); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	if err := d.KeepNamespace("one", sleeper(t)); err != nil {
		t.Fatal(err)
	}
	if !d.Lives(d.Path("one")) || d.Lives(d.Path("two")) || d.Lives("/etc/passwd") {
		t.Error("it is not known what a namespace is")
	}
	l := link(b, "eth0", "10.9.0.2/24")
	l.Settings = map[string]string{"ipv4/conf/eth0/log_martians": "1"}
	routes := bridge.Routes{IPv4: bridge.Gateway{Link: "eth0", Via: netip.MustParseAddr("10.9.0.1")}}
	if err := d.Attach(d.Path("one"), routes, l); err != nil {
		t.Fatal(err)
	}
	if got := inside(t, d.Path("one"), "ip", "-4", "-o", "addr"); !strings.Contains(got, "127.0.0.1/8") || !strings.Contains(got, "10.9.0.2/24") {
		t.Error(got)
	}
	if got := inside(t, d.Path("one"), "ip", "route"); !strings.Contains(got, "default via 10.9.0.1 dev eth0") {
		t.Error(got)
	}
	if err := d.Detach(d.Path("one"), l); err != nil {
		t.Error(err)
	}
}
