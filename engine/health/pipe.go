package health

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// pipe is where the probes of one container write. It is kept from probe to probe, and open for writing here as well,
// so that its end never comes. Its content is bounded by the kernel.
type pipe struct {
	path string
	file *os.File
}

func openPipe(path string) (*pipe, error) {
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	return &pipe{path, f}, nil
}

func (p *pipe) close() {
	p.file.Close()
	os.Remove(p.path)
}

// output is what a probe wrote: the beginning, and "..." when there was more.
type output struct {
	text []byte
	cut  bool
}

func (o *output) add(b []byte) {
	n := min(len(b), maxOutput-len(o.text))
	o.text = append(o.text, b[:n]...)
	o.cut = o.cut || n < len(b)
}

func (o *output) String() string {
	if o.cut {
		return string(o.text) + "..."
	}
	return string(o.text)
}

// read collects what comes until the deadline that another goroutine may bring forward.
func (p *pipe) read(o *output) {
	var b [maxOutput]byte
	for {
		n, err := p.file.Read(b[:])
		o.add(b[:n])
		if err != nil {
			return
		}
	}
}

// rest collects what is there now.
func (p *pipe) rest(o *output) {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return
	}
	var b [maxOutput]byte
	// A writer that is left behind could go on for ever: the kernel's buffer is as much as there can be of before.
	for left := 64 << 10; left > 0; {
		n := 0
		// A deadline in the past would refuse: it does not matter now.
		_ = p.file.SetReadDeadline(time.Time{})
		err := raw.Read(func(fd uintptr) bool {
			n, err = unix.Read(int(fd), b[:]) //nolint:gosec // a descriptor
			return true
		})
		if err != nil || n <= 0 {
			return
		}
		o.add(b[:n])
		left -= n
	}
}
