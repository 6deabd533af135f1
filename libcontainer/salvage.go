package libcontainer

import (
	"errors"
	"os"
	"strings"

	"github.com/gantry-containers/gantry/libcontainer/bundle"
	"github.com/gantry-containers/gantry/libcontainer/cgroup"
	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/resctrl"
	"github.com/gantry-containers/gantry/libcontainer/state"
)

// salvage removes a container whose state.json is of no use. Its cgroups, and in them
// its processes, are found by planning the container again from the copy of its
// config.json. The caller holds the lock.
func (r *Runtime) salvage(dir *state.Dir, id string) error {
	st, err := r.plannedState(dir, id)
	if err != nil {
		r.warn("the cgroups of " + id + " are unknown and stay: " + err.Error())
		return os.RemoveAll(dir.Path())
	}
	if unit := scopeOf(st); unit != nil {
		if err := killUnit(unit); err != nil {
			r.warn(unit.name + ": " + err.Error())
		}
	}
	if err := errors.Join(r.removeCgroups(cgroup.FromState(st.CgroupPaths), nil, true), resctrl.Remove(&st.IntelRdt)); err != nil {
		return err
	}
	return os.RemoveAll(dir.Path())
}

// plannedState is what the state said of cgroups and resctrl before it was damaged.
func (r *Runtime) plannedState(dir *state.Dir, id string) (*state.State, error) {
	raw, err := dir.Config()
	if err != nil {
		return nil, err
	}
	spec, _, err := bundle.Decode(raw)
	if err != nil {
		return nil, err
	}
	facts, err := factsFor(spec)
	if err != nil {
		return nil, err
	}
	if facts.Resctrl == "" && spec.Linux != nil {
		spec.Linux.IntelRdt = nil // unmounted since: nothing is left of it
	}
	in := &plan.Input{Spec: spec, Facts: facts, ID: id, Bundle: "/", Rootfs: "/", Driver: r.Driver}
	if spec.Linux != nil && strings.Count(spec.Linux.CgroupsPath, ":") == 2 && !strings.Contains(spec.Linux.CgroupsPath, "/") {
		in.Driver = plan.DriverSystemd // "slice:prefix:name"; delete is not told of the driver
	}
	in.UserManager = in.Driver == plan.DriverSystemd && userManager(facts)
	p, err := plan.Create(in)
	if err != nil {
		return nil, err
	}
	st := new(state.State)
	recordCgroups(st, p)
	for i := range p.Ops {
		if a, ok := p.Ops[i].Do.(*plan.MakeResctrlGroup); ok {
			st.IntelRdt = state.IntelRdt{Root: a.Root, Group: a.Dir(), Made: a.Own, Monitor: a.MonitorDir()}
		}
	}
	return st, nil
}
