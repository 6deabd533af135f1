package keeper

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// run listens to the client until it has gone: before the process is opened, and when its input has ended, for the
// hang-up only; between, for input.
func (s *session) run() {
	for {
		var err error
		switch s.mode() {
		case hearing:
			err = s.hear()
		case watching:
			err = s.watch()
		case lingering:
			err = s.discard()
		}
		s.mu.Lock()
		if s.p.k.pausing.Load() && !s.dead && !s.isEnded() {
			s.mu.Unlock()
			return
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && !s.finishing {
			_ = s.f.SetReadDeadline(time.Time{}) // Woken to look at the mode again.
			err = nil
		}
		if err != nil {
			s.die()
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
	}
}

type mode int

const (
	watching mode = iota
	hearing
	lingering
)

func (s *session) mode() mode {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.isEnded():
		return lingering
	case s.of == nil || s.noInput || s.finishing:
		return watching
	}
	return hearing
}

var errGone = errors.New("the client has gone")

// watch waits until the client has hung up. That it sends nothing more is not that.
func (s *session) watch() error {
	err := s.raw.Read(func(fd uintptr) bool { return polled(int(fd), unix.POLLHUP|unix.POLLERR) })
	if err == nil {
		err = errGone
	}
	return err
}

// discard reads what nobody wants, until the client hangs up.
func (s *session) discard() error {
	buf, n, err := borrowRead(s.raw, always)
	if buf != nil {
		buffers.Put(buf)
	}
	if n == 0 && err == nil {
		return errGone
	}
	return err
}

func always(int) bool { return true }

// hear reads input and gives it to the process.
func (s *session) hear() error {
	if len(s.filtered) > 0 {
		b := s.filtered
		s.filtered = nil
		return s.push(b)
	}
	if len(s.unread) > 0 {
		early := s.unread
		s.unread = nil
		return s.give(early)
	}
	buf, n, err := borrowRead(s.raw, always)
	switch {
	case n > 0:
		defer buffers.Put(buf)
		return s.give((*buf)[:n])
	case errors.Is(err, os.ErrDeadlineExceeded):
		return err
	}
	// The end of input, or of the client.
	s.endInput()
	return nil
}

// endInput is what the end of a client's input means: the end of the process's input when this is the client for it,
// the end of the session otherwise.
func (s *session) endInput() {
	s.mu.Lock()
	s.noInput = true
	in, of := s.in, s.of
	s.mu.Unlock()
	if of.StdinOnce && !of.Terminal {
		in.end()
		return
	}
	s.finish(false)
}

// give hands input over. What the process did not take before the keeper pauses is kept in filtered.
func (s *session) give(b []byte) error {
	b, detached := s.keys.filter(b)
	if err := s.push(b); err != nil {
		return err
	}
	if detached {
		s.mu.Lock()
		s.noInput = true
		s.mu.Unlock()
		s.finish(true)
	}
	return nil
}

func (s *session) push(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	n, err := s.in.write(b)
	if errors.Is(err, errPaused) {
		s.filtered = append([]byte(nil), b[n:]...)
		return nil
	}
	if err != nil {
		// The process reads no more. The client may still want output.
		s.mu.Lock()
		s.noInput = true
		s.mu.Unlock()
	}
	return nil
}
