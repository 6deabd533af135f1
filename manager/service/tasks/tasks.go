package tasks

import (
	"context"

	api "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/gantry-containers/gantry/manager/task"
)

// Service serves a Manager's tasks.
type Service struct {
	api.UnimplementedTasksServer
	tasks *task.Manager
}

// New is the service of these tasks.
func New(tasks *task.Manager) *Service { return &Service{tasks: tasks} }

// Register adds the service to a server.
func (s *Service) Register(server *grpc.Server) { api.RegisterTasksServer(server, s) }

// answer gives an error its gRPC code.
func answer[T any](a *T, err error) (*T, error) {
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return a, nil
}

func empty(err error) (*emptypb.Empty, error) { return answer(&emptypb.Empty{}, err) }

// Create creates a task.
func (s *Service) Create(ctx context.Context, r *api.CreateTaskRequest) (*api.CreateTaskResponse, error) {
	return answer(s.tasks.Create(ctx, r))
}

// Start starts a process.
func (s *Service) Start(ctx context.Context, r *api.StartRequest) (*api.StartResponse, error) {
	return answer(s.tasks.Start(ctx, r))
}

// Delete deletes a task.
func (s *Service) Delete(ctx context.Context, r *api.DeleteTaskRequest) (*api.DeleteResponse, error) {
	return answer(s.tasks.Delete(ctx, r))
}

// DeleteProcess deletes a process of Exec.
func (s *Service) DeleteProcess(ctx context.Context, r *api.DeleteProcessRequest) (*api.DeleteResponse, error) {
	return answer(s.tasks.DeleteProcess(ctx, r))
}

// Get says how a process is.
func (s *Service) Get(ctx context.Context, r *api.GetRequest) (*api.GetResponse, error) {
	return answer(s.tasks.Get(ctx, r))
}

// List says how the tasks are.
func (s *Service) List(ctx context.Context, r *api.ListTasksRequest) (*api.ListTasksResponse, error) {
	return answer(s.tasks.List(ctx, r))
}

// ListPids lists a container's processes.
func (s *Service) ListPids(ctx context.Context, r *api.ListPidsRequest) (*api.ListPidsResponse, error) {
	return answer(s.tasks.ListPids(ctx, r))
}

// Checkpoint writes a task's state down.
func (s *Service) Checkpoint(ctx context.Context, r *api.CheckpointTaskRequest) (*api.CheckpointTaskResponse, error) {
	return answer(s.tasks.Checkpoint(ctx, r))
}

// Metrics gives the tasks' statistics.
func (s *Service) Metrics(ctx context.Context, r *api.MetricsRequest) (*api.MetricsResponse, error) {
	return answer(s.tasks.Metrics(ctx, r))
}

// Wait waits for the end of a process.
func (s *Service) Wait(ctx context.Context, r *api.WaitRequest) (*api.WaitResponse, error) {
	return answer(s.tasks.Wait(ctx, r))
}

// Kill sends a signal.
func (s *Service) Kill(ctx context.Context, r *api.KillRequest) (*emptypb.Empty, error) {
	return empty(s.tasks.Kill(ctx, r))
}

// Exec adds a process.
func (s *Service) Exec(ctx context.Context, r *api.ExecProcessRequest) (*emptypb.Empty, error) {
	return empty(s.tasks.Exec(ctx, r))
}

// ResizePty sets a terminal's size.
func (s *Service) ResizePty(ctx context.Context, r *api.ResizePtyRequest) (*emptypb.Empty, error) {
	return empty(s.tasks.ResizePty(ctx, r))
}

// CloseIO closes a process's stdin.
func (s *Service) CloseIO(ctx context.Context, r *api.CloseIORequest) (*emptypb.Empty, error) {
	return empty(s.tasks.CloseIO(ctx, r))
}

// Pause freezes a task.
func (s *Service) Pause(ctx context.Context, r *api.PauseTaskRequest) (*emptypb.Empty, error) {
	return empty(s.tasks.Pause(ctx, r))
}

// Resume thaws a task.
func (s *Service) Resume(ctx context.Context, r *api.ResumeTaskRequest) (*emptypb.Empty, error) {
	return empty(s.tasks.Resume(ctx, r))
}

// Update changes a task's limits.
func (s *Service) Update(ctx context.Context, r *api.UpdateTaskRequest) (*emptypb.Empty, error) {
	return empty(s.tasks.Update(ctx, r))
}
