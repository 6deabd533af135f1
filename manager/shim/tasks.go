package shim

import (
	"context"
	"errors"
	"fmt"
	"maps"

	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// taskClient is the task service over a server's connection. The messages of its versions are the same; only the name
// of the service differs.
type taskClient struct {
	server    *server
	namespace string
}

var _ taskv3.TTRPCTaskService = taskClient{}

// call makes a call. When the connection breaks, one that only asks is made again over the next.
func call[Answer any](ctx context.Context, c taskClient, method string, request any) (*Answer, error) {
	ctx = withMetadata(ctx, c.namespace)
	var failed *ttrpc.Client
	for {
		client, err := c.server.connected(ctx, failed)
		if err != nil {
			return nil, err
		}
		answer := new(Answer)
		err = client.Call(ctx, service(c.server.version), method, request, answer)
		if err == nil {
			return answer, nil
		}
		if !errors.Is(err, ttrpc.ErrClosed) || !repeatable(method) {
			return nil, native(err)
		}
		failed = client
	}
}

// eventsReplayed tells our own shim that this manager remembers events for its clients, so that it need not wait until
// they are back after a restart. Other shims pass over it.
const eventsReplayed = "gantry-events-replayed"

// withMetadata says beside each request in which namespace it is, which shims want to know, and what the manager is.
func withMetadata(ctx context.Context, namespace string) context.Context {
	ctx = namespaces.WithNamespace(ctx, namespace)
	data := ttrpc.MD{}
	if given, ok := ttrpc.GetMetadata(ctx); ok {
		maps.Copy(data, given)
	}
	data.Set(eventsReplayed, "true")
	return ttrpc.WithMetadata(ctx, data)
}

func repeatable(method string) bool {
	switch method {
	case "State", "Pids", "Wait", "Stats", "Connect":
		return true
	}
	return false
}

// native makes an error of package errdefs of one of the protocol.
func native(err error) error {
	if errors.Is(err, ttrpc.ErrClosed) {
		return fmt.Errorf("%w: %w", err, errdefs.ErrUnavailable)
	}
	if answered(err) {
		return errgrpc.ToNative(err)
	}
	return err
}

// State tells what a process is doing.
func (c taskClient) State(ctx context.Context, r *taskv3.StateRequest) (*taskv3.StateResponse, error) {
	return call[taskv3.StateResponse](ctx, c, "State", r)
}

// Create makes the init process.
func (c taskClient) Create(ctx context.Context, r *taskv3.CreateTaskRequest) (*taskv3.CreateTaskResponse, error) {
	return call[taskv3.CreateTaskResponse](ctx, c, "Create", r)
}

// Start starts a process.
func (c taskClient) Start(ctx context.Context, r *taskv3.StartRequest) (*taskv3.StartResponse, error) {
	return call[taskv3.StartResponse](ctx, c, "Start", r)
}

// Delete forgets a process that has ended.
func (c taskClient) Delete(ctx context.Context, r *taskv3.DeleteRequest) (*taskv3.DeleteResponse, error) {
	return call[taskv3.DeleteResponse](ctx, c, "Delete", r)
}

// Pids lists the task's processes.
func (c taskClient) Pids(ctx context.Context, r *taskv3.PidsRequest) (*taskv3.PidsResponse, error) {
	return call[taskv3.PidsResponse](ctx, c, "Pids", r)
}

// Pause freezes the task.
func (c taskClient) Pause(ctx context.Context, r *taskv3.PauseRequest) (*emptypb.Empty, error) {
	return call[emptypb.Empty](ctx, c, "Pause", r)
}

// Resume thaws it.
func (c taskClient) Resume(ctx context.Context, r *taskv3.ResumeRequest) (*emptypb.Empty, error) {
	return call[emptypb.Empty](ctx, c, "Resume", r)
}

// Checkpoint writes its state to disk.
func (c taskClient) Checkpoint(ctx context.Context, r *taskv3.CheckpointTaskRequest) (*emptypb.Empty, error) {
	return call[emptypb.Empty](ctx, c, "Checkpoint", r)
}

// Kill sends a signal.
func (c taskClient) Kill(ctx context.Context, r *taskv3.KillRequest) (*emptypb.Empty, error) {
	return call[emptypb.Empty](ctx, c, "Kill", r)
}

// Exec notes another process.
func (c taskClient) Exec(ctx context.Context, r *taskv3.ExecProcessRequest) (*emptypb.Empty, error) {
	return call[emptypb.Empty](ctx, c, "Exec", r)
}

// ResizePty sets the size of a terminal.
func (c taskClient) ResizePty(ctx context.Context, r *taskv3.ResizePtyRequest) (*emptypb.Empty, error) {
	return call[emptypb.Empty](ctx, c, "ResizePty", r)
}

// CloseIO ends the input.
func (c taskClient) CloseIO(ctx context.Context, r *taskv3.CloseIORequest) (*emptypb.Empty, error) {
	return call[emptypb.Empty](ctx, c, "CloseIO", r)
}

// Update changes limits.
func (c taskClient) Update(ctx context.Context, r *taskv3.UpdateTaskRequest) (*emptypb.Empty, error) {
	return call[emptypb.Empty](ctx, c, "Update", r)
}

// Wait waits for the end of a process.
func (c taskClient) Wait(ctx context.Context, r *taskv3.WaitRequest) (*taskv3.WaitResponse, error) {
	return call[taskv3.WaitResponse](ctx, c, "Wait", r)
}

// Stats reads what the task uses.
func (c taskClient) Stats(ctx context.Context, r *taskv3.StatsRequest) (*taskv3.StatsResponse, error) {
	return call[taskv3.StatsResponse](ctx, c, "Stats", r)
}

// Connect tells process numbers.
func (c taskClient) Connect(ctx context.Context, r *taskv3.ConnectRequest) (*taskv3.ConnectResponse, error) {
	return call[taskv3.ConnectResponse](ctx, c, "Connect", r)
}

// Shutdown asks the server to end.
func (c taskClient) Shutdown(ctx context.Context, r *taskv3.ShutdownRequest) (*emptypb.Empty, error) {
	return call[emptypb.Empty](ctx, c, "Shutdown", r)
}
