package stdio

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// orphans is how long others may go on that have the process's output open: after all that itself wrote is copied.
	orphans = 100 * time.Millisecond
	// patience is how long a reader may take nothing, with the fifo full.
	patience = 750 * time.Millisecond
)

// Drain waits until the output is copied to its end: at most the limit, and not for a reader that takes nothing. It is
// for a process that has gone: what it wrote is in the pipes, and nothing of that is left behind while somebody reads.
func (o *IO) Drain(limit time.Duration) {
	o.Exited()
	o.mu.Lock()
	var watches []*watch
	if o.started {
		for _, s := range o.outputs {
			watches = append(watches, &watch{s: s, since: time.Now()})
		}
	}
	o.mu.Unlock()
	end := time.Now().Add(limit)
	step := time.Millisecond
	for {
		open := watches[:0]
		for _, w := range watches {
			if !w.settled(time.Now()) {
				open = append(open, w)
			}
		}
		left := time.Until(end)
		if watches = open; len(watches) == 0 || left <= 0 {
			return
		}
		select {
		case <-watches[0].s.done:
		case <-time.After(min(step, left)):
		}
		step = min(2*step, 10*time.Millisecond)
	}
}

// watch looks at one stream from outside.
type watch struct {
	s      *stream
	last   progress
	since  time.Time // last is so
	all    int64     // moved, when all is copied that was written before the exit; 0 while not known
	copied time.Time // since when it is, as far as we know
}

// progress is everything that changes while a stream or its reader does anything.
type progress struct {
	moved          int64
	source, target int // bytes in the pipe and in the fifo
}

// settled says whether waiting on would bring nothing.
func (w *watch) settled(now time.Time) bool {
	select {
	case <-w.s.done:
		return true
	default:
	}
	p, exact := w.s.progress()
	if p != w.last {
		w.last, w.since = p, now
	}
	if exact && w.all == 0 {
		w.all = p.moved + int64(p.source)
	}
	// What comes after the pipe was once empty is written by others, perhaps for ever.
	if exact && w.copied.IsZero() && (p.source == 0 || p.moved >= w.all) {
		w.copied = now
	}
	if !w.copied.IsZero() {
		return now.Sub(w.copied) >= orphans
	}
	return now.Sub(w.since) >= patience && w.s.isFull()
}

// progress is exact when nothing moved while it was read.
func (s *stream) progress() (p progress, exact bool) {
	idle, before := !s.inHand.Load(), s.moved.Load()
	p.source = waiting(s.src)
	idle = idle && !s.inHand.Load()
	p.moved = s.moved.Load()
	if s.toFifo {
		p.target = waiting(s.dst)
	}
	return p, idle && p.moved == before
}

// isFull says that the reader, and not we, is what is waited for.
func (s *stream) isFull() bool {
	if s.dst == nil {
		return false
	}
	full := false
	_ = control(s.dst, func(fd int) error { full = poll(fd, unix.POLLOUT) == 0; return nil })
	return full
}

// waiting is how many bytes a pipe or terminal holds; 0 once it is closed.
func waiting(f *os.File) (n int) {
	_ = control(f, func(fd int) error { n = queued(fd); return nil })
	return n
}

// queued is FIONREAD of ioctl_pipe(2), for either end of a pipe.
func queued(fd int) int {
	n, err := unix.IoctlGetInt(fd, unix.TIOCINQ) // its other name
	if err != nil {
		return 0
	}
	return n
}
