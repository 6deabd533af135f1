package stdio

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// target is a parsed Stdout or Stderr. Its scheme is empty for a plain path.
type target struct {
	scheme, path, query string
}

// parse takes everything that has no :// for a path, so a path may contain any character.
func parse(s string) (target, error) {
	if !strings.Contains(s, "://") {
		return target{path: s}, nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return target{}, err
	}
	switch u.Scheme {
	case "file", "binary", "binary-v2":
	default:
		return target{}, fmt.Errorf("%s: unknown scheme %q", s, u.Scheme)
	}
	if u.Host != "" || !filepath.IsAbs(u.Path) {
		return target{}, fmt.Errorf("%s: no absolute path follows %s://", s, u.Scheme)
	}
	return target{u.Scheme, u.Path, u.RawQuery}, nil
}

func (t target) isLogger() bool { return strings.HasPrefix(t.scheme, "binary") }

// openInput opens both ends of the fifo: ours for writing is what keeps the input open when a client goes away.
func (o *IO) openInput(spec Spec) error {
	if spec.Stdin == "" {
		return nil
	}
	s := newStream("stdin")
	o.stdin = s
	var err error
	if s.src, err = os.OpenFile(spec.Stdin, os.O_RDONLY|unix.O_NONBLOCK, 0); err != nil {
		return fmt.Errorf("stdin: %w", err)
	}
	fifo, err := isFifo(s.src)
	if err == nil && fifo {
		s.keep, err = openKeep(spec.Stdin, os.O_WRONLY)
	}
	if err != nil {
		return fmt.Errorf("stdin: %w", err)
	}
	if spec.Terminal {
		return nil
	}
	s.splices = fifo
	if o.proc[0], s.dst, err = pipeTo(spec); err != nil {
		return fmt.Errorf("stdin: %w", err)
	}
	return nil
}

// openOutputs: a logger named for stdout takes stderr, too; so does a file if stderr has no other.
func (o *IO) openOutputs(ctx context.Context, spec Spec, dir string) error {
	out, err := parse(spec.Stdout)
	if err != nil {
		return fmt.Errorf("stdout: %w", err)
	}
	if out.isLogger() {
		return o.openLogger(ctx, spec, out, dir)
	}
	if spec.Terminal {
		return o.openTerminalOutput(out)
	}
	errs, err := parse(spec.Stderr)
	if err == nil && errs.isLogger() {
		err = fmt.Errorf("%s: a logger is named in stdout, and takes both", spec.Stderr)
	}
	if err != nil {
		return fmt.Errorf("stderr: %w", err)
	}
	if out.path != "" {
		if o.proc[1], err = o.openOutput("stdout", spec, out); err != nil {
			return err
		}
	}
	switch {
	case errs == out || errs.path == "" && out.scheme == "file":
		o.proc[2] = o.proc[1] // one pipe keeps the order of what is written to the two
	case errs.path != "":
		o.proc[2], err = o.openOutput("stderr", spec, errs)
	}
	return err
}

// openOutput returns the process's end of the pipe.
func (o *IO) openOutput(name string, spec Spec, t target) (*os.File, error) {
	s := newStream(name)
	o.outputs = append(o.outputs, s)
	err := s.openTarget(t)
	var end *os.File
	if err == nil {
		s.src, end, err = pipeFrom(spec)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	s.splices = s.toFifo
	return end, nil
}

// openTerminalOutput always makes a stream: without a target, what the terminal shows is read and thrown away.
func (o *IO) openTerminalOutput(t target) error {
	s := newStream("stdout")
	o.outputs = append(o.outputs, s)
	if t.path == "" {
		return nil
	}
	if err := s.openTarget(t); err != nil {
		return fmt.Errorf("stdout: %w", err)
	}
	return nil
}

// openLogger gives the logger the read ends of the pipes themselves.
func (o *IO) openLogger(ctx context.Context, spec Spec, t target, dir string) error {
	outR, outW, err := pipe(spec)
	if err != nil {
		return fmt.Errorf("stdout: %w", err)
	}
	defer outR.Close()
	o.proc[1] = outW
	errR, errW, err := pipe(spec)
	if err != nil {
		return fmt.Errorf("stderr: %w", err)
	}
	defer errR.Close()
	o.proc[2] = errW
	if spec.Terminal {
		s := newStream("stdout")
		o.outputs = append(o.outputs, s)
		o.proc[1], o.proc[2], o.spare = nil, nil, errW
		if s.dst, err = nonblocking(outW); err != nil {
			return fmt.Errorf("stdout: %w", err)
		}
	}
	if o.logger, err = startLogger(ctx, t, spec, dir, [2]*os.File{outR, errR}); err != nil {
		return fmt.Errorf("stdout: %w", err)
	}
	return nil
}

// openTarget opens a fifo at both ends, so that the pipe does not break when the reader goes, and goes on when one
// comes back; anything else it opens to append.
func (s *stream) openTarget(t target) (err error) {
	if t.scheme == "file" {
		if err = os.MkdirAll(filepath.Dir(t.path), 0o755); err != nil {
			return err
		}
		s.dst, err = os.OpenFile(t.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
		return err
	}
	info, err := os.Stat(t.path)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeNamedPipe == 0 {
		s.dst, err = os.OpenFile(t.path, os.O_WRONLY|os.O_APPEND|unix.O_NONBLOCK, 0)
		return err
	}
	s.toFifo = true
	if s.dst, err = os.OpenFile(t.path, os.O_WRONLY|unix.O_NONBLOCK, 0); errors.Is(err, unix.ENXIO) {
		s.unread = true // a client whose open(2) is on its way
	} else if err != nil {
		return err
	}
	if s.keep, err = openKeep(t.path, os.O_RDONLY); err != nil || !s.unread {
		return err
	}
	s.dst, err = os.OpenFile(t.path, os.O_WRONLY|unix.O_NONBLOCK, 0)
	return err
}

// openKeep opens the end of a fifo that nobody uses. It is blocking, so Go's poller is not woken for it.
func openKeep(path string, flag int) (*os.File, error) {
	fd, err := unix.Open(path, flag|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	_ = unix.SetNonblock(fd, false)
	return os.NewFile(uintptr(fd), path), nil
}

func isFifo(f *os.File) (bool, error) {
	info, err := f.Stat()
	return err == nil && info.Mode()&fs.ModeNamedPipe != 0, err
}

// pipeTo makes a pipe to the process; our end is non-blocking, the process's is not.
func pipeTo(spec Spec) (theirs, ours *os.File, err error) {
	r, w, err := pipe(spec)
	if err != nil {
		return nil, nil, err
	}
	if ours, err = nonblocking(w); err != nil {
		r.Close()
		return nil, nil, err
	}
	return r, ours, nil
}

// pipeFrom makes a pipe from the process.
func pipeFrom(spec Spec) (ours, theirs *os.File, err error) {
	r, w, err := pipe(spec)
	if err != nil {
		return nil, nil, err
	}
	if ours, err = nonblocking(r); err != nil {
		w.Close()
		return nil, nil, err
	}
	return ours, w, nil
}

// pipe makes a pipe of two blocking ends that the spec's user owns.
func pipe(spec Spec) (r, w *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, os.NewSyscallError("pipe2", err)
	}
	r, w = os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe")
	if spec.UID == 0 && spec.GID == 0 {
		return r, w, nil
	}
	if err := unix.Fchown(fds[0], spec.UID, spec.GID); err != nil {
		r.Close()
		w.Close()
		return nil, nil, fmt.Errorf("chown pipe to %d:%d: %w", spec.UID, spec.GID, err)
	}
	return r, w, nil
}

// nonblocking replaces a file by one that waits in Go's poller.
func nonblocking(f *os.File) (*os.File, error) {
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// control runs a call on a file's descriptor, which stays open for it.
func control(f *os.File, call func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var callErr error
	if err := c.Control(func(fd uintptr) { callErr = call(int(fd)) }); err != nil {
		return err
	}
	return callErr
}
