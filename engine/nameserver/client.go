package nameserver

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	// turn is how much a handler does before others have their turn.
	turn = 16
	// maxClients is how many connections one sandbox may have.
	maxClients = 64
	// quiet is how long a connection may say nothing.
	quiet = 10 * time.Second
)

// datagrams takes questions over UDP.
type datagrams struct{ sb *sandbox }

// Ready takes what is there.
func (d datagrams) Ready(uint32) {
	for range turn {
		n, from, err := unix.Recvfrom(d.sb.udp, d.sb.s.loop.Buffer, unix.MSG_DONTWAIT)
		if err == unix.EAGAIN {
			return
		}
		if four, ok := from.(*unix.SockaddrInet4); err == nil && ok {
			d.sb.ask(d.sb.s.loop.Buffer[:n], asker{Addr: four.Addr, Port: four.Port})
		}
	}
}

// asker is who asked: a client over UDP by its address, or one over TCP.
type asker struct {
	Addr   [4]byte
	Port   int
	client *client
}

// ask answers a message, or asks others.
func (sb *sandbox) ask(raw []byte, from asker) {
	reply, forward := sb.s.answer(sb.Sandbox, raw, from.client != nil)
	switch {
	case forward:
		sb.forward(raw, from)
	case reply != nil:
		sb.reply(reply, from)
	case from.client != nil:
		from.client.close() // No question: nobody who means well.
	}
}

// source makes answers come from where was asked: a socket that was bound before the loopback device was up would choose
// another address.
var source = unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: Address.As4()})

func (sb *sandbox) reply(message []byte, to asker) {
	if to.client == nil {
		_, _ = unix.SendmsgN(sb.udp, message, source, &unix.SockaddrInet4{Addr: to.Addr, Port: to.Port}, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		return
	}
	to.client.put(message)
	to.client.busy = false
	sb.s.loop.Again(to.client)
}

// acceptor takes connections.
type acceptor struct{ sb *sandbox }

// Ready takes who waits.
func (a acceptor) Ready(uint32) {
	for range turn {
		fd, _, err := unix.Accept4(a.sb.tcp, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
			a.sb.welcome(&client{sb: a.sb, stream: stream{fd: fd}})
		case unix.EAGAIN:
			return
		case unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS:
			a.sb.rest()
			return
		default: // The client has gone already.
		}
	}
}

// rest lets connections wait for a while, since there is no room for them.
func (sb *sandbox) rest() {
	loop := sb.s.loop
	loop.Change(sb.tcp, 0)
	loop.After(100*time.Millisecond, func() {
		if sb.s.sandboxes[sb.ID] == sb {
			loop.Change(sb.tcp, unix.EPOLLIN)
		}
	})
}

// client is one who asks over TCP, one question after the other.
type client struct {
	sb *sandbox
	stream
	// busy says that its question is with others, ended that it asks no more.
	busy, ended, closed bool
	timer               *time.Timer
}

// welcome begins to listen to a client.
func (sb *sandbox) welcome(c *client) {
	if len(sb.clients) >= maxClients {
		unix.Close(c.fd)
		return
	}
	sb.clients[c] = struct{}{}
	c.timer = sb.s.loop.After(quiet, c.tooQuiet)
	if err := sb.s.loop.Add(c.fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET, c); err != nil {
		c.close()
		return
	}
	sb.s.loop.Again(c)
}

func (c *client) tooQuiet() {
	if c.busy {
		c.timer.Reset(quiet)
		return
	}
	c.close()
}

// Ready sends, reads and answers, until it has to wait for something.
func (c *client) Ready(uint32) {
	for range turn {
		if c.closed {
			return
		}
		if err := c.flush(); err != nil {
			c.close()
			return
		}
		if c.busy || len(c.out) > 0 {
			return
		}
		if message, ok := c.next(); ok {
			c.timer.Reset(quiet)
			c.busy = true
			c.sb.ask(message, asker{client: c})
			continue
		}
		if c.ended {
			c.close()
			return
		}
		before := len(c.in)
		c.ended = c.fill(c.sb.s.loop.Buffer) != nil
		if len(c.in) == before && !c.ended {
			return
		}
	}
	c.sb.s.loop.Again(c)
}

func (c *client) close() {
	if c.closed {
		return
	}
	c.closed = true
	c.timer.Stop()
	delete(c.sb.clients, c)
	c.sb.s.loop.Close(c.fd)
}
