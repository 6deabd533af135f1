package task

import (
	"context"
	"errors"
	"fmt"
	"time"

	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/gantry-containers/gantry/manager/shim"
)

// retryAfter is how soon something is tried again that failed for a reason which passes.
const retryAfter = 100 * time.Millisecond

// Delete removes a task that has ended and says how it did. It can be repeated after any error.
func (m *Manager) Delete(ctx context.Context, r *tasks.DeleteTaskRequest) (*tasks.DeleteResponse, error) {
	t, err := m.get(ctx, r.ContainerID)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, m.limits.delete)
	defer cancel()
	e, err := t.delete(ctx)
	if err != nil {
		return nil, err
	}
	return &tasks.DeleteResponse{Pid: e.Pid, ExitStatus: e.Status, ExitedAt: e.time()}, nil
}

func (t *task) delete(ctx context.Context) (exit, error) {
	for {
		if err := t.take(ctx); err != nil {
			return exit{}, err
		}
		e, err := t.deleteOnce(ctx)
		t.release()
		if err == nil || !disconnected(err) || errors.Is(err, errUnheard) {
			return e, err
		}
		// The shim died, and how the task ended will be known soon; or the connection was lost, and there will be another.
		select {
		case <-t.over:
		case <-time.After(retryAfter):
		case <-ctx.Done():
			return exit{}, err
		}
	}
}

// deleteOnce goes on from the stage that the task is in. The caller has its turn.
func (t *task) deleteOnce(ctx context.Context) (exit, error) {
	t.mu.Lock()
	gone, stage, s := t.gone, t.rec.Stage, t.shim
	t.mu.Unlock()
	switch {
	case gone:
		return exit{}, missing(t.id)
	case stage == alive && s == nil:
		return exit{}, t.unheard()
	case stage == alive:
		if err := t.deleteAlive(ctx, s); err != nil {
			return exit{}, err
		}
	default: // the shim has deleted it, or is gone itself
	}
	if stage != ended && s != nil {
		if err := t.dismiss(ctx, s); err != nil {
			return exit{}, fmt.Errorf("failed to delete task: %w", err)
		}
	}
	if err := t.clean(ctx); err != nil {
		return exit{}, fmt.Errorf("failed to delete task: %w", err)
	}
	if err := t.drop(); err != nil {
		return exit{}, err
	}
	e := t.snapshot().Exit
	if e == nil {
		return exit{}, fmt.Errorf("failed to delete task: the shim does not know it: %w", errdefs.ErrNotFound)
	}
	return *e, nil
}

// deleteAlive has the shim delete the task, and notes what it answers: what follows may fail, and the client ask again.
func (t *task) deleteAlive(ctx context.Context, s *shim.Shim) error {
	answer, err := s.Tasks().Delete(ctx, &taskv3.DeleteRequest{ID: t.id})
	switch {
	case err == nil:
		t.noteExit(exit{Pid: answer.Pid, Status: answer.ExitStatus, At: at(answer.ExitedAt)})
	case errdefs.IsNotFound(err):
		// It was deleted, and the answer was lost with the manager that asked.
		if e, ok := bundleExit(t.bundle.Path); ok {
			t.noteExit(e)
		}
	case ctx.Err() != nil:
		return fmt.Errorf("failed to delete task: %w", within(ctx, err))
	case disconnected(err):
		return err
	default:
		return fmt.Errorf("failed to delete task: %w", err)
	}
	return t.note(func(r *record) { r.Stage = deleted })
}

// at is the time of a shim's answer; one that has none is the zero time, as containerd's.
func at(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// clean removes the bundle, if there is one still. It can be repeated.
func (t *task) clean(ctx context.Context) error {
	t.mu.Lock()
	b, stage := t.bundle, t.rec.Stage
	t.mu.Unlock()
	if b == nil {
		return nil
	}
	if stage == ended {
		if err := t.runDelete(ctx, b); err != nil {
			return err
		}
	}
	return t.removeRest(ctx, b)
}

// DeleteProcess removes a process of Exec.
func (m *Manager) DeleteProcess(ctx context.Context, r *tasks.DeleteProcessRequest) (*tasks.DeleteResponse, error) {
	t, err := m.get(ctx, r.ContainerID)
	if err != nil {
		return nil, err
	}
	var answer *taskv3.DeleteResponse
	err = t.call(ctx, m.limits.delete, func(ctx context.Context, api taskv3.TTRPCTaskService) (err error) {
		answer, err = api.Delete(ctx, &taskv3.DeleteRequest{ID: t.id, ExecID: r.ExecID})
		return err
	})
	t.mu.Lock()
	e, known := t.execs[r.ExecID]
	if err == nil || hasEnded(err) {
		delete(t.execs, r.ExecID)
	}
	t.mu.Unlock()
	switch {
	case err == nil:
		return &tasks.DeleteResponse{ID: r.ExecID, Pid: answer.Pid, ExitStatus: answer.ExitStatus, ExitedAt: answer.ExitedAt}, nil
	case hasEnded(err) && known:
		return &tasks.DeleteResponse{ID: r.ExecID, Pid: e.Pid, ExitStatus: e.Status, ExitedAt: e.time()}, nil
	case hasEnded(err):
		return nil, noProcess(r.ExecID)
	}
	return nil, err
}
