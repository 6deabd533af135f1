package ports

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// settings gives the kernel other ones for a test.
func settings(t *testing.T, local, reserved string) {
	t.Helper()
	oldLocal, oldReserved := localRange, reservedPorts
	t.Cleanup(func() { localRange, reservedPorts = oldLocal, oldReserved })
	dir := t.TempDir()
	localRange, reservedPorts = filepath.Join(dir, "local"), filepath.Join(dir, "reserved")
	for path, content := range map[string]string{localRange: local, reservedPorts: reserved} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// free is the first of some ports of TCP on 127.0.0.1 and ::1 that nobody has, all below the kernel's own.
func free(t *testing.T, count int) uint16 {
	t.Helper()
next:
	for first := 20000; first < 32000; first += count {
		for n := first; n < first+count; n++ {
			l, err := net.Listen("tcp", fmt.Sprintf(":%d", n))
			if err != nil {
				continue next
			}
			l.Close()
		}
		return uint16(first)
	}
	t.Fatal("no ports are free")
	return 0
}

var inside = netip.MustParseAddrPort("127.0.0.1:9")

func on(addr string, port, end uint16) Port {
	return Port{Protocol: "tcp", Host: netip.AddrPortFrom(netip.MustParseAddr(addr), port), End: end, Container: inside}
}

func numbersOf(t *testing.T, p *Ports, owner, call string, group ...Port) []uint16 {
	t.Helper()
	got, err := p.Publish(owner, call, group)
	if err != nil {
		t.Fatal(err)
	}
	var list []uint16
	for _, port := range got {
		if port.End != 0 {
			t.Errorf("%v is still a range", port)
		}
		list = append(list, port.Host.Port())
	}
	return list
}

func check(t *testing.T, got, want []uint16) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRange(t *testing.T) {
	p := start(t)
	first := free(t, 3)
	t.Cleanup(func() { p.Unpublish("a", nil); p.Unpublish("b", nil) })
	check(t, numbersOf(t, p, "a", "1", on("127.0.0.1", first, first+2)), []uint16{first})
	check(t, numbersOf(t, p, "b", "2", on("127.0.0.1", first, first+2)), []uint16{first + 1})
	check(t, numbersOf(t, p, "a", "3", on("127.0.0.1", first, first+2)), []uint16{first + 2})
	_, err := p.Publish("b", "4", []Port{on("127.0.0.1", first, first+2)})
	if e, ok := errors.AsType[*InUseError](err); !ok || e.End != first+2 {
		t.Errorf("got %v", err)
	}
	p.Unpublish("b", nil)
	check(t, numbersOf(t, p, "a", "5", on("127.0.0.1", first, first+2)), []uint16{first + 1})
}

// TestAnyPort: the next one after the last, without those that are reserved, the same in both families.
func TestAnyPort(t *testing.T) {
	p := start(t)
	first := free(t, 5)
	settings(t, fmt.Sprintf("%d\t%d\n", first, first+4), fmt.Sprintf("8080,%d-%d\n", first+1, first+1))
	t.Cleanup(func() { p.Unpublish("a", nil) })
	check(t, numbersOf(t, p, "a", "1", on("127.0.0.1", 0, 0)), []uint16{first})
	p.Unpublish("a", nil)
	both := []Port{on("0.0.0.0", 0, 0), on("::", 0, 0)}
	taken, err := net.Listen("tcp6", fmt.Sprintf("[::]:%d", first+2))
	if err != nil {
		t.Skip("no IPv6 here")
	}
	check(t, numbersOf(t, p, "a", "2", both...), []uint16{first + 3, first + 3})
	// Asked again, it is the same answer.
	check(t, numbersOf(t, p, "a", "2", both...), []uint16{first + 3, first + 3})
	taken.Close()
	check(t, numbersOf(t, p, "a", "3", both...), []uint16{first + 4, first + 4})
	check(t, numbersOf(t, p, "a", "4", both...), []uint16{first, first})
	check(t, numbersOf(t, p, "a", "5", both...), []uint16{first + 2, first + 2})
	if _, err := p.Publish("a", "6", both); err == nil {
		t.Error("there is one more")
	}
}

// TestInUse says who has a port; nothing of the group is taken then.
func TestInUse(t *testing.T) {
	p := start(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = u.Close() }()
	taken, takenUDP := l.Addr().(*net.TCPAddr).AddrPort().Port(), u.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	t.Cleanup(func() { p.Unpublish("a", nil) })
	mine := free(t, 1)
	numbersOf(t, p, "a", "", on("127.0.0.1", mine, 0))
	udp := on("0.0.0.0", takenUDP, 0)
	udp.Protocol = "udp"
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	me := fmt.Sprintf("%s (pid %d)", strings.TrimSpace(string(comm)), os.Getpid())
	for name, c := range map[string]struct {
		port Port
		want string
	}{
		"process":          {on("127.0.0.1", taken, 0), fmt.Sprintf("tcp 127.0.0.1:%d: address already in use by %s", taken, me)},
		"all addresses":    {on("0.0.0.0", taken, 0), fmt.Sprintf("tcp 0.0.0.0:%d: address already in use by %s", taken, me)},
		"udp":              {udp, fmt.Sprintf("udp 0.0.0.0:%d: address already in use by %s", takenUDP, me)},
		"container":        {on("127.0.0.1", mine, 0), fmt.Sprintf("tcp 127.0.0.1:%d: address already in use by container a", mine)},
		"container on all": {on("0.0.0.0", mine, 0), fmt.Sprintf("tcp 0.0.0.0:%d: address already in use by container a", mine)},
	} {
		other := on("127.0.0.1", free(t, 1), 0)
		_, err := p.Publish("b", "", []Port{other, c.port})
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
		if list := p.List(); len(list) != 1 {
			t.Errorf("%s: got %v", name, list)
		}
	}
}

// TestAgain: what an owner has already is kept, and goes where the container is now.
func TestAgain(t *testing.T) {
	p := start(t)
	t.Cleanup(func() { p.Unpublish("a", nil) })
	port := on("127.0.0.1", free(t, 1), 0)
	numbersOf(t, p, "a", "1", port)
	numbersOf(t, p, "a", "2", port)
	port.Container = netip.MustParseAddrPort("127.0.0.2:9")
	numbersOf(t, p, "a", "3", port)
	if diff := cmp.Diff([]Held{{Port: port, Owner: "a"}}, p.List(), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	port.Container = netip.MustParseAddrPort("127.0.0.2:10")
	if _, err := p.Publish("a", "4", []Port{port}); err == nil {
		t.Error("another port of the container has taken it over")
	}
}

func TestNoPort(t *testing.T) {
	p := start(t)
	valid := on("127.0.0.1", 0, 0)
	for want, change := range map[string]func(*Port){
		"not a protocol":        func(p *Port) { p.Protocol = "icmp" },
		"an address is missing": func(p *Port) { p.Container = netip.AddrPort{} },
		"not a range":           func(p *Port) { p.Host, p.End = netip.AddrPortFrom(loopback, 80), 79 },
		"cannot assign":         func(p *Port) { p.Host = netip.MustParseAddrPort("192.0.2.1:80") },
		"no such network":       func(p *Port) { p.Host = netip.MustParseAddrPort("[fe80::1%nothing]:80") },
	} {
		port := valid
		change(&port)
		if _, err := p.Publish("a", "", []Port{port}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestSCTP is held where the kernel has it, and refused with the reason elsewhere.
func TestSCTP(t *testing.T) {
	p := start(t)
	t.Cleanup(func() { p.Unpublish("a", nil) })
	port := on("127.0.0.1", 0, 0)
	port.Protocol = "sctp"
	_, err := p.Publish("a", "", []Port{port})
	if err != nil && (!errors.Is(err, unix.EPROTONOSUPPORT) || !strings.Contains(err.Error(), "module sctp")) {
		t.Errorf("got %v", err)
	}
}
