package nameserver

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/poll"
)

// namespace is a new network namespace, whose loopback device is down.
func namespace(t *testing.T) int {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a network namespace needs root")
	}
	fd, failed := -1, make(chan error)
	go func() {
		runtime.LockOSThread() // The thread ends with this goroutine.
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		failed <- err
	}()
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// TestLoopbackComesLater: the sockets are opened before the loopback device is up, and answer from their address.
func TestLoopbackComesLater(t *testing.T) {
	r := start(t)
	inside := namespace(t)
	r.add(t, Sandbox{
		ID: "web", Namespace: fmt.Sprintf("/proc/self/fd/%d", inside),
		Endpoints: []Endpoint{{Network: "n", NetworkName: "n", Names: []string{"web"}, Addresses: addresses("172.18.0.2")}},
	})
	for network, at := range map[string]string{"udp": r.udp, "tcp": r.tcp} {
		var c net.Conn
		err := poll.In(inside, func() error {
			lo, err := netlink.LinkByName("lo")
			if err == nil {
				err = netlink.LinkSetUp(lo)
			}
			if err == nil {
				c, err = net.DialTimeout(network, at, limit)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(limit))
		client := dns.Client{Net: network, Timeout: limit}
		got, _, err := client.ExchangeWithConn(query("web", dns.TypeA), &dns.Conn{Conn: c})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"NOERROR", "172.18.0.2"}, told(got)); diff != "" {
			t.Error(diff)
		}
	}
}
