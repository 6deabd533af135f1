package libcontainer

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/state"
)

// plannedAgain compiles the plan of a container that exists: for what its mounts are.
func (r *Runtime) plannedAgain(st *state.State, spec *specs.Spec) (*plan.Plan, error) {
	facts, err := factsFor(spec)
	if err != nil {
		return nil, err
	}
	var notify unix.Stat_t
	if unix.Stat(r.Root+"/"+st.ID+"/"+state.NotifyDir, &notify) == nil {
		prepareNotify(spec, r.Root, st.ID)
	}
	plan.StripRootfs(spec.Mounts, st.Rootfs)
	in := &plan.Input{
		Spec: spec, Facts: facts, ID: st.ID, Bundle: st.Bundle, Rootfs: st.Rootfs,
		OptionalCgroups: st.Rootless && plan.CgroupsOptional(spec, facts), UserManager: st.UserUnit,
	}
	switch {
	case st.Unit != "":
		in.Driver = plan.DriverSystemd
	case len(st.CgroupPaths) == 0 && !st.Rootless:
		in.Driver = plan.DriverNone
	}
	return plan.Create(in)
}
