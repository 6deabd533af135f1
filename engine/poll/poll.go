// Package poll waits for many descriptors in one goroutine: what waits costs its descriptor and a few bytes, not a stack.
package poll

import (
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Handler is told that something can be done with its descriptor. It must not wait, and is called with the lock held.
// It may be called for nothing.
type Handler interface {
	Ready(events uint32)
}

// Loop is what waits. Its lock is held while handlers run: who holds it stops everything between two events.
type Loop struct {
	sync.Mutex

	epoll    int
	handlers map[int32]entry
	last     int32
	// again are those who could have gone on, but let others have a turn.
	again []Handler
	// Buffer is for who holds the lock: as large as the largest datagram.
	Buffer []byte
}

// entry is a handler with its number: descriptors are used again, and an event may be late.
type entry struct {
	Handler
	number int32
}

// New is a loop with nothing to wait for.
func New() (*Loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	return &Loop{epoll: epoll, handlers: map[int32]entry{}, Buffer: make([]byte, 64<<10)}, nil
}

// Add waits for events of a descriptor, until it is given back with Close or Remove. The caller holds the lock.
func (l *Loop) Add(fd int, events uint32, h Handler) error {
	l.last++
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd), Pad: l.last}); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	l.handlers[int32(fd)] = entry{h, l.last}
	return nil
}

// Change waits for other events. The caller holds the lock.
func (l *Loop) Change(fd int, events uint32) {
	if e, ok := l.handlers[int32(fd)]; ok {
		_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_MOD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd), Pad: e.number})
	}
}

// Close waits no more for a descriptor, and closes it. The caller holds the lock.
func (l *Loop) Close(fd int) {
	if _, ok := l.handlers[int32(fd)]; ok {
		// The socket may live on in another process: closing it would not be enough.
		_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, fd, nil)
		delete(l.handlers, int32(fd))
	}
	unix.Close(fd)
}

// Again calls a handler once more, with no events, after others had their turn.
func (l *Loop) Again(h Handler) { l.again = append(l.again, h) }

// After calls f later, with the lock held. Stop the timer to have it not called; with the lock held it may then still be
// about to run, and has to look whether it is wanted.
func (l *Loop) After(d time.Duration, f func()) *time.Timer {
	return time.AfterFunc(d, func() {
		l.Lock()
		defer l.Unlock()
		f()
	})
}

// Run serves for ever. It has a thread of its own.
func (l *Loop) Run() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	events := make([]unix.EpollEvent, 256)
	timeout := -1
	for {
		n, err := unix.EpollWait(l.epoll, events, timeout)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("epoll: %w", err)
		}
		timeout = l.handle(events[:max(n, 0)])
	}
}

// handle serves one round, and says how long to wait for the next.
func (l *Loop) handle(events []unix.EpollEvent) (timeout int) {
	l.Lock()
	defer l.Unlock()
	again := l.again
	l.again = nil
	for _, e := range events {
		if h, ok := l.handlers[e.Fd]; ok && h.number == e.Pad {
			h.Ready(e.Events)
		}
	}
	for _, h := range again {
		h.Ready(0)
	}
	if len(l.again) > 0 {
		return 0
	}
	return -1
}
