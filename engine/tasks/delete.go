package tasks

import (
	"context"
	"syscall"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
)

// Delete removes an ended task and the manager's record, and says how it ended; nil when there was no task. It can be
// repeated. A task that has not ended is a failed precondition.
func (s *Service) Delete(ctx context.Context, id string) (*Exit, error) {
	r, err := s.client.TaskService().Delete(ctx, &tasksapi.DeleteTaskRequest{ContainerID: id})
	err = forgotten(errgrpc.ToNative(err))
	if err != nil {
		return nil, err
	}
	if err := forgotten(s.client.ContainerService().Delete(ctx, id)); err != nil {
		return nil, err
	}
	return exitOf(id, "", r), nil
}

// DeleteExec removes an ended process; nil when there was none.
func (s *Service) DeleteExec(ctx context.Context, id, process string) (*Exit, error) {
	r, err := s.client.TaskService().DeleteProcess(ctx, &tasksapi.DeleteProcessRequest{ContainerID: id, ExecID: process})
	if err := forgotten(errgrpc.ToNative(err)); err != nil {
		return nil, err
	}
	return exitOf(id, process, r), nil
}

func exitOf(id, process string, r *tasksapi.DeleteResponse) *Exit {
	if r == nil {
		return nil
	}
	return &Exit{Container: id, Process: process, Pid: int(r.GetPid()), Code: int(r.GetExitStatus()), At: at(r.GetExitedAt())}
}

// Destroy kills a task in whatever state it is, waits for its end, and deletes it and the record. It can be repeated,
// and goes on when the caller's context ends, for a while.
func (s *Service) Destroy(ctx context.Context, id string) (*Exit, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	exit, err := s.Delete(ctx, id)
	if err == nil || !errdefs.IsFailedPrecondition(err) && !errdefs.IsUnknown(err) {
		return exit, err
	}
	if err := s.Kill(ctx, id, "", syscall.SIGKILL, true); err != nil && !errdefs.IsNotFound(err) {
		return nil, err
	}
	_, err = s.client.TaskService().Wait(ctx, &tasksapi.WaitRequest{ContainerID: id})
	if err := forgotten(errgrpc.ToNative(err)); err != nil {
		return nil, err
	}
	return s.Delete(ctx, id)
}
