package reap

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Exit is how a process ended.
type Exit struct {
	Status int // its exit code, or 128 and the signal's number
	At     time.Time
}

// lost is the status of a process that was nobody's to wait for: what containerd takes for "not known".
const lost = 255

// Process is a process by its pidfd. It need not be a child yet: one that a runtime leaves behind becomes a child of
// the subreaper.
type Process struct {
	Pid   int
	pidfd *os.File
}

// Open takes a living process, or a child's zombie, by its number.
func Open(pid int) (*Process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("pidfd of process %d: %w", pid, err)
	}
	watched.add(pid)
	return &Process{Pid: pid, pidfd: os.NewFile(uintptr(fd), "pidfd")}, nil
}

// Wait waits until the process has ended, and reaps it. It is called once; no thread waits with it.
func (p *Process) Wait() (Exit, error) {
	defer watched.remove(p.Pid)
	conn, err := p.pidfd.SyscallConn()
	if err != nil {
		return Exit{}, err
	}
	exit := Exit{Status: lost}
	var failure error
	err = conn.Read(func(fd uintptr) (done bool) {
		exit.Status, done, failure = p.poll(int(fd))
		return done
	})
	exit.At = time.Now()
	return exit, errors.Join(err, failure)
}

// poll asks whether the process has ended.
func (p *Process) poll(pidfd int) (status int, ended bool, err error) {
	var ws unix.WaitStatus
	for {
		pid, err := unix.Wait4(p.Pid, &ws, unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ECHILD: // its parent lives, and reaps it
			fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
			n, err := unix.Poll(fds, 0)
			return lost, n > 0 || err != nil, err
		case err != nil:
			return lost, true, fmt.Errorf("wait for process %d: %w", p.Pid, err)
		case pid == 0:
			return 0, false, nil
		case ws.Signaled():
			return 128 + int(ws.Signal()), true, nil
		default:
			return ws.ExitStatus(), true, nil
		}
	}
}

// Signal sends the process a signal; unix.ESRCH when it has ended.
func (p *Process) Signal(signal unix.Signal) error {
	conn, err := p.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var failure error
	if err := conn.Control(func(fd uintptr) { failure = unix.PidfdSendSignal(int(fd), signal, nil, 0) }); err != nil {
		return err
	}
	return failure
}

// Close gives the pidfd back, after Wait.
func (p *Process) Close() error { return p.pidfd.Close() }
