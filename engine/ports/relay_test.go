package ports

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/poll"
)

// limit is long enough for everything.
const limit = 30 * time.Second

var loopback = netip.MustParseAddr("127.0.0.1")

// start has a loop of its own.
func start(t *testing.T) *Ports {
	t.Helper()
	loop, err := poll.New()
	if err != nil {
		t.Fatal(err)
	}
	p := New(loop)
	go func() { _ = loop.Run() }()
	return p
}

// publish publishes one port of 127.0.0.1.
func publish(t *testing.T, p *Ports, protocol string, container netip.AddrPort) netip.AddrPort {
	t.Helper()
	got, err := p.Publish("web", "", []Port{{Protocol: protocol, Host: netip.AddrPortFrom(loopback, 0), Container: container}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Unpublish("web", got) })
	return got[0].Host
}

// container serves connections as a container does.
func container(t *testing.T, serve func(*net.TCPConn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c.(*net.TCPConn))
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// sum reads all, and answers with what it was.
func sum(c *net.TCPConn) {
	defer c.Close()
	h := sha256.New()
	if _, err := io.Copy(h, c); err == nil {
		_, _ = c.Write(h.Sum(nil))
	}
}

// echo answers with what it reads.
func echo(c *net.TCPConn) {
	defer c.Close()
	_, _ = io.Copy(c, c)
}

func dialTCP(t *testing.T, to netip.AddrPort) *net.TCPConn {
	t.Helper()
	c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(limit))
	return c
}

// eventually waits for something.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// relays counts connections.
func (p *Ports) relays() (n int) {
	p.loop.Lock()
	defer p.loop.Unlock()
	for _, b := range p.held {
		n += len(b.relays)
	}
	return n
}

// TestHalfClose sends much, says that this is all, and hears the answer after that.
func TestHalfClose(t *testing.T) {
	p := start(t)
	c := dialTCP(t, publish(t, p, "tcp", container(t, sum)))
	data := make([]byte, 32<<20)
	_, _ = rand.Read(data)
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if want := sha256.Sum256(data); err != nil || !bytes.Equal(got, want[:]) {
		t.Errorf("got %x, %v, want %x", got, err, want)
	}
	eventually(t, "no connection is left", func() bool { return p.relays() == 0 })
}

// TestBothWays has both ends write more than sockets hold, at once.
func TestBothWays(t *testing.T) {
	p := start(t)
	c := dialTCP(t, publish(t, p, "tcp", container(t, echo)))
	data := make([]byte, 32<<20)
	_, _ = rand.Read(data)
	var writing sync.WaitGroup
	writing.Go(func() {
		_, _ = c.Write(data)
		_ = c.CloseWrite()
	})
	got, err := io.ReadAll(c)
	writing.Wait()
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("got %d bytes, %v, want %d", len(got), err, len(data))
	}
}

// TestManyConnections keeps a thousand open at once.
func TestManyConnections(t *testing.T) {
	p := start(t)
	to := publish(t, p, "tcp", container(t, echo))
	conns := make([]*net.TCPConn, 1000)
	for i := range conns {
		conns[i] = dialTCP(t, to)
	}
	for round := range 2 {
		for i, c := range conns {
			if _, err := c.Write([]byte{byte(i), byte(round)}); err != nil {
				t.Fatal(err)
			}
		}
		for i, c := range conns {
			var b [2]byte
			if _, err := io.ReadFull(c, b[:]); err != nil || b != [2]byte{byte(i), byte(round)} {
				t.Fatalf("connection %d: %v, %v", i, b, err)
			}
		}
	}
	if n := p.relays(); n != len(conns) {
		t.Errorf("%d connections, want %d", n, len(conns))
	}
	p.loop.Lock()
	pipes := len(p.pipes)
	p.loop.Unlock()
	if pipes > spare {
		t.Errorf("%d pipes are kept", pipes)
	}
	for _, c := range conns {
		c.Close()
	}
	eventually(t, "no connection is left", func() bool { return p.relays() == 0 })
}

// TestReset: a container that breaks off is not waited for.
func TestReset(t *testing.T) {
	p := start(t)
	c := dialTCP(t, publish(t, p, "tcp", container(t, func(c *net.TCPConn) {
		_ = c.SetLinger(0)
		c.Close()
	})))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("read %d, %v", n, err)
	}
	eventually(t, "no connection is left", func() bool {
		_, _ = c.Write([]byte("x"))
		return p.relays() == 0
	})
}

// TestRefused: nobody listens in the container.
func TestRefused(t *testing.T) {
	p := start(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := publish(t, p, "tcp", l.Addr().(*net.TCPAddr).AddrPort())
	l.Close()
	c := dialTCP(t, to)
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("something was read")
	}
	eventually(t, "no connection is left", func() bool { return p.relays() == 0 })
}

// TestNoAnswer: a container that does not answer at all is given up after a while.
func TestNoAnswer(t *testing.T) {
	p := start(t)
	p.dial = 50 * time.Millisecond
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: loopback.As4()}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	full := netip.AddrPortFrom(loopback, uint16(name.(*unix.SockaddrInet4).Port))
	dialTCP(t, full) // There is room for one, and the kernel does not hear the next.
	c := dialTCP(t, publish(t, p, "tcp", full))
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("got %v", err)
	}
	if n := p.relays(); n != 0 {
		t.Errorf("%d connections", n)
	}
}

// TestUnpublish ends connections, and the port is free.
func TestUnpublish(t *testing.T) {
	p := start(t)
	to := publish(t, p, "tcp", container(t, echo))
	c := dialTCP(t, to)
	p.Unpublish("another", nil)
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	p.Unpublish("web", nil)
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is open")
	}
	if list := p.List(); len(list) != 0 {
		t.Errorf("got %v", list)
	}
	l, err := net.Listen("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}
