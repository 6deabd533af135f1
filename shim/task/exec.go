package task

import (
	"context"
	"encoding/json"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/task"
	"github.com/gantry-containers/gantry/shim/api/tasktypes"
	"github.com/gantry-containers/gantry/shim/stdio"
	"github.com/gantry-containers/gantry/shim/ttrpc"
)

// exec adds a process; Start starts it.
func (s *Service) exec(_ context.Context, r *task.ExecProcessRequest) (*known.Empty, error) {
	c, err := s.container(r.Id)
	if err != nil {
		return nil, err
	}
	if r.ExecId == "" {
		return nil, ttrpc.Errorf(ttrpc.InvalidArgument, "exec_id is empty")
	}
	spec, err := processObject(r)
	if err != nil {
		return nil, ttrpc.Errorf(ttrpc.InvalidArgument, "spec: %w", err)
	}
	p := newProcess(c, r.ExecId, stdio.Spec{
		Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, Terminal: r.Terminal,
		UID: int(c.options.IoUid), GID: int(c.options.IoGid), ID: r.ExecId, Namespace: s.Namespace,
	})
	p.spec = spec
	if err := c.add(p); err != nil {
		return nil, err
	}
	c.tell(execAddedEvent(p))
	return &known.Empty{}, nil
}

// processObject is the spec's process object with the request's word on the terminal. Fields that this program does
// not know are the runtime's to read.
func processObject(r *task.ExecProcessRequest) ([]byte, error) {
	var known specs.Process
	if err := json.Unmarshal(r.Spec.GetValue(), &known); err != nil {
		return nil, err
	}
	if known.Terminal == r.Terminal {
		return r.Spec.GetValue(), nil
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(r.Spec.GetValue(), &all); err != nil {
		return nil, err
	}
	terminal, err := json.Marshal(r.Terminal)
	if err != nil {
		return nil, err
	}
	all["terminal"] = terminal
	return json.Marshal(all)
}

// add takes the process in, if its id is free and the container runs: for a client it does until its exit is told,
// which may wait for another Start.
func (c *container) add(p *process) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.execs[p.execID] != nil:
		return ttrpc.Errorf(ttrpc.AlreadyExists, "process %q is already in container %q", p.execID, c.id)
	case c.init.currentStatus() == tasktypes.Status_STOPPED:
		return ttrpc.Errorf(ttrpc.FailedPrecondition, "container %q is stopped: cannot exec", c.id)
	case c.paused:
		return ttrpc.Errorf(ttrpc.FailedPrecondition, "container %q is paused: cannot exec", c.id)
	}
	c.execs[p.execID] = p
	return nil
}
