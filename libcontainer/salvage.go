package libcontainer

import (
	"errors"
	"os"

	"github.com/gantry-containers/gantry/libcontainer/bundle"
	"github.com/gantry-containers/gantry/libcontainer/cgroup"
	"github.com/gantry-containers/gantry/libcontainer/host"
	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/resctrl"
	"github.com/gantry-containers/gantry/libcontainer/state"
)

// salvage removes a container whose state.json is of no use. Its cgroups, and in them
// its processes, are found by planning the container again from the copy of its
// config.json. The caller holds the lock.
func (r *Runtime) salvage(dir *state.Dir, id string) error {
	left, err := planned(dir, id)
	if err != nil {
		r.warn("the cgroups of " + id + " are unknown and stay: " + err.Error())
	} else if err := errors.Join(removeCgroups(cgroup.FromState(left.cgroups), true), resctrl.Remove(&left.rdt)); err != nil {
		return err
	}
	return os.RemoveAll(dir.Path())
}

// leavings are what a container has outside of its directory.
type leavings struct {
	cgroups []state.CgroupPath
	rdt     state.IntelRdt
}

func planned(dir *state.Dir, id string) (*leavings, error) {
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
	if err := probeResctrl(spec, facts); err != nil {
		return nil, err
	}
	if facts.Resctrl == "" && spec.Linux != nil {
		spec.Linux.IntelRdt = nil // unmounted since: nothing is left of it
	}
	p, err := plan.Create(&plan.Input{Spec: spec, Facts: facts, ID: id, Bundle: "/", Rootfs: "/"})
	if err != nil {
		return nil, err
	}
	left := &leavings{}
	for i := range p.Ops {
		switch a := p.Ops[i].Do.(type) {
		case *plan.CreateCgroups:
			for j := range a.Cgroups {
				c := &a.Cgroups[j]
				left.cgroups = append(left.cgroups, state.CgroupPath{Hierarchy: c.Hierarchy, Path: c.Dir()})
			}
		case *plan.MakeResctrlGroup:
			left.rdt = state.IntelRdt{Root: a.Root, Group: a.Dir(), Made: a.Own, Monitor: a.MonitorDir()}
		}
	}
	return left, nil
}
