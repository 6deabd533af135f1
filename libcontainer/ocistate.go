package libcontainer

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/launch"
	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/state"
)

//go:generate go run ./internal/jsongen -out ocistate_gen.go -encode github.com/opencontainers/runtime-spec/specs-go.State,github.com/opencontainers/runtime-spec/specs-go.ContainerProcessState

// ociState is the container's state as hooks read it on stdin, runtime.md "State".
func ociState(st *state.State, status Status) []byte {
	s := specs.State{
		Version: st.OCIVersion, ID: st.ID, Status: specs.ContainerState(status), Pid: st.Init.PID,
		Bundle: st.Bundle, Annotations: st.Annotations,
	}
	if status == Stopped {
		s.Pid = 0
	}
	return appendState(nil, &s)
}

// hookState is the state of a container in the making, for one kind of hooks.
func (c *creation) hookState(hooks *plan.RunHooks, p *launch.Process) ([]byte, error) {
	st := *c.st
	st.Init.PID = p.PID
	status := Creating
	if hooks.Kind == "startContainer" || hooks.Kind == "prestart" {
		status = Created // runtime-tools' hooks_stdin wants it for prestart, too
	}
	if hooks.InContainer {
		return insideState(&st, status)
	}
	return ociState(&st, status), nil
}

// insideState is the state for hooks in the container: its pid is the one that they see,
// runtime.md "State".
func insideState(st *state.State, status Status) ([]byte, error) {
	inside := *st
	var err error
	if inside.Init.PID, err = state.InnermostPID(st.Init.PID); err != nil {
		return nil, err
	}
	return ociState(&inside, status), nil
}

// processState is what a seccomp listener is told about the process of a container.
func processState(pid int, metadata string, st *state.State, status Status) []byte {
	return appendContainerProcessState(nil, &specs.ContainerProcessState{
		Version: specs.Version, Fds: []string{specs.SeccompFdName}, Pid: pid, Metadata: metadata,
		State: specs.State{
			Version: st.OCIVersion, ID: st.ID, Status: specs.ContainerState(status), Pid: st.Init.PID,
			Bundle: st.Bundle, Annotations: st.Annotations,
		},
	})
}
