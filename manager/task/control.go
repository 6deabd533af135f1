package task

import (
	"context"
	"errors"
	"fmt"

	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/pkg/identifiers"
	"github.com/containerd/errdefs"
)

func hasEnded(err error) bool { return errors.Is(err, errEnded) }

func noProcess(id string) error {
	return fmt.Errorf("process %s: %w", id, errdefs.ErrNotFound)
}

// refused is the error of an operation that a task which has ended cannot have.
func (t *task) refused(operation string, err error) error {
	if hasEnded(err) {
		return fmt.Errorf("cannot %s task %s, which has ended: %w", operation, t.id, errdefs.ErrFailedPrecondition)
	}
	return err
}

// Start starts the task, or a process of Exec.
func (m *Manager) Start(ctx context.Context, r *tasks.StartRequest) (*tasks.StartResponse, error) {
	t, err := m.get(ctx, r.ContainerID)
	if err != nil {
		return nil, err
	}
	var answer *taskv3.StartResponse
	err = t.call(ctx, m.limits.start, func(ctx context.Context, api taskv3.TTRPCTaskService) (err error) {
		answer, err = api.Start(ctx, &taskv3.StartRequest{ID: t.id, ExecID: r.ExecID})
		return err
	})
	if err != nil {
		return nil, t.refused("start", err)
	}
	if r.ExecID == "" && answer.Pid != t.snapshot().Pid && answer.Pid != 0 {
		// A task that is restored has a process only now.
		if err := t.note(func(rec *record) { rec.Pid, rec.Born = answer.Pid, birth(answer.Pid) }); err != nil {
			return nil, err
		}
		t.warn("the checkpoint", t.forgetCheckpoint())
	}
	return &tasks.StartResponse{Pid: answer.Pid}, nil
}

// Kill sends a signal to the task, or to a process of Exec.
func (m *Manager) Kill(ctx context.Context, r *tasks.KillRequest) error {
	t, err := m.get(ctx, r.ContainerID)
	if err != nil {
		return err
	}
	err = t.call(ctx, m.limits.control, func(ctx context.Context, api taskv3.TTRPCTaskService) error {
		_, err := api.Kill(ctx, &taskv3.KillRequest{ID: t.id, ExecID: r.ExecID, Signal: r.Signal, All: r.All && r.ExecID == ""})
		return err
	})
	if hasEnded(err) {
		return fmt.Errorf("process already finished: %w", errdefs.ErrNotFound)
	}
	return err
}

// Exec adds a process to a running task; Start starts it.
func (m *Manager) Exec(ctx context.Context, r *tasks.ExecProcessRequest) error {
	if r.ExecID == "" {
		return fmt.Errorf("exec id cannot be empty: %w", errdefs.ErrInvalidArgument)
	}
	t, err := m.get(ctx, r.ContainerID)
	if err != nil {
		return err
	}
	if err := identifiers.Validate(r.ExecID); err != nil {
		return fmt.Errorf("invalid exec id %s: %w", r.ExecID, err)
	}
	err = t.call(ctx, m.limits.control, func(ctx context.Context, api taskv3.TTRPCTaskService) error {
		_, err := api.Exec(ctx, &taskv3.ExecProcessRequest{
			ID:       t.id,
			ExecID:   r.ExecID,
			Terminal: r.Terminal,
			Stdin:    r.Stdin,
			Stdout:   r.Stdout,
			Stderr:   r.Stderr,
			Spec:     r.Spec,
		})
		return err
	})
	return t.refused("exec in", err)
}

// ResizePty sets the size of a terminal.
func (m *Manager) ResizePty(ctx context.Context, r *tasks.ResizePtyRequest) error {
	t, err := m.get(ctx, r.ContainerID)
	if err != nil {
		return err
	}
	err = t.call(ctx, m.limits.control, func(ctx context.Context, api taskv3.TTRPCTaskService) error {
		_, err := api.ResizePty(ctx, &taskv3.ResizePtyRequest{ID: t.id, ExecID: r.ExecID, Width: r.Width, Height: r.Height})
		return err
	})
	return t.refused("resize the terminal of", err)
}

// CloseIO closes the stdin of a process; that of one that has ended is closed.
func (m *Manager) CloseIO(ctx context.Context, r *tasks.CloseIORequest) error {
	t, err := m.get(ctx, r.ContainerID)
	if err != nil || !r.Stdin {
		return err
	}
	err = t.call(ctx, m.limits.control, func(ctx context.Context, api taskv3.TTRPCTaskService) error {
		_, err := api.CloseIO(ctx, &taskv3.CloseIORequest{ID: t.id, ExecID: r.ExecID, Stdin: true})
		return err
	})
	if hasEnded(err) {
		return nil
	}
	return err
}

// Pause freezes a task.
func (m *Manager) Pause(ctx context.Context, r *tasks.PauseTaskRequest) error {
	t, err := m.get(ctx, r.ContainerID)
	if err != nil {
		return err
	}
	err = t.call(ctx, m.limits.control, func(ctx context.Context, api taskv3.TTRPCTaskService) error {
		_, err := api.Pause(ctx, &taskv3.PauseRequest{ID: t.id})
		return err
	})
	return t.refused("pause", err)
}

// Resume thaws it.
func (m *Manager) Resume(ctx context.Context, r *tasks.ResumeTaskRequest) error {
	t, err := m.get(ctx, r.ContainerID)
	if err != nil {
		return err
	}
	err = t.call(ctx, m.limits.control, func(ctx context.Context, api taskv3.TTRPCTaskService) error {
		_, err := api.Resume(ctx, &taskv3.ResumeRequest{ID: t.id})
		return err
	})
	return t.refused("resume", err)
}

// Update changes the limits of a task.
func (m *Manager) Update(ctx context.Context, r *tasks.UpdateTaskRequest) error {
	t, err := m.get(ctx, r.ContainerID)
	if err != nil {
		return err
	}
	err = t.call(ctx, m.limits.control, func(ctx context.Context, api taskv3.TTRPCTaskService) error {
		_, err := api.Update(ctx, &taskv3.UpdateTaskRequest{ID: t.id, Resources: r.Resources, Annotations: r.Annotations})
		return err
	})
	return t.refused("update", err)
}
