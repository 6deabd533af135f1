package libcontainer

import (
	"io"

	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/libcontainer/host"
	"github.com/gantry-containers/gantry/libcontainer/plan/plandiff"
)

// Plan prints what Create would do for the bundle, in order, each step with the field of
// config.json that it comes from. Nothing is changed but the working directory.
func (r *Runtime) Plan(o *CreateOptions, w io.Writer, format string, showEnv bool) error {
	if err := host.CheckKernel(); err != nil {
		return err
	}
	in, err := r.takeIn(o, false)
	if err != nil {
		return err
	}
	if !showEnv {
		in.plan.Redact()
	}
	switch format {
	case "text":
		return in.plan.WriteText(w)
	case "json":
		return in.plan.WriteJSON(w)
	}
	return unknownFormat(format)
}

// PlanDiff prints what changes from one bundle's plan to another's, and reports whether
// they are equal: the operations that were added, removed, changed or moved. Nothing is
// changed but the working directory.
func (r *Runtime) PlanDiff(before, after *CreateOptions, w io.Writer, format string, showEnv bool) (equal bool, err error) {
	if err := host.CheckKernel(); err != nil {
		return false, err
	}
	var sides [2]plandiff.Side
	for i, o := range []*CreateOptions{before, after} {
		in, err := r.takeIn(o, false)
		if err != nil {
			return false, err
		}
		sides[i] = plandiff.Side{Plan: in.plan, Bundle: in.dir}
	}
	changes := plandiff.Compare(sides[0], sides[1])
	if !showEnv {
		plandiff.Redact(changes)
	}
	switch format {
	case "text":
		err = plandiff.WriteText(w, changes)
	case "json":
		err = plandiff.WriteJSON(w, changes)
	default:
		err = unknownFormat(format)
	}
	return len(changes) == 0, err
}

func unknownFormat(format string) error {
	return fault.Usage.Atf("--format", "unknown format %q: want text or json", format)
}
