package firewall

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The tests are root in a network namespace of their own, in which they play the host.

const hostVariable = "FIREWALL_TEST_HOST"

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 || os.Getenv(hostVariable) != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), hostVariable+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	runtime.LockOSThread()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(cmd.ProcessState.ExitCode())
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getenv(hostVariable) == "" {
		t.Skip("needs root, for network namespaces")
	}
}

// machine is a network namespace: the host, a container or somebody outside.
type machine struct {
	name string
	// ns is nil for the host.
	ns *os.File

	mu   sync.Mutex
	seen map[string]bool
}

func newMachine(t *testing.T, name string) *machine {
	t.Helper()
	m := &machine{name: name, seen: map[string]bool{}}
	if name == "host" {
		return m
	}
	done := make(chan error)
	go func() {
		// The thread ends with the goroutine.
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			m.ns, err = os.Open("/proc/thread-self/ns/net")
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.ns.Close() })
	m.ip(t, "link set lo up")
	return m
}

// do runs f in the machine.
func (m *machine) do(f func() error) error {
	if m.ns == nil {
		return f()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(int(m.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

func (m *machine) ip(t *testing.T, line string) {
	t.Helper()
	m.run(t, "ip "+line)
}

func (m *machine) run(t *testing.T, line string) string {
	t.Helper()
	var out []byte
	err := m.do(func() (err error) {
		f := strings.Fields(line)
		out, err = exec.Command(f[0], f[1:]...).CombinedOutput()
		return err
	})
	if err != nil {
		t.Fatalf("%s: %s: %v: %s", m.name, line, err, out)
	}
	return string(out)
}

func (m *machine) set(t *testing.T, path, value string) {
	t.Helper()
	if err := m.do(func() error { return os.WriteFile(path, []byte(value), 0o644) }); err != nil {
		t.Fatalf("%s: %v", m.name, err)
	}
}

// serve answers at ports of both protocols with the machine's name and the address of who asked.
func (m *machine) serve(t *testing.T, ports ...int) {
	t.Helper()
	for _, port := range ports {
		err := m.do(func() error {
			l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
			if err != nil {
				return err
			}
			t.Cleanup(func() { l.Close() })
			go m.serveTCP(l)
			c, err := net.ListenPacket("udp", fmt.Sprintf(":%d", port))
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = c.Close() })
			go m.serveUDP(c)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (m *machine) serveTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		fmt.Fprintln(c, m.answer(c.RemoteAddr()))
		c.Close()
	}
}

func (m *machine) serveUDP(c net.PacketConn) {
	buf := make([]byte, 64)
	for {
		_, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = c.WriteTo([]byte(m.answer(from)+"\n"), from)
	}
}

func (m *machine) answer(from net.Addr) string {
	a := netip.MustParseAddrPort(from.String()).Addr().Unmap().String()
	m.mu.Lock()
	m.seen[a] = true
	m.mu.Unlock()
	return m.name + " " + a
}

func (m *machine) saw(addr string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seen[addr]
}

// ask is what a server says to the machine; empty when nobody does within patience.
func (m *machine) ask(network, to string, patience time.Duration) string {
	var said string
	_ = m.do(func() error {
		c, err := net.DialTimeout(network, to, patience)
		if err != nil {
			return err
		}
		defer c.Close()
		deadline := time.Now().Add(patience)
		for time.Now().Before(deadline) {
			if network == "udp" {
				if _, err := c.Write([]byte("who?")); err != nil {
					return err
				}
			}
			_ = c.SetReadDeadline(time.Now().Add(min(patience, time.Second)))
			line, err := bufio.NewReader(c).ReadString('\n')
			if err == nil {
				said = strings.TrimSpace(line)
				return nil
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				return err
			}
		}
		return nil
	})
	return said
}

// link joins a machine to the host, by a bridge if one is named. Addresses are those of the machine.
func (m *machine) link(t *testing.T, host *machine, device, bridge string, addresses ...string) {
	t.Helper()
	host.ip(t, fmt.Sprintf("link add %s type veth peer name eth0 netns /proc/%d/fd/%d", device, os.Getpid(), m.ns.Fd()))
	if bridge != "" {
		host.ip(t, fmt.Sprintf("link set %s master %s", device, bridge))
	}
	host.ip(t, "link set "+device+" up")
	for _, a := range addresses {
		m.addr(t, "eth0", a)
	}
	m.ip(t, "link set eth0 up")
}

func (m *machine) addr(t *testing.T, device, address string) {
	t.Helper()
	if strings.Contains(address, ":") {
		address += " nodad"
	}
	m.ip(t, "addr add dev "+device+" "+address)
}

// world is a host with networks of every kind, and somebody outside who routes to all of them.
type world struct {
	host, out, far, a1, a2, b1, c1, c2, i1, i2, r1, u1, s1 *machine
	rules                                                  Rules
	// spoofed counts addresses that were made up.
	spoofed int
}

// addresses of the world: networks are 172.30.N.0/24 and fd30:N::/64, the host's are .1 and ::1.
func addr4(n, h int) string { return fmt.Sprintf("172.30.%d.%d", n, h) }
func addr6(n, h int) string { return fmt.Sprintf("fd30:%d::%d", n, h) }

func newWorld(t *testing.T) *world {
	t.Helper()
	needRoot(t)
	w := &world{host: newMachine(t, "host")}
	h := w.host
	h.ip(t, "link set lo up")
	h.set(t, "/proc/sys/net/ipv4/ip_forward", "1")
	h.set(t, "/proc/sys/net/ipv6/conf/all/forwarding", "1")
	outside := func(name, device string, n int) *machine {
		m := newMachine(t, name)
		m.link(t, h, device, "", addr4(n, 2)+"/24", addr6(n, 2)+"/64")
		h.addr(t, device, addr4(n, 1)+"/24")
		h.addr(t, device, addr6(n, 1)+"/64")
		t.Cleanup(func() { h.ip(t, "link del "+device) })
		m.ip(t, "route add default via "+addr4(n, 1))
		m.ip(t, "-6 route add default via "+addr6(n, 1))
		m.serve(t, 80)
		return m
	}
	w.out, w.far = outside("out", "up0", 90), outside("far", "up1", 91)
	h.addr(t, "up0", addr4(90, 9)+"/24")
	// Deprecated, so that nothing chooses it by itself.
	h.addr(t, "up0", addr6(90, 9)+"/64 preferred_lft 0")
	w.a1, w.a2 = w.network(t, 1, nil)
	w.b1, _ = w.network(t, 2, nil)
	w.c1, w.c2 = w.network(t, 3, func(n *Network) { n.Isolated = true })
	w.i1, w.i2 = w.network(t, 4, func(n *Network) { n.Internal = true })
	w.r1, _ = w.network(t, 5, func(n *Network) { n.IPv4.Mode, n.IPv6.Mode = ModeRouted, ModeRouted })
	w.u1, _ = w.network(t, 6, func(n *Network) { n.IPv4.Mode, n.IPv6.Mode = ModeUnprotected, ModeUnprotected })
	w.s1, _ = w.network(t, 7, func(n *Network) {
		n.IPv4.Source, n.IPv6.Source = netip.MustParseAddr(addr4(90, 9)), netip.MustParseAddr(addr6(90, 9))
	})
	w.publish(1, 2, "tcp", "0.0.0.0:8080", "[::]:8080")
	w.publish(1, 2, "udp", "0.0.0.0:8080", "[::]:8080")
	w.publish(2, 2, "tcp", addr4(90, 1)+":8081", "["+addr6(90, 1)+"]:8081")
	w.publish(1, 3, "tcp", "127.0.0.1:8082", "[::1]:8082")
	w.publish(3, 2, "tcp", "0.0.0.0:8083", "[::]:8083")
	w.publish(4, 2, "tcp", "0.0.0.0:8084", "[::]:8084")
	w.publish(5, 2, "tcp", "0.0.0.0:0", "[::]:0")
	w.host.serve(t, 8080, 8081, 8082, 8083, 8084)
	return w
}

// network makes a bridge with two containers. Their names are by the number: 1 is a, 2 is b; they serve ports 80 and 81.
func (w *world) network(t *testing.T, n int, change func(*Network)) (first, second *machine) {
	t.Helper()
	bridge := fmt.Sprintf("br-%d", n)
	w.host.ip(t, "link add "+bridge+" type bridge")
	t.Cleanup(func() { w.host.ip(t, "link del "+bridge) })
	w.host.addr(t, bridge, addr4(n, 1)+"/24")
	w.host.addr(t, bridge, addr6(n, 1)+"/64")
	w.host.ip(t, "link set "+bridge+" up")
	var ms []*machine
	for i := 1; i <= 2; i++ {
		m := newMachine(t, fmt.Sprintf("%c%d", " abcirus"[n:][:1][0], i))
		m.link(t, w.host, fmt.Sprintf("veth%d-%d", n, i), bridge, addr4(n, i+1)+"/24", addr6(n, i+1)+"/64")
		m.ip(t, "route add default via "+addr4(n, 1))
		m.ip(t, "-6 route add default via "+addr6(n, 1))
		m.serve(t, 80, 81)
		ms = append(ms, m)
	}
	net := Network{
		ID: fmt.Sprintf("network%d", n), Bridge: bridge,
		IPv4: &Family{Subnet: netip.MustParsePrefix(addr4(n, 0) + "/24"), Gateway: netip.MustParseAddr(addr4(n, 1)), Masquerade: true},
		IPv6: &Family{Subnet: netip.MustParsePrefix(addr6(n, 0) + "/64"), Gateway: netip.MustParseAddr(addr6(n, 1)), Masquerade: true},
	}
	if change != nil {
		change(&net)
	}
	w.rules.Networks = append(w.rules.Networks, net)
	return ms[0], ms[1]
}

// publish publishes port 80 of a container, in both families.
func (w *world) publish(n, h int, protocol, host4, host6 string) {
	net := &w.rules.Networks[n-1]
	for at, a := range map[string]string{host4: addr4(n, h), host6: addr6(n, h)} {
		net.Ports = append(net.Ports, Port{Protocol: protocol, Host: netip.MustParseAddrPort(at), Container: netip.AddrPortFrom(netip.MustParseAddr(a), 80)})
	}
}

func needIptables(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("iptables-restore"); err != nil {
		t.Skip("needs the program iptables-restore")
	}
}

// backends are both, freshly opened.
func backends(t *testing.T, test func(*testing.T, Backend)) {
	t.Helper()
	needRoot(t)
	for _, name := range []string{"nftables", "iptables"} {
		t.Run(name, func(t *testing.T) {
			if name == "iptables" {
				needIptables(t)
			}
			b, err := Open(name)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := b.Remove(context.Background()); err != nil {
					t.Error(err)
				}
			})
			test(t, b)
		})
	}
}
