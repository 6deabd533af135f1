package libcontainer

import (
	"errors"
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/bundle"
	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/libcontainer/launch"
	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/state"
)

// hooksOf selects the hooks of one kind, config.md "POSIX-platform Hooks".
func hooksOf(h *specs.Hooks, kind string) []specs.Hook {
	if h == nil {
		return nil
	}
	switch kind {
	case "prestart":
		return h.Prestart //nolint:staticcheck // deprecated, and still used by Docker
	case "createRuntime":
		return h.CreateRuntime
	case "createContainer":
		return h.CreateContainer
	case "startContainer":
		return h.StartContainer
	case "poststart":
		return h.Poststart
	default:
		return h.Poststop
	}
}

// runHooks runs hooks in order, each with the container's state on stdin; the first that
// fails ends it. Hooks of the container join the namespaces of its process.
func (r *Runtime) runHooks(all *specs.Hooks, a *plan.RunHooks, containerState []byte, pid, pidfd int) error {
	var target *launch.Target
	if a.InContainer {
		var err error
		if target, err = launch.NewTarget(pid, pidfd); err != nil {
			return err
		}
	}
	for i := range hooksOf(all, a.Kind) {
		h := &hooksOf(all, a.Kind)[i]
		if err := launch.RunHook(h, containerState, target); err != nil {
			return fault.HookFailed.Atf(fmt.Sprintf("hooks.%s[%d]", a.Kind, i), "error running hook %s: %w", h.Path, err)
		}
	}
	return nil
}

// poststart runs the hooks that follow the start of the user's program.
func (r *Runtime) poststart(all *specs.Hooks, containerState []byte) error {
	return r.runHooks(all, &plan.RunHooks{Kind: "poststart"}, containerState, 0, -1)
}

// poststop runs the hooks that follow the deletion. The container is gone whatever they
// do, so a failure is a warning and the rest run, runtime.md "Lifecycle" step 13.
func (r *Runtime) poststop(config []byte, st *state.State) {
	spec, _, err := bundle.Decode(config)
	if err != nil {
		r.warn(errors.Join(errors.New("poststop hooks"), err).Error())
		return
	}
	for i := range hooksOf(spec.Hooks, "poststop") {
		h := &spec.Hooks.Poststop[i]
		if err := launch.RunHook(h, ociState(st, Stopped), nil); err != nil {
			r.warn(fmt.Sprintf("hooks.poststop[%d]: error running hook %s: %v", i, h.Path, err))
		}
	}
}
