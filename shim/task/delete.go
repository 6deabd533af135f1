package task

import (
	"context"
	"errors"
	"time"

	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/task"
	"github.com/gantry-containers/gantry/shim/api/tasktypes"
	"github.com/gantry-containers/gantry/shim/bundle"
	"github.com/gantry-containers/gantry/shim/oci"
	"github.com/gantry-containers/gantry/shim/ttrpc"
)

const (
	// drainLimit is for a reader that is slow but takes what it is given.
	drainLimit = 10 * time.Second
	// deleteLimit is for the runtime, when no caller waits any more.
	deleteLimit = 30 * time.Second
)

// delete removes a container whose init process has ended, or was never started; or a process of Exec. A caller who
// did not hear the answer may ask again.
func (s *Service) delete(ctx context.Context, r *task.DeleteRequest) (*task.DeleteResponse, error) {
	if r.ExecId == "" {
		if before := s.deletedBefore(r.Id); before != nil {
			return before, nil
		}
	}
	p, err := s.process(r.Id, r.ExecId)
	if err != nil {
		return nil, err
	}
	if p.isInit() {
		return s.deleteContainer(ctx, p.c)
	}
	return p.deleteExec()
}

func (s *Service) deleteContainer(ctx context.Context, c *container) (*task.DeleteResponse, error) {
	if err := c.take(ctx); err != nil {
		return nil, err
	}
	defer c.release()
	ctx, cancel := operation(ctx)
	defer cancel()
	created, err := c.init.deletable()
	if err != nil {
		return nil, err
	}
	if io := c.init.stdio(); io != nil && !created {
		io.Drain(drainLimit)
	}
	if err := c.runtimeDelete(ctx, created); err != nil {
		return nil, err
	}
	if c.init.currentPid() != 0 {
		<-c.init.done // it was created only: killed now
	}
	for _, p := range c.allExecs() {
		p.discard()
	}
	answer := c.init.deleteResponse()
	c.tell(DeleteEvent(c.id, answer))
	c.cleanUp()
	if err := c.bundle.SetPhase(bundle.Deleted); err != nil {
		c.warn("the delete action will look for what is gone", err)
	}
	s.forget(c.id, answer)
	return answer, nil
}

// runtimeDelete has the runtime forget the container. One that it does not know was removed by a checkpoint, or never
// restored.
func (c *container) runtimeDelete(ctx context.Context, force bool) error {
	if err := c.runtime.Delete(ctx, c.id, force); err != nil && !errors.Is(err, oci.ErrNotFound) {
		return runtimeError("failed to delete task", err)
	}
	return nil
}

func (p *process) deleteExec() (*task.DeleteResponse, error) {
	if _, err := p.deletable(); err != nil {
		return nil, err
	}
	if io := p.stdio(); io != nil {
		io.Drain(drainLimit)
	}
	p.discard()
	return p.deleteResponse(), nil
}

// discard removes a process of Exec.
func (p *process) discard() {
	if io := p.stdio(); io != nil {
		if err := io.Close(); err != nil {
			p.c.warn("close the stdio", err)
		}
	}
	p.c.remove(p)
}

// deletable says whether the process was created only, or has ended; else it can't be deleted.
func (p *process) deletable() (created bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.starting != nil || p.status == tasktypes.Status_RUNNING {
		return false, p.precondition("delete")
	}
	return p.status == tasktypes.Status_CREATED, nil
}

func (p *process) deleteResponse() *task.DeleteResponse {
	p.mu.Lock()
	defer p.mu.Unlock()
	return &task.DeleteResponse{Pid: uint32(p.pid), ExitStatus: uint32(p.code), ExitedAt: known.At(p.exitedAt)}
}

// precondition is the error of an operation that the process's status forbids; p.mu is held.
func (p *process) precondition(operation string) error {
	status := map[tasktypes.Status]string{
		tasktypes.Status_CREATED: "starting", tasktypes.Status_RUNNING: "running", tasktypes.Status_STOPPED: "stopped",
	}[p.status]
	return ttrpc.Errorf(ttrpc.FailedPrecondition, "cannot %s a %s process: %q of container %q", operation, status, p.eventID(), p.c.id)
}
