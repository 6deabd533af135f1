package ports

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/outlive"
	"github.com/gantry-containers/gantry/engine/poll"
)

// wires are the two ends of a connection between two processes.
func wires(t *testing.T) (a, b *outlive.Wire) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*outlive.Wire
	for i, fd := range pair {
		f := os.NewFile(uintptr(fd), "wire")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = outlive.NewWire(c.(*net.UnixConn))
		t.Cleanup(ends[i].Close)
	}
	return ends[0], ends[1]
}

// handOver gives everything to the next, and leaves the old one where it stands, as a process that ends does.
func handOver(t *testing.T, old *Ports) *Ports {
	t.Helper()
	a, b := wires(t)
	given := make(chan error, 1)
	go func() {
		old.loop.Lock()
		given <- old.Give(a)
	}()
	loop, err := poll.New()
	if err != nil {
		t.Fatal(err)
	}
	next := New(loop)
	if err := next.Take(b); err != nil {
		t.Fatal(err)
	}
	if err := <-given; err != nil {
		t.Fatal(err)
	}
	go func() { _ = loop.Run() }()
	return next
}

// TestHandOver moves connections while bytes are on their way in both directions.
func TestHandOver(t *testing.T) {
	p := start(t)
	// The last one has to give them back, not this one.
	var to, toUDP netip.AddrPort
	for protocol, port := range map[string]*netip.AddrPort{"tcp": &to, "udp": &toUDP} {
		inside := echoUDP(t, "127.0.0.1:0")
		if protocol == "tcp" {
			inside = container(t, echo)
		}
		got, err := p.Publish("web", "", []Port{{Protocol: protocol, Host: netip.AddrPortFrom(loopback, 0), Container: inside}})
		if err != nil {
			t.Fatal(err)
		}
		*port = got[0].Host
	}
	c, u := dialTCP(t, to), dialUDP(t, toUDP)
	asks(t, u, []byte("before"))
	data := make([]byte, 24<<20)
	_, _ = rand.Read(data)
	go func() {
		_, _ = c.Write(data)
		_ = c.CloseWrite()
	}()
	got := make([]byte, 0, len(data))
	step := len(data) / 6
	for range 5 {
		// The pipes are full: nobody reads on.
		got = append(got, make([]byte, step)...)
		if _, err := io.ReadFull(c, got[len(got)-step:]); err != nil {
			t.Fatal(err)
		}
		p = handOver(t, p)
	}
	rest, err := io.ReadAll(c)
	if got = append(got, rest...); err != nil || !bytes.Equal(got, data) {
		t.Errorf("got %d bytes, %v, want %d", len(got), err, len(data))
	}
	asks(t, u, []byte("after"))
	if n := p.peerCount(); n != 1 {
		t.Errorf("%d clients, want 1", n)
	}
	eventually(t, "no connection is left", func() bool { return p.relays() == 0 })
	if list := p.List(); len(list) != 2 {
		t.Errorf("got %v", list)
	}
	p.Unpublish("web", nil)
}
