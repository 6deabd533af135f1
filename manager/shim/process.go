package shim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"
)

// process is that of a server, watched without a thread until it ends. There is one descriptor for all that is asked of
// it: each start of a process copies those of all servers.
type process struct {
	pid   int
	pidfd *os.File
	child bool            // of this process, which has to wait for it, whether anybody wants its server or not
	ended context.Context // done when it has ended, and has been waited for
}

// watch looks at a process that is not a child.
func watch(pid int) (*process, error) { return newProcess(pid, false) }

// adopt watches a child. One that cannot be watched is killed.
func adopt(pid int) (*process, error) {
	p, err := newProcess(pid, true)
	if err != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
		_, waitErr := unix.Wait4(pid, nil, 0, nil)
		return nil, errors.Join(err, waitErr)
	}
	return p, nil
}

func newProcess(pid int, child bool) (*process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	ended, end := context.WithCancel(context.Background())
	p := &process{pid, os.NewFile(uintptr(fd), "pidfd"), child, ended}
	go func() {
		if !p.wait() {
			return
		}
		if child {
			p.reap()
		}
		end() // before it is closed: who cannot use it sees why
		p.pidfd.Close()
	}()
	return p, nil
}

// wait waits for its end, or for leave, and tells which.
func (p *process) wait() bool {
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n > 0 && err == nil
	})
	return err == nil
}

func (p *process) reap() {
	if _, err := unix.Wait4(p.pid, nil, 0, nil); err != nil {
		slog.Warn("wait for a shim", "pid", p.pid, "error", err)
	}
}

// leave looks no longer, but at a child.
func (p *process) leave() {
	if !p.child {
		p.pidfd.Close()
	}
}

func (p *process) gone() bool { return p.ended.Err() != nil }

// kill sends it SIGKILL; one that has ended is no error.
func (p *process) kill() error {
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0) })
	switch err := errors.Join(err, failed); {
	case err == nil, errors.Is(err, unix.ESRCH), p.gone():
		return nil
	default:
		return fmt.Errorf("kill the shim, process %d: %w", p.pid, err)
	}
}

// end kills it and waits for that.
func (p *process) end() error {
	if err := p.kill(); err != nil {
		return err
	}
	<-p.ended.Done()
	return nil
}
