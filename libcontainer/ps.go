package libcontainer

import "github.com/gantry-containers/gantry/libcontainer/cgroup"

// PIDs lists the processes of a container by their numbers in the runtime's pid namespace:
// those in its cgroup, or of one without cgroups the first process alone. A stopped
// container has none, unless it shares its pid namespace and left some behind.
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
	return []int{st.Init.PID}, nil
}
