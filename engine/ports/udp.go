package ports

import (
	"container/list"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// maxPeers is how many clients of one port of UDP are remembered; the one that was quiet longest makes room.
const maxPeers = 4096

// peer is a client of a port of UDP, with a socket of its own towards the container, so that answers find it.
type peer struct {
	b *binding
	// asked is who asked and where: answers come from there.
	asked asked
	fd    int
	used  time.Time
}

// asked is a client's address, and that at which it asked.
type asked struct {
	Client netip.AddrPort
	At     netip.Addr
	Device uint32 // of an address that is only valid there
}

// peers are those of a port, by who asked and by when they were heard last.
type peers struct {
	by    map[asked]*list.Element
	order list.List
}

func (s *peers) closeAll(loop interface{ Close(fd int) }) {
	for _, e := range s.by {
		loop.Close(e.Value.(*peer).fd)
	}
	s.by = nil
	s.order.Init()
}

// receiver takes datagrams from a port.
type receiver struct{ b *binding }

// Ready takes what is there.
func (r receiver) Ready(uint32) {
	b := r.b
	buf := b.p.loop.Buffer
	var oob [128]byte
	for range turn {
		n, oobn, _, from, err := unix.Recvmsg(b.fd, buf, oob[:], unix.MSG_DONTWAIT)
		if err == unix.EAGAIN {
			return
		}
		if err != nil || from == nil {
			continue // What an earlier datagram met on its way.
		}
		if p := b.peer(whoAsked(from, oob[:oobn])); p != nil {
			p.send(buf[:n])
		}
	}
}

func whoAsked(from unix.Sockaddr, oob []byte) (a asked) {
	switch s := from.(type) {
	case *unix.SockaddrInet4:
		a.Client = netip.AddrPortFrom(netip.AddrFrom4(s.Addr), uint16(s.Port))
	case *unix.SockaddrInet6:
		addr := netip.AddrFrom16(s.Addr)
		if addr.IsLinkLocalUnicast() {
			a.Device = s.ZoneId
		}
		a.Client = netip.AddrPortFrom(addr, uint16(s.Port))
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return a
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= 8:
			a.At = netip.AddrFrom4([4]byte(m.Data[4:8]))
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= 16:
			a.At = netip.AddrFrom16([16]byte(m.Data[:16]))
		}
	}
	return a
}

// peer finds a client, or begins to remember it; nil when that is not possible.
func (b *binding) peer(a asked) *peer {
	if e := b.peers.by[a]; e != nil {
		return b.peers.touch(e)
	}
	if b.peers.order.Len() >= maxPeers {
		b.forget(b.peers.order.Front())
	}
	fd, err := dial("udp", b.Container)
	if err != nil {
		return nil
	}
	return b.remember(&peer{b: b, asked: a, fd: fd})
}

func (b *binding) remember(p *peer) *peer {
	if err := b.p.loop.Add(p.fd, unix.EPOLLIN, p); err != nil {
		unix.Close(p.fd)
		return nil
	}
	if b.peers.by == nil {
		b.peers.by = map[asked]*list.Element{}
	}
	e := b.peers.order.PushBack(p)
	b.peers.by[p.asked] = e
	b.p.sweepLater()
	return b.peers.touch(e)
}

func (s *peers) touch(e *list.Element) *peer {
	p := e.Value.(*peer)
	p.used = time.Now()
	s.order.MoveToBack(e)
	return p
}

func (b *binding) forget(e *list.Element) {
	p := b.peers.order.Remove(e).(*peer)
	delete(b.peers.by, p.asked)
	b.p.loop.Close(p.fd)
}

// sweepLater looks for quiet clients after a while, as long as there are clients.
func (p *Ports) sweepLater() {
	if p.sweep == nil {
		p.sweep = p.loop.After(p.idle/3+time.Millisecond, p.forgetQuiet)
	}
}

func (p *Ports) forgetQuiet() {
	p.sweep = nil
	left := 0
	for _, b := range p.held {
		for e := b.peers.order.Front(); e != nil && time.Since(e.Value.(*peer).used) > p.idle; e = b.peers.order.Front() {
			b.forget(e)
		}
		left += b.peers.order.Len()
	}
	if left > 0 {
		p.sweepLater()
	}
}

// send gives a datagram to the container. That one before was refused (nobody listens yet) is told now, and no reason
// to lose this one.
func (p *peer) send(b []byte) {
	for range 3 {
		if _, err := unix.SendmsgN(p.fd, b, nil, nil, unix.MSG_NOSIGNAL); err != unix.ECONNREFUSED {
			return
		}
	}
}

// Ready takes datagrams from the container.
func (p *peer) Ready(uint32) {
	buf := p.b.p.loop.Buffer
	for range turn {
		n, _, err := unix.Recvfrom(p.fd, buf, unix.MSG_DONTWAIT)
		if err == unix.EAGAIN {
			return
		}
		if err == nil {
			p.answer(buf[:n])
		}
	}
}

func (p *peer) answer(b []byte) {
	if e := p.b.peers.by[p.asked]; e != nil {
		p.b.peers.touch(e)
	}
	to, _, err := sockaddr(p.asked.Client)
	if err != nil {
		return
	}
	if six, ok := to.(*unix.SockaddrInet6); ok {
		six.ZoneId = p.asked.Device
	}
	_, _ = unix.SendmsgN(p.b.fd, b, p.asked.source(), to, unix.MSG_NOSIGNAL)
}

// source makes an answer come from where the client asked.
func (a asked) source() []byte {
	switch {
	case a.At.Is4():
		return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: a.At.As4()})
	case a.At.Is6():
		return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: a.At.As16(), Ifindex: a.Device})
	}
	return nil
}
