package libcontainer

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/cgroup"
	"github.com/gantry-containers/gantry/libcontainer/state"
)

// Kill sends sig to the first process of a container, or to every process of its cgroup:
// when all is set, and for SIGKILL when the kernel would not end the others with the
// first, because the container has no pid namespace of its own. SIGKILL reaches a paused
// container too. The error is ErrNotRunning when there is nobody to signal.
func (r *Runtime) Kill(id string, sig unix.Signal, all bool) error {
	dir, st, err := r.load(id)
	if err != nil {
		return err
	}
	defer dir.Close()
	cgroups := cgroup.FromState(st.CgroupPaths)
	if all || sig == unix.SIGKILL && !st.PrivatePID {
		// The first process may have ended before the others.
		pids, err := cgroups.PIDs()
		if err != nil {
			return err
		}
		if len(pids) > 0 {
			return cgroups.Kill(sig)
		}
	}
	if all && len(st.CgroupPaths) == 0 && st.PrivatePID && sig != unix.SIGKILL {
		return signalMembers(st, sig)
	}
	if err := signalInit(st.Init, sig); err != nil {
		return err
	}
	if sig == unix.SIGKILL {
		return thaw(cgroups)
	}
	return nil
}

// signalInit sends sig to the very process, never to another that got its pid.
func signalInit(init state.Process, sig unix.Signal) error {
	pidfd, err := openInit(init)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	switch err := unix.PidfdSendSignal(pidfd, sig, nil, 0); err {
	case nil:
		return nil
	case unix.ESRCH:
		return ErrNotRunning
	default:
		return fmt.Errorf("signal process %d: %w", init.PID, err)
	}
}

// openInit returns a pidfd of the very process, or ErrNotRunning when it ended.
func openInit(init state.Process) (int, error) {
	if init.PID <= 0 {
		return -1, ErrNotRunning
	}
	pidfd, err := unix.PidfdOpen(init.PID, 0)
	switch err {
	case nil:
	case unix.ESRCH, unix.EINVAL, unix.ENOENT: // EINVAL, ENOENT: the number is a mere thread's now
		return -1, ErrNotRunning
	default:
		return -1, fmt.Errorf("pidfd of process %d: %w", init.PID, err)
	}
	// Asked after the open: a process that still is the recorded one had the number all
	// the time, so the descriptor is its.
	alive, err := init.Alive()
	if err == nil && !alive {
		err = ErrNotRunning
	}
	if err != nil {
		unix.Close(pidfd)
		return -1, err
	}
	return pidfd, nil
}

// thaw lets a signal through that a frozen cgroup holds back.
func thaw(cgroups *cgroup.Set) error {
	frozen, err := cgroups.State()
	if err != nil || !frozen {
		return err
	}
	return cgroups.Thaw()
}
