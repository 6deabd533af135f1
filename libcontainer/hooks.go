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

// startHook starts the process of a hook.
type startHook func(h *specs.Hook, stdio []int) (*launch.Process, error)

// runHooks runs hooks in order, each with the container's state on stdin; the first that
// fails ends it. runc's words are kept: its users look for them.
func runHooks(all *specs.Hooks, kind string, containerState []byte, start startHook) error {
	for i := range hooksOf(all, kind) {
		if err := runHook(&hooksOf(all, kind)[i], containerState, start); err != nil {
			return fault.HookFailed.Atf(fmt.Sprintf("hooks.%s[%d]", kind, i), "error running %s hook #%d: %w", kind, i, err)
		}
	}
	return nil
}

func runHook(h *specs.Hook, containerState []byte, start startHook) error {
	return launch.RunHook(h, containerState, func(stdio []int) (*launch.Process, error) { return start(h, stdio) })
}

// onHost starts a hook in the runtime's own namespaces.
func onHost(h *specs.Hook, stdio []int) (*launch.Process, error) {
	return launch.StartHook(h, stdio, nil, "")
}

// runHooks runs hooks of one kind for a container in the making.
func (c *creation) runHooks(a *plan.RunHooks, p *launch.Process) error {
	containerState, err := c.hookState(a, p)
	if err != nil {
		return err
	}
	start := onHost
	switch a.Kind {
	case "createContainer":
		target, err := launch.NewTarget(p.PID, p.PIDFD)
		if err != nil {
			return err
		}
		start = func(h *specs.Hook, stdio []int) (*launch.Process, error) {
			return launch.StartHook(h, stdio, target, c.in.rootfs)
		}
	case "startContainer":
		start = c.r.inContainer(c.st, c.in.spec, c.in.filter)
	}
	return runHooks(c.in.spec.Hooks, a.Kind, containerState, start)
}

// inContainer starts hooks whose programs are the container's: each becomes what the
// container's own process is about to be, with its user, rights, filter, cgroups and, if it
// brings none along, environment.
func (r *Runtime) inContainer(st *state.State, spec *specs.Spec, filter *plan.Seccomp) startHook {
	return func(h *specs.Hook, stdio []int) (*launch.Process, error) {
		proc := *spec.Process
		proc.Args, proc.Terminal, proc.ConsoleSize, proc.ExecCPUAffinity = launch.HookArgs(h), false, nil, nil
		e := &execution{
			r: r, o: &ExecOptions{ID: st.ID}, st: st, status: Created, spec: spec, proc: &proc,
			filter: filter, hook: h.Path, stdio: stdio,
		}
		if err := e.probe(); err != nil {
			return nil, err
		}
		if h.Env == nil {
			e.findHome()
		} else {
			proc.Env = h.Env
		}
		return e.launch(nil)
	}
}

// poststart runs the hooks that follow the start of the user's program.
func poststart(all *specs.Hooks, containerState []byte) error {
	return runHooks(all, "poststart", containerState, onHost)
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
		if err := runHook(h, ociState(st, Stopped), onHost); err != nil {
			r.warn(fmt.Sprintf("hooks.poststop[%d]: error running poststop hook #%d: %v", i, i, err))
		}
	}
}
