package redirect

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const patience = 30 * time.Second

// inside runs f in a network namespace of its own, whose loopback device is up.
func inside(t testing.TB, f func(netns int) error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a network namespace")
	}
	done := make(chan error)
	go func() {
		// The thread ends with the goroutine.
		runtime.LockOSThread()
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
				t.Errorf("%s", out)
				return err
			}
			ns, err := os.Open("/proc/thread-self/ns/net")
			if err != nil {
				return err
			}
			defer ns.Close()
			return f(int(ns.Fd()))
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestNames(t *testing.T) {
	inside(t, func(netns int) error {
		// Twice: the second server takes over from the first.
		for _, name := range []string{"first", "second"} {
			udp, tcp, err := serve(t, name)
			if err != nil {
				return err
			}
			if err := Names(netns, udp, tcp); err != nil {
				return err
			}
			for _, network := range []string{"udp", "tcp"} {
				if got, err := ask(network); err != nil || got != name {
					t.Errorf("%s: got %q, %v, want %s", network, got, err, name)
				}
			}
		}
		return nil
	})
}

// serve answers everything with its name, at two ports.
func serve(t *testing.T, name string) (udp, tcp uint16, err error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.11:0")
	if err != nil {
		return 0, 0, err
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte(name))
			c.Close()
		}
	}()
	u, err := net.ListenPacket("udp", "127.0.0.11:0")
	if err != nil {
		return 0, 0, err
	}
	t.Cleanup(func() { _ = u.Close() })
	go func() {
		buf := make([]byte, 64)
		for {
			_, from, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = u.WriteTo([]byte(name), from)
		}
	}()
	return port(u.LocalAddr()), port(l.Addr()), nil
}

func port(a net.Addr) uint16 { return netip.MustParseAddrPort(a.String()).Port() }

// ask asks where containers ask. A connected UDP socket takes answers from port 53 only.
func ask(network string) (string, error) {
	c, err := net.DialTimeout(network, "127.0.0.11:53", patience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if network == "udp" {
		if _, err := c.Write([]byte("who?")); err != nil {
			return "", err
		}
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	buf := make([]byte, 64)
	n, err := c.Read(buf)
	return string(buf[:n]), err
}

// BenchmarkNames writes the rules anew into a namespace that has some.
func BenchmarkNames(b *testing.B) {
	inside(b, func(netns int) error {
		for b.Loop() {
			if err := Names(netns, 4000, 4001); err != nil {
				return err
			}
		}
		return nil
	})
}

// BenchmarkNamesFirst is about a namespace without any, as a container's is when it starts.
func BenchmarkNamesFirst(b *testing.B) {
	var all time.Duration
	for b.Loop() {
		inside(b, func(netns int) error {
			start := time.Now()
			err := Names(netns, 4000, 4001)
			all += time.Since(start)
			return err
		})
	}
	b.ReportMetric(float64(all.Microseconds())/float64(b.N), "µs/call")
}
