package libcontainer

import (
	"os"

	"github.com/gantry-containers/gantry/libcontainer/bundle"
	"github.com/gantry-containers/gantry/libcontainer/cgroup"
	"github.com/gantry-containers/gantry/libcontainer/host"
	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/state"
)

// salvage removes a container whose state.json is of no use. Its cgroups, and in them
// its processes, are found by planning the container again from the copy of its
// config.json. The caller holds the lock.
func (r *Runtime) salvage(dir *state.Dir, id string) error {
	cgroups, err := plannedCgroups(dir, id)
	if err != nil {
		r.warn("the cgroups of " + id + " are unknown and stay: " + err.Error())
	} else if err := removeCgroups(cgroups, true); err != nil {
		return err
	}
	return os.RemoveAll(dir.Path())
}

func plannedCgroups(dir *state.Dir, id string) (*cgroup.Set, error) {
	raw, err := dir.Config()
	if err != nil {
		return nil, err
	}
	spec, _, err := bundle.Decode(raw)
	if err != nil {
		return nil, err
	}
	facts, err := host.Probe()
	if err != nil {
		return nil, err
	}
	p, err := plan.Create(&plan.Input{Spec: spec, Facts: facts, ID: id, Bundle: "/", Rootfs: "/"})
	if err != nil {
		return nil, err
	}
	var paths []state.CgroupPath
	for i := range p.Ops {
		if create, ok := p.Ops[i].Do.(*plan.CreateCgroups); ok {
			for j := range create.Cgroups {
				c := &create.Cgroups[j]
				paths = append(paths, state.CgroupPath{Hierarchy: c.Hierarchy, Path: c.Dir()})
			}
		}
	}
	return cgroup.FromState(paths), nil
}
