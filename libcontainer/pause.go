package libcontainer

import (
	"errors"

	"github.com/gantry-containers/gantry/libcontainer/cgroup"
)

// ErrNotPaused answers Resume of a container that is not paused.
var ErrNotPaused = errors.New("container not paused")

// Pause freezes every process of a created or running container; when it returns, all
// stand still. The error is ErrNotRunning when the container is stopped or already paused.
func (r *Runtime) Pause(id string) error {
	cgroups, status, err := r.freezable(id)
	if err != nil {
		return err
	}
	if status != Running && status != Created {
		return ErrNotRunning
	}
	return cgroups.Freeze()
}

// Resume lets the processes of a paused container go on. The error is ErrNotPaused when
// the container is not paused.
func (r *Runtime) Resume(id string) error {
	cgroups, status, err := r.freezable(id)
	if err != nil {
		return err
	}
	if status != Paused {
		return ErrNotPaused
	}
	return cgroups.Thaw()
}

func (r *Runtime) freezable(id string) (*cgroup.Set, Status, error) {
	dir, st, err := r.load(id)
	if err != nil {
		return nil, "", err
	}
	defer dir.Close()
	status, err := statusOf(st)
	return cgroup.FromState(st.CgroupPaths), status, err
}
