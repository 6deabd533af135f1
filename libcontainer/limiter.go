package libcontainer

import (
	"errors"
	"fmt"
	"slices"

	"github.com/gantry-containers/gantry/libcontainer/cgroup"
	"github.com/gantry-containers/gantry/libcontainer/host"
	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/state"
	"github.com/gantry-containers/gantry/libcontainer/systemd"
)

// limiter is who changes the limits of one container: its cgroups' files, or (with the
// systemd driver) the unit that owns them and then the files.
type limiter interface {
	// present tells what a plan must know of the container's cgroups.
	present() (*host.Facts, plan.Present)
	// write performs the plan's writes, or none; undo takes them back.
	write(p *plan.Plan) (undo func() error, err error)
	// setDevices replaces the device rules as a whole.
	setDevices(rules []plan.DeviceRule) error
}

// limiterOf picks the limiter by how the container's cgroups were made.
func (r *Runtime) limiterOf(st *state.State) limiter {
	files := cgroupFiles{cgroup.FromState(st.CgroupPaths)}
	if st.Unit != "" {
		return unitLimits{files, st.Unit, st.UserUnit}
	}
	return files
}

// cgroupFiles is the limiter that writes the files itself.
type cgroupFiles struct{ set *cgroup.Set }

func (c cgroupFiles) present() (*host.Facts, plan.Present) {
	return &host.Facts{Cgroup: c.set.Facts()}, c.set.Present()
}

func (c cgroupFiles) write(p *plan.Plan) (func() error, error) {
	before, err := c.exchange(p)
	return func() error { return c.takeBack(before) }, err
}

// exchange performs the plan's writes and returns those that undo them; after an error it
// has taken back what it did.
func (c cgroupFiles) exchange(p *plan.Plan) (before []*plan.WriteCgroup, err error) {
	for i := range p.Ops {
		w, ok := p.Ops[i].Do.(*plan.WriteCgroup)
		if !ok {
			continue
		}
		inverse, err := c.set.Exchange(w)
		if err != nil {
			return nil, errors.Join(&UpdateError{p.Ops[i].Field, err}, c.takeBack(before))
		}
		if inverse != nil {
			before = append(before, inverse)
		}
	}
	return before, nil
}

// takeBack undoes writes, the last one first.
func (c cgroupFiles) takeBack(done []*plan.WriteCgroup) error {
	var errs []error
	for _, w := range slices.Backward(done) {
		if err := c.set.Write(w); err != nil {
			errs = append(errs, fmt.Errorf("restore the old limit: %w", err))
		}
	}
	return errors.Join(errs...)
}

func (c cgroupFiles) setDevices(rules []plan.DeviceRule) error { return c.set.ChangeDevices(rules) }

// unitLimits is the limiter of a container that is in a unit of systemd: what is in the
// files alone goes with the next daemon-reload.
type unitLimits struct {
	cgroupFiles
	unit string
	user bool
}

// write tells systemd between two rounds of the files: the first finds out whether the
// kernel takes the limits, the second is exact where systemd rounds.
func (u unitLimits) write(p *plan.Plan) (func() error, error) {
	before, err := u.exchange(p)
	if err != nil {
		return nil, err
	}
	undo := func() error {
		return errors.Join(u.tell(before), u.takeBack(before))
	}
	after := writesOf(p)
	if err := u.tell(after); err != nil {
		return nil, errors.Join(&UpdateError{"linux.resources", err}, undo())
	}
	for _, w := range after {
		same := func(b *plan.WriteCgroup) bool { return b.Hierarchy == w.Hierarchy && b.File == w.File }
		if !slices.ContainsFunc(before, same) {
			continue // a file that only acts, as memory.reclaim
		}
		if err := u.set.Write(w); err != nil {
			return nil, errors.Join(&UpdateError{"linux.resources", err}, undo())
		}
	}
	return undo, nil
}

// tell sets the properties of the unit that the files stand for.
func (u unitLimits) tell(writes []*plan.WriteCgroup) error {
	list := make([]plan.WriteCgroup, len(writes))
	for i, w := range writes {
		list[i] = *w
	}
	if err := systemd.SetProperties(u.unit, u.user, plan.Properties(list)); err != nil {
		return fmt.Errorf("%s: %w", u.unit, err)
	}
	return nil
}

func writesOf(p *plan.Plan) []*plan.WriteCgroup {
	var list []*plan.WriteCgroup
	for i := range p.Ops {
		if w, ok := p.Ops[i].Do.(*plan.WriteCgroup); ok {
			list = append(list, w)
		}
	}
	return list
}
