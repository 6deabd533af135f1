package libcontainer

import (
	"fmt"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/cgroup"
	"github.com/gantry-containers/gantry/libcontainer/state"
)

// PIDs lists the processes of a container by their numbers in the runtime's pid namespace:
// those in its cgroup, or of one without cgroups those in its pid namespace; where it shares
// that too, its first process is all that is known. A stopped container has none, unless it
// shares its pid namespace and left some behind.
func (r *Runtime) PIDs(id string) ([]int, error) {
	dir, st, err := r.load(id)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if len(st.CgroupPaths) > 0 {
		return cgroup.FromState(st.CgroupPaths).PIDs()
	}
	alive, err := st.Init.Alive()
	if err != nil || !alive {
		return nil, err
	}
	return namespaceMembers(st)
}

// namespaceMembers finds the processes in the pid namespace of a container's first process.
func namespaceMembers(st *state.State) ([]int, error) {
	pids := []int{st.Init.PID}
	own, err := pidNamespace(st.Init.PID)
	ours, ourErr := pidNamespace(unix.Getpid())
	if err != nil || ourErr != nil || own == ours || !st.PrivatePID {
		return pids, nil //nolint:nilerr // the first process is known all the same
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == st.Init.PID {
			continue
		}
		if ns, err := pidNamespace(pid); err == nil && ns == own {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

// pidNamespace is the inode of the namespace that the process is in, namespaces(7).
func pidNamespace(pid int) (uint64, error) {
	var st unix.Stat_t
	err := unix.Stat("/proc/"+strconv.Itoa(pid)+"/ns/pid", &st)
	return st.Ino, err
}

// signalMembers signals the processes in the container's pid namespace one by one: a
// container without a cgroup can't be stopped meanwhile, so one that just forks may escape.
func signalMembers(st *state.State, sig unix.Signal) error {
	pids, err := namespaceMembers(st)
	if err != nil {
		return err
	}
	own, err := pidNamespace(st.Init.PID)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotRunning, err)
	}
	for _, pid := range pids {
		pidfd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // it has ended
		}
		// Asked after the open: the number may be another process's by now.
		if ns, err := pidNamespace(pid); err == nil && ns == own {
			_ = unix.PidfdSendSignal(pidfd, sig, nil, 0)
		}
		_ = unix.Close(pidfd)
	}
	return nil
}
