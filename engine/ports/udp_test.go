package ports

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"
)

// peerCount counts clients.
func (p *Ports) peerCount() (n int) {
	p.loop.Lock()
	defer p.loop.Unlock()
	for _, b := range p.held {
		n += b.peers.order.Len()
	}
	return n
}

// echoUDP answers datagrams as a container does.
func echoUDP(t *testing.T, at string) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	go func() {
		b := make([]byte, 64<<10)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(b[:n], from)
		}
	}()
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

func dialUDP(t *testing.T, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// asks sends a datagram again and again until it comes back: they may be lost.
func asks(t *testing.T, c *net.UDPConn, data []byte) {
	t.Helper()
	b := make([]byte, 64<<10)
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); {
		if _, err := c.Write(data); err != nil {
			continue
		}
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		if n, err := c.Read(b); err == nil && bytes.Equal(b[:n], data) {
			return
		}
	}
	t.Fatalf("%d bytes never came back", len(data))
}

func TestUDP(t *testing.T) {
	p := start(t)
	to := publish(t, p, "udp", echoUDP(t, "127.0.0.1:0"))
	one, two := dialUDP(t, to), dialUDP(t, to)
	for _, size := range []int{1, 0, 1500, 65507} {
		asks(t, one, bytes.Repeat([]byte("1"), size))
		asks(t, two, bytes.Repeat([]byte("2"), size))
	}
	if n := p.peerCount(); n != 2 {
		t.Errorf("%d clients, want 2", n)
	}
}

// TestUDPAnswersFromWhereItWasAsked: of a port on all addresses, the answer comes from the one that the client knows.
func TestUDPAnswersFromWhereItWasAsked(t *testing.T) {
	p := start(t)
	container := echoUDP(t, "127.0.0.1:0")
	for _, host := range []struct{ all, asked string }{{"0.0.0.0", "127.0.0.7"}, {"::", "::1"}} {
		got, err := p.Publish("web", "", []Port{{Protocol: "udp", Host: netip.AddrPortFrom(netip.MustParseAddr(host.all), 0), Container: container}})
		if err != nil {
			t.Skipf("no UDP on %s here: %v", host.all, err)
		}
		t.Cleanup(func() { p.Unpublish("web", got) })
		// The socket is connected: it takes nothing from another address.
		asks(t, dialUDP(t, netip.AddrPortFrom(netip.MustParseAddr(host.asked), got[0].Host.Port())), []byte("hello"))
	}
}

// TestUDPRefused: that nobody listens in the container does not end anything.
func TestUDPRefused(t *testing.T) {
	p := start(t)
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := closed.LocalAddr().String()
	to := publish(t, p, "udp", closed.LocalAddr().(*net.UDPAddr).AddrPort())
	_ = closed.Close()
	c := dialUDP(t, to)
	for range 10 {
		if _, err := c.Write([]byte("nobody")); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the client is known", func() bool { return p.peerCount() == 1 })
	echoUDP(t, at)
	asks(t, c, []byte("somebody"))
}

// TestUDPQuiet forgets who is quiet.
func TestUDPQuiet(t *testing.T) {
	p := start(t)
	p.idle = 20 * time.Millisecond
	to := publish(t, p, "udp", echoUDP(t, "127.0.0.1:0"))
	c := dialUDP(t, to)
	asks(t, c, []byte("x"))
	eventually(t, "nobody is remembered", func() bool { return p.peerCount() == 0 })
	asks(t, c, []byte("again"))
}

// TestUDPFlood has more clients than are remembered.
func TestUDPFlood(t *testing.T) {
	p := start(t)
	to := publish(t, p, "udp", echoUDP(t, "127.0.0.1:0"))
	p.loop.Lock()
	b := p.held[place{"udp", to}]
	for i := range maxPeers + 100 {
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}), 1)
		if b.peer(asked{Client: client}) == nil {
			p.loop.Unlock()
			t.Fatalf("client %d is not taken", i)
		}
	}
	n := b.peers.order.Len()
	p.loop.Unlock()
	if n != maxPeers {
		t.Errorf("%d clients, want %d", n, maxPeers)
	}
	asks(t, dialUDP(t, to), []byte("and one more"))
}
