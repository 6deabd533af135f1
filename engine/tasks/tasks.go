package tasks

import (
	"context"
	"syscall"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Service asks a manager, through containerd's client. All times are the manager's. Errors have a class of
// github.com/containerd/errdefs and the manager's text.
type Service struct {
	client *containerd.Client
}

// New is a service over a connected client, whose default namespace counts.
func New(client *containerd.Client) *Service { return &Service{client: client} }

// IO is where a process's streams are: paths of FIFOs that the keeper holds open; empty for none.
type IO struct {
	Stdin, Stdout, Stderr string
	Terminal              bool
}

// Exit is how a process ended.
type Exit struct {
	Container string
	// Process is the exec id; empty for the container's init.
	Process string
	Pid     int
	Code    int
	At      time.Time
}

// Status is what the manager says about a process.
type Status struct {
	// Container is the id of the task.
	Container string
	// Created says that the process waits for Start.
	Created         bool
	Running, Paused bool
	Pid             int
	// Exit is set when it has ended and was not deleted.
	Exit *Exit
}

// Start lets the init of a created task run its program.
func (s *Service) Start(ctx context.Context, id string) error {
	_, err := s.client.TaskService().Start(ctx, &tasksapi.StartRequest{ContainerID: id})
	return errgrpc.ToNative(err)
}

// Kill sends a signal to a process (empty for init), or to all of the container.
func (s *Service) Kill(ctx context.Context, id, process string, signal syscall.Signal, all bool) error {
	_, err := s.client.TaskService().Kill(ctx, &tasksapi.KillRequest{
		ContainerID: id, ExecID: process, Signal: uint32(signal), All: all, //nolint:gosec // a signal is never negative
	})
	return errgrpc.ToNative(err)
}

// Status asks for a process; not found when the manager knows none.
func (s *Service) Status(ctx context.Context, id, process string) (Status, error) {
	r, err := s.client.TaskService().Get(ctx, &tasksapi.GetRequest{ContainerID: id, ExecID: process})
	if err != nil {
		return Status{}, errgrpc.ToNative(err)
	}
	return status(id, process, r.GetProcess()), nil
}

// List asks for the tasks of all containers at once. A task whose shim does not answer may be missing: ask for its
// Status.
func (s *Service) List(ctx context.Context) ([]Status, error) {
	r, err := s.client.TaskService().List(ctx, &tasksapi.ListTasksRequest{})
	if err != nil {
		return nil, errgrpc.ToNative(err)
	}
	list := make([]Status, 0, len(r.GetTasks()))
	for _, p := range r.GetTasks() {
		id := p.GetContainerID()
		if id == "" {
			id = p.GetID()
		}
		list = append(list, status(id, "", p))
	}
	return list, nil
}

func status(id, process string, p *task.Process) Status {
	st := Status{Container: id, Pid: int(p.GetPid())}
	switch p.GetStatus() {
	case task.Status_CREATED:
		st.Created = true
	case task.Status_PAUSED, task.Status_PAUSING:
		st.Running, st.Paused = true, true
	case task.Status_STOPPED:
		st.Exit = &Exit{
			Container: id, Process: process, Pid: int(p.GetPid()),
			Code: int(p.GetExitStatus()), At: at(p.GetExitedAt()),
		}
	default: // running, or what a shim that has trouble says
		st.Running = true
	}
	return st
}

// at is a time of the manager's; zero when it told none.
func at(t *timestamppb.Timestamp) time.Time {
	if t == nil || (t.GetSeconds() <= 0 && t.GetNanos() == 0) {
		return time.Time{}
	}
	return t.AsTime()
}

// Resize sets the size of a process's terminal, in characters.
func (s *Service) Resize(ctx context.Context, id, process string, width, height uint32) error {
	_, err := s.client.TaskService().ResizePty(ctx, &tasksapi.ResizePtyRequest{
		ContainerID: id, ExecID: process, Width: width, Height: height,
	})
	return errgrpc.ToNative(err)
}

// CloseStdin tells a process that no more input comes.
func (s *Service) CloseStdin(ctx context.Context, id, process string) error {
	_, err := s.client.TaskService().CloseIO(ctx, &tasksapi.CloseIORequest{ContainerID: id, ExecID: process, Stdin: true})
	return errgrpc.ToNative(err)
}

// Pause freezes a container.
func (s *Service) Pause(ctx context.Context, id string) error {
	_, err := s.client.TaskService().Pause(ctx, &tasksapi.PauseTaskRequest{ContainerID: id})
	return errgrpc.ToNative(err)
}

// Resume lets a paused container go on.
func (s *Service) Resume(ctx context.Context, id string) error {
	_, err := s.client.TaskService().Resume(ctx, &tasksapi.ResumeTaskRequest{ContainerID: id})
	return errgrpc.ToNative(err)
}

// Pids are all processes of a container, by their pids on the host.
func (s *Service) Pids(ctx context.Context, id string) ([]int, error) {
	r, err := s.client.TaskService().ListPids(ctx, &tasksapi.ListPidsRequest{ContainerID: id})
	if err != nil {
		return nil, errgrpc.ToNative(err)
	}
	pids := make([]int, 0, len(r.GetProcesses()))
	for _, p := range r.GetProcesses() {
		pids = append(pids, int(p.GetPid()))
	}
	return pids, nil
}

// forgotten is nil for a thing that is not there.
func forgotten(err error) error {
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}
