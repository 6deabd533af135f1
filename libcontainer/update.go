package libcontainer

import (
	"errors"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/bundle"
	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/state"
	"github.com/gantry-containers/gantry/libcontainer/validate"
)

// UpdateOptions describes a change to the limits of a container.
type UpdateOptions struct {
	ID string
	// Resources are the limits that change; what they leave out stays.
	Resources *specs.LinuxResources
	// L3CacheSchema and MemBwSchema are new values of linux.intelRdt; "" leaves the old ones.
	L3CacheSchema, MemBwSchema string
}

// UpdateError is a change that the kernel refused.
type UpdateError struct {
	Field string // JSON path in config.json
	Err   error
}

func (e *UpdateError) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap gives the refused operation.
func (e *UpdateError) Unwrap() error { return e.Err }

// Update changes the limits of a created, running or paused container, all that is asked
// for or, on an error, nothing. The container's config.json is kept up to date: later
// commands start from what it then has. The error is ErrNotRunning for a stopped container,
// a *validate.Error for what makes no sense, an *UpdateError for what the kernel refused.
func (r *Runtime) Update(o *UpdateOptions) error {
	dir, st, err := r.loadLocked(o.ID)
	if err != nil {
		return err
	}
	defer dir.Close()
	status, err := statusOf(st)
	if err != nil {
		return err
	}
	if status == Stopped {
		return ErrNotRunning
	}
	raw, err := dir.Config()
	if err != nil {
		return err
	}
	spec, _, err := bundle.Decode(raw)
	if err != nil {
		return err
	}
	r.dropKernelMemory(o.Resources)
	limits := r.limiterOf(st)
	p, merged, err := planUpdate(limits, spec, o.Resources)
	if err != nil {
		return err
	}
	schemas, err := planSchemas(o, spec, &st.IntelRdt)
	if err != nil {
		return err
	}
	config := bundle.WithResources(raw, merged)
	if schemas != nil {
		config = bundle.WithIntelRdt(config, schemas.merged)
	}
	return allOrNothing([]step{
		func() (func() error, error) { return limits.write(p) },
		schemas.write,
		func() (func() error, error) {
			return func() error { return dir.SaveConfig(raw) }, dir.SaveConfig(config)
		},
		func() (func() error, error) { return nil, changeDevices(limits, p) },
	})
}

// step does one thing and says how to undo it. The last step needs no undo.
type step func() (undo func() error, err error)

// allOrNothing takes steps; when one fails, those before it are undone.
func allOrNothing(steps []step) error {
	var undos []func() error
	for _, take := range steps {
		undo, err := take()
		if err != nil {
			for _, undo := range slices.Backward(undos) {
				err = errors.Join(err, undo())
			}
			return err
		}
		undos = append(undos, undo)
	}
	return nil
}

// changeDevices replaces the device rules if the plan has new ones: as a whole, and so last.
func changeDevices(limits limiter, p *plan.Plan) error {
	for i := range p.Ops {
		if a, ok := p.Ops[i].Do.(*plan.SetDevices); ok {
			if err := limits.setDevices(a.Rules); err != nil {
				return &UpdateError{p.Ops[i].Field, err}
			}
		}
	}
	return nil
}

// loadLocked is load for a command that changes what is stored.
func (r *Runtime) loadLocked(id string) (*state.Dir, *state.State, error) {
	dir, _, err := r.load(id)
	if err != nil {
		return nil, nil, err
	}
	if err := dir.Lock(lockWait); err != nil {
		return nil, nil, errors.Join(err, dir.Close())
	}
	st, err := dir.Load()
	if err != nil {
		return nil, nil, errors.Join(err, dir.Close())
	}
	return dir, st, nil
}

// dropKernelMemory forgets limits that the spec calls obsolete and runc ignores.
func (r *Runtime) dropKernelMemory(res *specs.LinuxResources) {
	m := res.Memory
	if m == nil || m.Kernel == nil && m.KernelTCP == nil { //nolint:staticcheck // deprecated, hence the warning
		return
	}
	r.warn("Kernel memory settings are ignored and will be removed")
	m.Kernel, m.KernelTCP = nil, nil //nolint:staticcheck // as above
}

// planUpdate checks the limits that the change leads to and compiles the way there.
func planUpdate(limits limiter, spec *specs.Spec, changes *specs.LinuxResources) (*plan.Plan, *specs.LinuxResources, error) {
	var old *specs.LinuxResources
	if spec.Linux != nil {
		old = spec.Linux.Resources
	}
	facts, now := limits.present()
	merged := plan.Merge(old, changes)
	if problems := validate.Resources(merged, facts); len(problems) > 0 {
		return nil, nil, &validate.Error{Problems: problems}
	}
	p, err := plan.Update(&plan.UpdateInput{Spec: spec, Changes: changes, Facts: facts, Now: now})
	if err != nil {
		return nil, nil, planProblems(err)
	}
	return p, merged, nil
}

// planProblems gives the problems of a plan the form of those of validate.
func planProblems(err error) error {
	list := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		list = joined.Unwrap()
	}
	e := &validate.Error{}
	for _, err := range list {
		var p *plan.Problem
		if !errors.As(err, &p) {
			return err
		}
		e.Problems = append(e.Problems, validate.Problem{Path: p.Field, Rule: p.What})
	}
	return e
}
