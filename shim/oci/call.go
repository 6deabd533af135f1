package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// call is one command of the runtime.
type call struct {
	verb   string
	args   []string // the flags, before the id
	id     string
	after  []string // after the id
	stdio  *Stdio   // the container's, where the command starts one of its processes
	input  []byte   // for stdin
	output bool     // stdout is wanted
	stdout []byte
}

// maxOutput is as much of the runtime's output as is read, in bytes; a features document has some 10 KiB.
const maxOutput = 4 << 20

// run runs the command to its end.
func (r *Runtime) run(ctx context.Context, c *call) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s %s: %w", r.Binary, c.verb, err)
	}
	path, err := exec.LookPath(r.Binary)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoRuntime, err)
	}
	files, err := c.open()
	if err != nil {
		return fmt.Errorf("stdio of %s %s: %w", r.Binary, c.verb, err)
	}
	defer files.close()
	log := r.callLog()
	defer removeLog(log)
	began := time.Now()
	status, err := process(ctx, r.Dir, path, r.argv(c, log), files.stdio)
	switch {
	case errors.Is(err, ErrNoAnswer):
		return fmt.Errorf("%w: %s %s was killed after %v: %w", ErrNoAnswer, r.Binary, c.verb,
			time.Since(began).Round(time.Millisecond), context.Cause(ctx))
	case err != nil:
		return fmt.Errorf("%s %s: %w", r.Binary, c.verb, err)
	case !status.Exited() || status.ExitStatus() != 0:
		return r.failure(c, log, files.readErr(), status)
	}
	if c.output {
		c.stdout, err = readAll(files.out)
	}
	return err
}

func (r *Runtime) argv(c *call, log string) []string {
	argv := make([]string, 0, 16+len(c.args))
	argv = append(argv, r.Binary)
	argv = value(argv, "--root", r.Root)
	if log != "" {
		argv = append(argv, "--log", log, "--log-format", "json")
	}
	argv = flag(argv, "--systemd-cgroup", r.SystemdCgroup)
	argv = append(argv, c.verb)
	argv = append(argv, c.args...)
	if c.id != "" {
		argv = append(argv, c.id)
	}
	return append(argv, c.after...)
}

var calls atomic.Uint64

// callLog is the name of a log for one call: calls that run at the same time must not read each other's errors.
func (r *Runtime) callLog() string {
	if r.Log == "" {
		return ""
	}
	return fmt.Sprintf("%s.%d.%d", r.Log, os.Getpid(), calls.Add(1))
}

func removeLog(log string) {
	if log != "" {
		_ = unix.Unlink(log) // it is not there where the runtime did not come as far, or failed
	}
}

// streams are the files of one call. What the runtime prints goes to memory, not into pipes: nobody has to read while
// it runs, and a process that keeps them open holds nobody up.
type streams struct {
	stdio  [3]*os.File
	out    *os.File // what it printed, if it is wanted
	err    *os.File // what it complained, if that is not the container's
	closer []*os.File
}

func (c *call) open() (_ *streams, err error) {
	s := &streams{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if c.stdio != nil {
		s.stdio = [3]*os.File{c.stdio.In, c.stdio.Out, c.stdio.Err}
	} else {
		if s.err, err = s.memory("oci-stderr", nil); err != nil {
			return nil, err
		}
		s.stdio[1], s.stdio[2] = s.err, s.err
	}
	if c.output {
		if s.out, err = s.memory("oci-stdout", nil); err != nil {
			return nil, err
		}
		s.stdio[1] = s.out
	}
	if c.input != nil {
		if s.stdio[0], err = s.memory("oci-stdin", c.input); err != nil {
			return nil, err
		}
	}
	var null *os.File
	for i, f := range s.stdio {
		if f != nil {
			continue
		}
		if null == nil {
			if null, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
				return nil, err
			}
			s.closer = append(s.closer, null)
		}
		s.stdio[i] = null
	}
	return s, nil
}

// memory makes a file in memory (memfd_create(2)) that holds the content.
func (s *streams) memory(name string, content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	s.closer = append(s.closer, f)
	if len(content) == 0 {
		return f, nil
	}
	if _, err := f.Write(content); err != nil {
		return nil, err
	}
	_, err = f.Seek(0, io.SeekStart)
	return f, err
}

func (s *streams) readErr() string {
	if s.err == nil {
		return ""
	}
	b, err := readAll(s.err)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (s *streams) close() {
	for _, f := range s.closer {
		_ = f.Close()
	}
}

func readAll(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, min(info.Size(), maxOutput))
	_, err = f.ReadAt(b, 0)
	return b, err
}
