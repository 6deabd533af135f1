package keeper

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxHeld is how many bytes wait for a client before the container has to: dockerd's threshold.
	maxHeld = 1 << 20
	// chunk is how much is written to a client at once, so that progress is seen.
	chunk = 16 << 10
	// linger is how long a client has to hang up after the last byte, before the connection is closed: closing it with
	// input unread would be a reset, which can take the last output away.
	linger = 2 * time.Second
)

// session is a client who is attached.
type session struct {
	p    *process
	id   string
	want Attach
	f    *os.File
	raw  syscall.RawConn
	keys escape
	// ended is closed when the last output is with the client, or nobody takes it.
	ended chan struct{}

	// Of the goroutine that reads: input that was not looked at yet, and input without the keys that the process did
	// not take yet, which comes first.
	unread, filtered []byte

	mu   sync.Mutex
	wake *sync.Cond
	// of is the run of the process that it is attached to; nil while it waits for one. in is nil without input.
	of *Streams
	in *input
	// noInput says that the client's input has ended, or that the process takes none.
	noInput bool
	// held waits to be written, and taken counts what was; flushing says that a goroutine does it.
	held     []byte
	inFlight int
	taken    uint64
	flushing bool
	// finishing: no more output comes. free: output waits for nobody. dead: the client has gone.
	finishing, free, dead, detached bool
}

func newSession(id string, want Attach, fd int) (*session, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "client")
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s := &session{id: id, want: want, f: f, raw: raw, keys: escape{keys: want.DetachKeys}, ended: make(chan struct{})}
	s.unread, s.held = want.Early, want.Head
	s.want.Early, s.want.Head = nil, nil
	s.wake = sync.NewCond(&s.mu)
	return s, nil
}

// start begins to listen to the client.
func (s *session) start() { s.p.k.running.Go(s.run) }

// begin sends what comes first, and listens.
func (s *session) begin() {
	s.mu.Lock()
	if len(s.held) > 0 {
		s.held = s.held[s.writeNow(s.held):]
	}
	s.flushLater()
	s.mu.Unlock()
	s.start()
}

// opened tells that the process has its streams.
func (s *session) opened(of *Streams, in *input) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of, s.in = of, in
	s.noInput = s.noInput || in == nil || !s.want.Stdin
	_ = s.f.SetReadDeadline(past)
}

// output gives bytes of a stream to the client, or keeps them for it. When too many are kept, it waits: the container
// waits for its slowest client, as with dockerd, but not for one that takes nothing at all for long.
func (s *session) output(frame byte, data []byte) {
	if frame == 1 && !s.want.Stdout || frame == 2 && !s.want.Stderr {
		return
	}
	var head []byte
	if s.want.Mux {
		head = binary.BigEndian.AppendUint32([]byte{frame, 0, 0, 0}, uint32(len(data)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room()
	if s.dead || s.finishing {
		return
	}
	if len(s.held)+s.inFlight > 0 {
		s.held = append(append(s.held, head...), data...)
		return
	}
	n := s.writeNow(head, data)
	s.taken += uint64(n)
	if n < len(head) {
		s.held = append(s.held, head[n:]...)
		n = len(head)
	}
	s.held = append(s.held, data[n-len(head):]...)
	s.flushLater()
}

// room waits until there is room. The caller holds mu.
func (s *session) room() {
	for len(s.held)+s.inFlight >= maxHeld && !s.dead && !s.free && !s.p.k.pausing.Load() {
		before := s.taken
		timer := time.AfterFunc(s.p.k.stall, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.taken == before && !s.dead {
				slog.Warn("a client takes no output and is let go", "process", s.p.key.String())
				s.die()
			}
		})
		s.wake.Wait()
		timer.Stop()
	}
}

// writeNow writes as much as the client takes without waiting. Errors are found by who waits.
func (s *session) writeNow(parts ...[]byte) (n int) {
	_ = s.raw.Control(func(fd uintptr) {
		n, _ = unix.Writev(int(fd), parts)
	})
	return max(n, 0)
}

// flushLater lets a goroutine write what is held. The caller holds mu.
func (s *session) flushLater() {
	if len(s.held) > 0 && !s.flushing && !s.dead && !s.p.k.pausing.Load() {
		s.flushing = true
		s.p.k.running.Go(s.flush)
	}
}

func (s *session) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.held) > 0 && !s.dead {
		b := s.held
		s.held, s.inFlight = nil, len(b)
		for len(b) > 0 {
			s.mu.Unlock()
			n, err := s.f.Write(b[:min(chunk, len(b))])
			s.mu.Lock()
			b = b[n:]
			s.inFlight = len(b)
			s.taken += uint64(n)
			s.wake.Broadcast()
			if err == nil {
				continue
			}
			s.held, s.inFlight = append(b, s.held...), 0
			if errors.Is(err, os.ErrDeadlineExceeded) && s.p.k.pausing.Load() {
				s.flushing = false
				return
			}
			s.die()
			break
		}
	}
	s.flushing = false
	if s.finishing {
		s.hangUp()
	}
}

// hurry lets nobody wait for the client any more.
func (s *session) hurry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = true
	s.wake.Broadcast()
}

// finish ends the session when what is held is written.
func (s *session) finish(detached bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finishing || s.dead {
		return
	}
	s.finishing, s.detached = true, detached
	if !s.flushing && len(s.held) == 0 {
		s.hangUp()
	}
}

// wait waits for the end of a session that is finishing, at most for limit; then the client has to go.
func (s *session) wait(limit time.Duration) {
	select {
	case <-s.ended:
		return
	default:
	}
	t := time.NewTimer(max(limit, time.Second))
	defer t.Stop()
	select {
	case <-s.ended:
	case <-t.C:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.die()
	}
}

// hangUp tells the client that nothing more comes. The caller holds mu.
func (s *session) hangUp() {
	if s.isEnded() {
		return
	}
	_ = s.raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_WR) })
	_ = s.f.SetReadDeadline(time.Now().Add(linger))
	s.tellEnd()
}

// die ends the session at once. The caller holds mu.
func (s *session) die() {
	if s.dead {
		return
	}
	s.dead = true
	s.f.Close()
	s.wake.Broadcast()
	if !s.isEnded() {
		s.tellEnd()
	}
}

func (s *session) isEnded() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

func (s *session) tellEnd() {
	close(s.ended)
	s.p.k.sessionEnded(s.id, s.detached)
	go s.p.detach(s) // Not here: the caller may hold the process.
}
