package keeper

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// errPaused says that the keeper is being handed over: what was not written is written by the next one.
var errPaused = errors.New("the keeper is handed over")

// input is the way to a process's standard input.
type input struct {
	p    *process
	path string
	// writing is held by one client at a time.
	writing sync.Mutex
	// stop is closed when nothing more can be written.
	stop chan struct{}

	mu sync.Mutex
	// f is nil until the other end was opened.
	f *os.File
	// ending says that no more input comes, gone that the FIFO is closed.
	ending, gone bool
}

func newInput(p *process, path string) *input {
	return &input{p: p, path: path, stop: make(chan struct{})}
}

// open waits until there is somebody to read: the FIFO of a process that is not created yet has nobody who would keep
// what is written into it. The kernel tells by an error only, so it is asked again.
func (in *input) open() (*os.File, error) {
	for wait := 2 * time.Millisecond; ; wait = min(wait*3/2, 100*time.Millisecond) {
		in.mu.Lock()
		f, gone := in.f, in.gone
		in.mu.Unlock()
		if gone {
			return nil, fs.ErrClosed
		}
		if f != nil {
			return f, nil
		}
		fd, err := unix.Open(in.path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err == nil {
			in.mu.Lock()
			in.f = os.NewFile(uintptr(fd), "input")
			in.mu.Unlock()
			continue
		}
		if err != unix.ENXIO && err != unix.EINTR {
			return nil, &os.PathError{Op: "open", Path: in.path, Err: err}
		}
		select {
		case <-time.After(wait):
		case <-in.stop:
			return nil, fs.ErrClosed
		case <-in.p.k.pause:
			return nil, errPaused
		}
	}
}

// write gives bytes to the process, and says how many of them it took.
func (in *input) write(b []byte) (int, error) {
	in.writing.Lock()
	defer in.writing.Unlock()
	if in.isEnding() {
		return 0, fs.ErrClosed
	}
	f, err := in.open()
	if err != nil {
		return 0, err
	}
	n, err := f.Write(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errPaused
	}
	return n, err
}

func (in *input) isEnding() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.ending
}

// end says that no more input comes. The process learns it by the manager, who holds the FIFO as well.
func (in *input) end() {
	in.mu.Lock()
	again := in.ending
	in.ending = true
	in.mu.Unlock()
	if !again {
		in.p.k.running.Go(in.finish)
	}
}

// resume goes on with what the keeper before had begun.
func (in *input) resume() {
	in.mu.Lock()
	if in.f != nil {
		_ = in.f.SetWriteDeadline(time.Time{})
	}
	in.mu.Unlock()
	if in.isEnding() && !in.closed() {
		in.p.k.running.Go(in.finish)
	}
}

func (in *input) closed() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.gone
}

// finish closes the FIFO behind the last byte, and tells. It waits for a reader first: before, there is nobody who
// could be told by the manager.
func (in *input) finish() {
	in.writing.Lock()
	defer in.writing.Unlock()
	if _, err := in.open(); err != nil {
		return
	}
	in.shut()
	in.p.k.notify(Notice{Key: in.p.key, StdinClosed: true})
}

func (in *input) shut() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.f != nil {
		in.f.Close()
	}
	in.f, in.gone = nil, true
}

// abort ends writing: the process has ended.
func (in *input) abort() {
	close(in.stop)
	in.shut()
}

// kick wakes who writes, when the keeper is handed over.
func (in *input) kick() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.f != nil {
		_ = in.f.SetWriteDeadline(past)
	}
}
