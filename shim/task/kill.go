package task

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/task"
	"github.com/gantry-containers/gantry/shim/api/tasktypes"
	"github.com/gantry-containers/gantry/shim/oci"
	"github.com/gantry-containers/gantry/shim/ttrpc"
)

// kill sends a signal: to the init process by the runtime, which knows what a frozen container needs; to one of Exec
// directly.
func (s *Service) kill(ctx context.Context, r *task.KillRequest) (*known.Empty, error) {
	p, err := s.process(r.Id, r.ExecId)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	status, handle := p.status, p.handle
	p.mu.Unlock()
	switch {
	case status == tasktypes.Status_STOPPED:
		return nil, finished(p)
	case handle == nil:
		return nil, ttrpc.Errorf(ttrpc.FailedPrecondition, "process %q is not started", p.eventID())
	case p.isInit():
		err = p.c.killInit(ctx, int(r.Signal), r.All)
	default:
		err = handle.Signal(unix.Signal(r.Signal))
	}
	switch {
	case errors.Is(err, unix.ESRCH), errors.Is(err, oci.ErrFinished), errors.Is(err, oci.ErrNotRunning), errors.Is(err, oci.ErrNotFound):
		return nil, finished(p)
	case errors.Is(err, unix.EINVAL):
		return nil, ttrpc.Errorf(ttrpc.InvalidArgument, "signal %d: %w", r.Signal, err)
	case err != nil:
		return nil, runtimeError("OCI runtime kill failed", err)
	}
	return &known.Empty{}, nil
}

// killInit does not take the container's turn: it may be what ends an operation that hangs.
func (c *container) killInit(ctx context.Context, signal int, all bool) error {
	ctx, cancel := operation(ctx)
	defer cancel()
	return c.runtime.Kill(ctx, c.id, signal, all)
}

// finished has the words that clients know.
func finished(p *process) error {
	// containerd's shim ends the text with the class, which clients of 2.x show nowhere else.
	return ttrpc.Errorf(ttrpc.NotFound, "%q of container %q: process already finished: not found", p.eventID(), p.c.id)
}
