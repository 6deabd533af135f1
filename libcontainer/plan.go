package libcontainer

import (
	"io"

	"github.com/gantry-containers/gantry/libcontainer/fault"
)

// Plan prints what Create would do for the bundle, in order, each step with the field of
// config.json that it comes from. Nothing is changed but the working directory.
func (r *Runtime) Plan(o *CreateOptions, w io.Writer, format string, showEnv bool) error {
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
	return fault.Usage.Atf("--format", "unknown format %q: want text or json", format)
}
