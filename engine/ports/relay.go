package ports

import (
	"time"

	"golang.org/x/sys/unix"
)

// turn is how much a handler does before others have their turn.
const turn = 16

// relayed are the events of connections: all that change what can be done, told once each time.
const relayed = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET

// acceptor takes connections from a port.
type acceptor struct{ b *binding }

// Ready takes who waits.
func (a acceptor) Ready(uint32) {
	b := a.b
	for range turn {
		client, _, err := unix.Accept4(b.fd, nonblocking)
		switch err {
		case nil:
			b.relay(client)
		case unix.EAGAIN:
			return
		case unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS:
			b.rest()
			return
		default: // The client has gone already.
		}
	}
}

// rest lets connections wait for a while, since there is no room for them.
func (b *binding) rest() {
	b.p.loop.Change(b.fd, 0)
	b.p.loop.After(100*time.Millisecond, func() {
		if b.p.held[b.place()] == b {
			b.p.loop.Change(b.fd, unix.EPOLLIN)
		}
	})
}

// relay is a connection of a client with a container.
type relay struct {
	b                 *binding
	client, container int
	// in goes to the container, out to the client.
	in, out    way
	connecting *time.Timer // nil when connected
	closed     bool
}

// way is one direction.
type way struct {
	pipe *pipe // nil while nothing is on the way
	held int   // bytes in the pipe
	// ended says that nothing more comes, told that the other side knows.
	ended, told bool
	// broken says that there was no pipe to be had.
	broken bool
}

// relay begins to serve a client.
func (b *binding) relay(client int) {
	container, err := dial("tcp", b.Container)
	if err != nil {
		unix.Close(client)
		return
	}
	r := &relay{b: b, client: client, container: container}
	r.connecting = b.p.loop.After(b.p.dial, r.give)
	r.start()
}

// give gives up a connection that does not come about.
func (r *relay) give() {
	if r.connecting != nil {
		r.close()
	}
}

func (r *relay) start() {
	r.b.relays[r] = struct{}{}
	for _, fd := range []int{r.client, r.container} {
		if err := r.b.p.loop.Add(fd, relayed, r); err != nil {
			r.close()
			return
		}
	}
}

// Ready moves what can be moved.
func (r *relay) Ready(uint32) {
	if r.closed || !r.connected() {
		return
	}
	pipes := &r.b.p.pipes
	busy := r.in.move(r.client, r.container, pipes)
	busy = r.out.move(r.container, r.client, pipes) || busy
	switch {
	case r.in.told && r.out.told || r.in.broken || r.out.broken:
		r.close()
	case busy:
		r.b.p.loop.Again(r)
	}
}

// connected says whether the container has answered; when it refuses, the client learns it.
func (r *relay) connected() bool {
	if r.connecting == nil {
		return true
	}
	if _, err := unix.Getpeername(r.container); err != nil {
		if e, err := unix.GetsockoptInt(r.container, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || e != 0 {
			r.close()
		}
		return false
	}
	r.connecting.Stop()
	r.connecting = nil
	return true
}

// move brings bytes from one end to the other, through a pipe, so that they never come here. It says whether there is
// more to do at once.
func (w *way) move(from, to int, pipes *pipes) (busy bool) {
	for range turn {
		switch {
		case w.held > 0:
			if !w.write(to, pipes) {
				return false
			}
		case w.ended:
			if !w.told {
				w.told = true
				_ = unix.Shutdown(to, unix.SHUT_WR)
			}
			return false
		default:
			if !w.read(from, pipes) {
				return false
			}
		}
	}
	return true
}

// read fills the pipe. It says whether something has changed.
func (w *way) read(from int, pipes *pipes) bool {
	p, err := pipes.borrow()
	if err != nil {
		w.broken = true
		return false
	}
	n, err := unix.Splice(from, nil, p.in, nil, pipeSize, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
	if n > 0 {
		w.pipe, w.held = p, int(n)
		return true
	}
	pipes.giveBack(p)
	switch err {
	case unix.EAGAIN:
		return false
	case unix.EINTR:
		return true
	}
	w.ended = true // or reset, which the other direction learns
	return true
}

// write empties the pipe. It says whether something has changed.
func (w *way) write(to int, pipes *pipes) bool {
	n, err := unix.Splice(w.pipe.out, nil, to, nil, w.held, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
	switch {
	case err == unix.EAGAIN:
		return false
	case err == unix.EINTR:
	case err != nil || n == 0: // Nobody takes it any more.
		w.drop()
		w.ended, w.told = true, true
	default:
		if w.held -= int(n); w.held == 0 {
			pipes.giveBack(w.pipe)
			w.pipe = nil
		}
	}
	return true
}

// drop forgets what is on the way.
func (w *way) drop() {
	if w.pipe != nil {
		w.pipe.close()
		w.pipe, w.held = nil, 0
	}
}

func (r *relay) close() {
	if r.closed {
		return
	}
	r.closed = true
	if r.connecting != nil {
		r.connecting.Stop()
		r.connecting = nil
	}
	delete(r.b.relays, r)
	r.b.p.loop.Close(r.client)
	r.b.p.loop.Close(r.container)
	r.in.drop()
	r.out.drop()
}
