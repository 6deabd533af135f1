package libcontainer

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/internal/poller"
	"github.com/gantry-containers/gantry/libcontainer/launch"
	"github.com/gantry-containers/gantry/libcontainer/sigcatch"
)

// relay stands between a process in the foreground and the runtime's caller: signals,
// the terminal, and orphans of the container.
type relay struct {
	signals   *sigcatch.Catcher
	subreaper bool
}

// newRelay is called before the launch: a signal that arrives during it is passed on by
// wait. With subreaper, processes that the container leaves behind become our children.
func newRelay(subreaper bool) (*relay, error) {
	r := &relay{subreaper: subreaper}
	if subreaper {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return nil, fmt.Errorf("become a subreaper: %w", err)
		}
	}
	err := poller.Open()
	if err == nil {
		r.signals, err = sigcatch.Start()
	}
	if err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

// wait passes on signals and terminal until the process has ended, and returns its exit
// status. As a subreaper it takes the status of every child that ends meanwhile. On error
// the process is killed.
func (r *relay) wait(p *launch.Process, t *terminal) (int, error) {
	if t != nil {
		if err := t.show(); err != nil {
			p.Kill()
			return 0, err
		}
		defer t.screen.close()
	}
	ws, err := r.serve(p, t)
	if err != nil {
		p.Kill()
		return 0, err
	}
	return exitStatus(ws), nil
}

func (r *relay) serve(p *launch.Process, t *terminal) (unix.WaitStatus, error) {
	if err := r.signals.Add(unix.SIGCHLD); err != nil {
		return 0, err
	}
	for {
		if ws, ended, err := r.reap(p.PID); ended || err != nil {
			return ws, err
		}
		var signals [64]byte
		n, err := r.signals.Read(signals[:])
		if err != nil {
			return 0, fmt.Errorf("read signals: %w", err)
		}
		for _, sig := range signals[:n] {
			pass(unix.Signal(sig), p, t)
		}
	}
}

// reap takes the status of the children that ended and reports whether the process was
// among them.
func (r *relay) reap(process int) (unix.WaitStatus, bool, error) {
	which := process
	if r.subreaper {
		which = -1
	}
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(which, &ws, unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, false, fmt.Errorf("wait4: %w", err)
		case pid == 0:
			return 0, false, nil
		case pid == process:
			return ws, true, nil
		}
	}
}

// pass does what a signal to the runtime means. One that comes too late is lost, as it
// would be had it been sent to the process.
func pass(sig unix.Signal, p *launch.Process, t *terminal) {
	switch {
	case sig == unix.SIGCHLD: // reap looks after every signal
	case sig != unix.SIGWINCH:
		_ = unix.PidfdSendSignal(p.PIDFD, sig, nil, 0)
	case t != nil:
		t.screen.resize()
	}
}

// stop makes signals and orphans what they were. It may be called on nil.
func (r *relay) stop() {
	if r == nil {
		return
	}
	if r.signals != nil {
		r.signals.Stop()
	}
	if r.subreaper {
		_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	}
}
