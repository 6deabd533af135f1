package stdio

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// page is what a pipe holds at least per slot. Less than that is copied, not spliced: a spliced piece takes a slot of
// the fifo for itself, so sixteen short lines would fill it, where written ones are put together (pipe(7)).
const page = 4096

// maxSplice is more than a pipe of the usual size holds.
const maxSplice = 1 << 20

var buffers = sync.Pool{New: func() any { return new([4 * page]byte) }}

// stream copies from src to dst to the end of src. A nil dst throws it away.
type stream struct {
	name                     string
	src, dst                 *os.File
	keep                     *os.File // the fifo's other end
	toFifo                   bool
	unread                   bool // there was no reader yet when toFifo was opened
	splices                  bool // src and dst are pipes
	fromTerminal, toTerminal bool

	exited atomic.Bool  // with fromTerminal: nobody will open the terminal again
	moved  atomic.Int64 // bytes
	inHand atomic.Bool  // something may be out of src that is not in moved
	done   chan struct{}
	err    error // once done
	closed chan struct{}
	once   sync.Once // closed

	// Of one try; fields, so that the closures are made once.
	srcFD int
	found state
	fail  error
	n     int
	buf   *[4 * page]byte
	out   syscall.RawConn
	onDst func(fd uintptr)
}

// state is what a try to move something found.
type state int

const (
	moved   state = iota // n bytes, or in buf
	empty                // src has nothing now
	full                 // dst takes nothing now
	ended                // src
	failing              // see fail
)

func newStream(name string) *stream {
	return &stream{name: name, done: make(chan struct{}), closed: make(chan struct{})}
}

// run copies and then closes the stream's files: a client sees the end of the output when the process has gone, not
// when it is deleted.
func (s *stream) run() {
	defer close(s.done)
	err := s.copy()
	if errors.Is(err, os.ErrClosed) || errors.Is(err, unix.EPIPE) {
		err = nil // our Close, or a process that reads no more
	}
	if s.err == nil {
		s.err = err
	}
	if s.toFifo {
		s.linger()
	}
	s.close()
}

// linger keeps a fifo for a reader that has not come yet, or will come back: the kernel forgets what is in a fifo that
// nobody has open. There is no event for an open(2), so it looks now and then.
func (s *stream) linger() {
	s.keep.Close()
	for pause := time.Millisecond; ; pause = min(2*pause, 250*time.Millisecond) {
		missed := false
		_ = control(s.dst, func(fd int) error {
			missed = poll(fd, unix.POLLOUT)&unix.POLLERR != 0 && (s.unread || queued(fd) > 0)
			return nil
		})
		if !missed {
			return
		}
		select {
		case <-s.closed:
			return
		case <-time.After(pause):
		}
	}
}

func (s *stream) close() {
	s.once.Do(func() { close(s.closed) })
	for _, f := range []*os.File{s.src, s.dst, s.keep} {
		if f != nil {
			f.Close()
		}
	}
}

// wait is for a stream that was closed; a write to a file whose disk does not answer is left behind.
func (s *stream) wait(limit time.Duration) error {
	select {
	case <-s.done:
	case <-time.After(limit):
		return fmt.Errorf("%s: still writing", s.name)
	}
	if s.err != nil {
		return fmt.Errorf("%s: %w", s.name, s.err)
	}
	return nil
}

func (s *stream) copy() error {
	in, err := s.src.SyscallConn()
	if err != nil {
		return err
	}
	if s.dst != nil {
		if s.out, err = s.dst.SyscallConn(); err != nil {
			return err
		}
	}
	s.onDst = func(fd uintptr) { s.found = s.try(s.srcFD, int(fd)) }
	onSrc := func(fd uintptr) bool { return s.tryFrom(int(fd)) != empty }
	writable := func(fd uintptr) bool { return poll(int(fd), unix.POLLOUT)&^unix.POLLNVAL != 0 }
	for {
		err := in.Read(onSrc)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded): // Exited wants another look
			err = s.src.SetReadDeadline(time.Time{})
		case err != nil:
			return os.ErrClosed // nothing else keeps a file from waiting
		case s.found == full:
			if s.out.Write(writable) != nil {
				return os.ErrClosed
			}
		case s.found == ended:
			return nil
		case s.found == failing:
			err = s.fail
		case s.buf != nil:
			err = s.write()
		default:
			s.moved.Add(int64(s.n))
			s.inHand.Store(false)
		}
		if err != nil {
			return err
		}
	}
}

// tryFrom is try with the descriptor of dst.
func (s *stream) tryFrom(src int) state {
	if s.out == nil {
		s.found = s.try(src, -1)
		return s.found
	}
	s.srcFD = src
	if s.out.Control(s.onDst) != nil {
		s.found, s.fail = failing, os.ErrClosed
	}
	return s.found
}

// try moves something if there is something and dst has room. It takes nothing from src before: what cannot go on
// stays in the pipe, where Drain can see it.
func (s *stream) try(src, dst int) state {
	at := [2]unix.PollFd{{Fd: int32(src), Events: unix.POLLIN}, {Fd: int32(dst), Events: unix.POLLOUT}}
	if _, err := unix.Poll(at[:], 0); err != nil && err != unix.EINTR {
		s.fail = os.NewSyscallError("poll", err)
		return failing
	}
	switch {
	case at[0].Revents == 0:
		return empty
	case at[0].Revents&unix.POLLIN == 0:
		if s.fromTerminal && !s.exited.Load() {
			return empty // nobody has it open
		}
		return ended
	case dst >= 0 && at[1].Revents == 0:
		return full
	}
	if s.splices && queued(src) >= page {
		return s.splice(src, dst)
	}
	return s.read(src)
}

func (s *stream) splice(src, dst int) state {
	s.inHand.Store(true)
	n, err := unix.Splice(src, nil, dst, nil, maxSplice, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		s.n = 0 // look again
	case err != nil:
		s.fail = os.NewSyscallError("splice", err)
		return failing
	default:
		s.n = int(n)
	}
	return moved
}

func (s *stream) read(src int) state {
	s.buf = buffers.Get().(*[4 * page]byte)
	b := s.buf[:]
	if s.splices {
		b = b[:page] // one free slot takes it
	}
	s.inHand.Store(true)
	n, err := unix.Read(src, b)
	if n > 0 {
		s.n = n
		return moved
	}
	s.drop()
	switch {
	case err == unix.EAGAIN || err == unix.EINTR || err == unix.EIO && s.fromTerminal && !s.exited.Load():
		return empty
	case err == nil || err == unix.EIO && s.fromTerminal:
		return ended
	}
	s.fail = os.NewSyscallError("read", err)
	return failing
}

// write puts what was read into dst. A file that cannot take it (a full disk) loses it, and the copying goes on: the
// process must not hang for its log.
func (s *stream) write() error {
	defer s.drop()
	if s.dst != nil {
		_, err := s.dst.Write(s.buf[:s.n])
		switch {
		case err == nil:
		case errors.Is(err, os.ErrClosed), errors.Is(err, unix.EPIPE):
			return err
		case s.toTerminal && errors.Is(err, unix.EIO): // nobody has it open
		case s.err == nil:
			s.err = err
		}
	}
	s.moved.Add(int64(s.n))
	return nil
}

func (s *stream) drop() {
	buffers.Put(s.buf)
	s.buf = nil
	s.inHand.Store(false)
}

func poll(fd int, events int16) int16 {
	p := [1]unix.PollFd{{Fd: int32(fd), Events: events}}
	for {
		if _, err := unix.Poll(p[:], 0); err != unix.EINTR {
			return p[0].Revents
		}
	}
}
