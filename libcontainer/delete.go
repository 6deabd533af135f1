package libcontainer

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/cgroup"
	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/libcontainer/resctrl"
	"github.com/gantry-containers/gantry/libcontainer/state"
)

const (
	// lockWait is how long Delete waits for another command to finish with the container.
	lockWait = 10 * time.Second
	// killWait is how long it waits for a killed container to be gone, as long as runc does.
	killWait = 10 * time.Second
)

// Delete removes a stopped container, or one that is created but not started, with its
// cgroups, and runs its poststop hooks. With force it kills a running one first, removes
// also what it can't read, and an unknown container is no error. Without, ErrNotExist is
// the answer, but the remains of a creation or deletion that was killed are removed.
func (r *Runtime) Delete(id string, force bool) error {
	dir, err := state.Open(r.Root, id)
	if err == nil {
		defer dir.Close()
		err = r.deleteDir(dir, id, force)
	}
	if errors.Is(err, state.ErrNotExist) {
		if force {
			return nil
		}
		return ErrNotExist
	}
	return err
}

func (r *Runtime) deleteDir(dir *state.Dir, id string, force bool) error {
	if force {
		// Before the lock: a start or create that hangs in a hook holds that.
		if st, err := dir.Load(); err == nil {
			if err := killAndWait(st); err != nil {
				return err
			}
		}
	}
	if err := dir.Lock(lockWait); err != nil {
		return err
	}
	st, err := dir.Load()
	var damaged *state.DamagedError
	switch {
	case err == nil:
		return r.deleteLocked(dir, st, force)
	case errors.Is(err, state.ErrIncomplete):
		// Its maker was killed before it made anything else.
		if err := os.RemoveAll(dir.Path()); err != nil {
			return err
		}
		return state.ErrNotExist
	case force && errors.As(err, &damaged) && !errors.Is(err, state.ErrNewer):
		return r.salvage(dir, id)
	}
	return err
}

func (r *Runtime) deleteLocked(dir *state.Dir, st *state.State, force bool) error {
	status, err := statusOf(st)
	if err != nil {
		return err
	}
	if status != Stopped {
		if status != Created && !force {
			return fault.ContainerRunning.Errorf("cannot delete container %s that is not stopped: %s", st.ID, status)
		}
		if err := killAndWait(st); err != nil {
			return err
		}
	}
	return r.destroy(dir, st)
}

// destroy removes everything that a container without its first process still has. The
// caller holds the lock.
func (r *Runtime) destroy(dir *state.Dir, st *state.State) error {
	remove := func(set *cgroup.Set) error { return r.removeCgroups(set, scopeOf(st), !st.PrivatePID) }
	if st.Init.PID == 0 {
		remove = func(set *cgroup.Set) error { return r.removeAbandoned(set, scopeOf(st)) }
	}
	if err := remove(cgroup.FromState(st.CgroupPaths)); err != nil {
		return err
	}
	if err := resctrl.Remove(&st.IntelRdt); err != nil {
		return err
	}
	// The hooks are due once the container is deleted, when its copy of config.json is gone.
	config, err := dir.Config()
	if err != nil && !errors.Is(err, state.ErrIncomplete) {
		r.warn("poststop hooks: " + err.Error())
	}
	if err := dir.Remove(); err != nil {
		return err
	}
	if config != nil {
		r.poststop(config, st)
	}
	return nil
}

// removeAbandoned removes the cgroups of a creation that was killed before it recorded a
// process. It kills nobody: its own process ends when the runtime does, and others may be
// there first, for the creation refuses a cgroup in use only after it recorded its name.
func (r *Runtime) removeAbandoned(cgroups *cgroup.Set, unit *scope) error {
	if unit != nil {
		r.stopAbandoned(unit)
	}
	err := cgroups.Remove()
	if errors.Is(err, unix.EBUSY) {
		r.warn("cgroups in use stay: " + err.Error())
		return nil
	}
	return err
}

// removeCgroups removes the cgroups, after the processes that the end of the first one
// did not end.
func (r *Runtime) removeCgroups(cgroups *cgroup.Set, unit *scope, mayHaveProcesses bool) error {
	// systemd would wait long for a process that ignores its SIGTERM.
	if mayHaveProcesses || unit != nil {
		if err := cgroups.Kill(unix.SIGKILL); err != nil {
			return err
		}
	}
	if unit != nil {
		r.stopScope(unit, cgroups)
	}
	err := cgroups.Remove()
	if errors.Is(err, unix.EBUSY) && !mayHaveProcesses {
		// Somebody else put a process there: it belongs to the container now.
		return r.removeCgroups(cgroups, unit, true)
	}
	return err
}

// killAndWait ends the container's first process, and with it all others of its pid
// namespace. The error is ErrStillRuns when it does not die in time.
func killAndWait(st *state.State) error {
	pidfd, err := openInit(st.Init)
	if errors.Is(err, ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	if err := unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0); err != nil && err != unix.ESRCH {
		return fmt.Errorf("kill process %d: %w", st.Init.PID, err)
	}
	cgroups := cgroup.FromState(st.CgroupPaths)
	// Asked again in between: someone may pause it just now.
	const interval = 100 * time.Millisecond
	for waited := time.Duration(0); waited < killWait; waited += interval {
		if err := thaw(cgroups); err != nil {
			return err
		}
		ended, err := waitReadable(pidfd, interval)
		if ended || err != nil {
			return err
		}
	}
	return ErrStillRuns
}

// waitReadable waits for the end of a pidfd's process, pidfd_open(2).
func waitReadable(fd int, timeout time.Duration) (bool, error) {
	poll := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(poll[:], int(timeout.Milliseconds()))
	if err == unix.EINTR {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("poll: %w", err)
	}
	return n > 0, nil
}
