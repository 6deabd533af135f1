package keeper

import (
	"errors"
	"log/slog"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/logs"
)

// pump reads one stream of a process's output.
type pump struct {
	p     *process
	f     *os.File
	raw   syscall.RawConn
	lines lines
	// frame is the stream's number in stdcopy's frames: 1 is stdout, 2 is stderr.
	frame byte
	// ended is closed when nothing more comes.
	ended chan struct{}
}

// openPump makes a FIFO when it is missing and opens it for reading, which needs no writer.
func openPump(p *process, path string, frame byte) (*pump, error) {
	if err := makeFIFO(path); err != nil {
		return nil, err
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return newPump(p, fd, frame)
}

func newPump(p *process, fd int, frame byte) (*pump, error) {
	f := os.NewFile(uintptr(fd), "output")
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	source := "stdout"
	if frame == 2 {
		source = "stderr"
	}
	return &pump{p: p, f: f, raw: raw, lines: lines{source: source}, frame: frame, ended: make(chan struct{})}, nil
}

func makeFIFO(path string) error {
	err := unix.Mkfifo(path, 0o600)
	if err == unix.EEXIST {
		info, e := os.Lstat(path)
		if e == nil && info.Mode().Type() == os.ModeNamedPipe {
			return nil
		}
	}
	if err != nil {
		return &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	return nil
}

// run reads until the end, or until the keeper is handed over: then all that was read has been delivered, and the rest
// is in the FIFO and in lines.
func (u *pump) run() {
	for {
		buf, n, err := u.read()
		switch {
		case n > 0:
			u.p.deliver(u, (*buf)[:n])
			buffers.Put(buf)
			continue
		case errors.Is(err, os.ErrDeadlineExceeded):
			if u.p.k.pausing.Load() {
				return
			}
			// Woken to look again: whether a writer is left, since the process has ended.
			_ = u.f.SetReadDeadline(time.Time{})
			continue
		case err != nil && !u.p.over.Load():
			slog.Error("output cannot be read", "process", u.p.key.String(), "error", err)
		}
		u.p.log.write(u.lines.end(nil))
		close(u.ended)
		return
	}
}

// read waits for output. No bytes and no error are the end: there was a writer, or the process has ended. As long as
// neither is so, nobody has opened the other end yet.
func (u *pump) read() (*[]byte, int, error) {
	return borrowRead(u.raw, func(fd int) bool { return u.p.over.Load() || polled(fd, unix.POLLHUP) })
}

// kick wakes who waits for the stream, to see what has changed.
func (u *pump) kick() { _ = u.f.SetReadDeadline(past) }

// entries cuts what was read into entries of the log.
func (u *pump) entries(data []byte) []logs.Entry { return u.lines.cut(nil, data) }
