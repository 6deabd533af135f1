package tasks

import (
	"context"
	"net"
	"testing"

	api "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/gantry-containers/gantry/manager/task"

	cnamespaces "github.com/containerd/containerd/v2/pkg/namespaces"
)

type noContainers struct{ containers.Store }

func (noContainers) Get(context.Context, string) (containers.Container, error) {
	return containers.Container{}, errdefs.ErrNotFound
}

// client is one of a service without tasks and containers.
func client(t *testing.T) api.TasksClient {
	t.Helper()
	l := bufconn.Listen(1 << 16)
	server := grpc.NewServer()
	New(task.New(task.Config{Containers: noContainers{}})).Register(server)
	go server.Serve(l) //nolint:errcheck // it ends with the test
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("passthrough:tasks", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() }) //nolint:errcheck // the test is over
	return api.NewTasksClient(conn)
}

// Each method is there, and its errors have their code.
func TestCodes(t *testing.T) {
	c := client(t)
	for name, call := range map[string]func(context.Context) error{
		"Create": func(ctx context.Context) error { _, err := c.Create(ctx, &api.CreateTaskRequest{}); return err },
		"Start":  func(ctx context.Context) error { _, err := c.Start(ctx, &api.StartRequest{}); return err },
		"Delete": func(ctx context.Context) error { _, err := c.Delete(ctx, &api.DeleteTaskRequest{}); return err },
		"DeleteProcess": func(ctx context.Context) error {
			_, err := c.DeleteProcess(ctx, &api.DeleteProcessRequest{})
			return err
		},
		"Get":  func(ctx context.Context) error { _, err := c.Get(ctx, &api.GetRequest{}); return err },
		"Kill": func(ctx context.Context) error { _, err := c.Kill(ctx, &api.KillRequest{}); return err },
		"Exec": func(ctx context.Context) error {
			_, err := c.Exec(ctx, &api.ExecProcessRequest{ExecID: "x"})
			return err
		},
		"ResizePty":  func(ctx context.Context) error { _, err := c.ResizePty(ctx, &api.ResizePtyRequest{}); return err },
		"CloseIO":    func(ctx context.Context) error { _, err := c.CloseIO(ctx, &api.CloseIORequest{}); return err },
		"Pause":      func(ctx context.Context) error { _, err := c.Pause(ctx, &api.PauseTaskRequest{}); return err },
		"Resume":     func(ctx context.Context) error { _, err := c.Resume(ctx, &api.ResumeTaskRequest{}); return err },
		"ListPids":   func(ctx context.Context) error { _, err := c.ListPids(ctx, &api.ListPidsRequest{}); return err },
		"Checkpoint": func(ctx context.Context) error { _, err := c.Checkpoint(ctx, &api.CheckpointTaskRequest{}); return err },
		"Update":     func(ctx context.Context) error { _, err := c.Update(ctx, &api.UpdateTaskRequest{}); return err },
		"Wait":       func(ctx context.Context) error { _, err := c.Wait(ctx, &api.WaitRequest{}); return err },
	} {
		in := cnamespaces.WithNamespace(t.Context(), "tests")
		if err := call(in); status.Code(err) != codes.NotFound {
			t.Errorf("%s of an unknown container: %v", name, err)
		}
	}
}

func TestNamespaceIsRequired(t *testing.T) {
	c := client(t)
	if _, err := c.List(t.Context(), &api.ListTasksRequest{}); status.Code(err) != codes.FailedPrecondition {
		t.Error("list:", err)
	}
	if _, err := c.Metrics(t.Context(), &api.MetricsRequest{}); status.Code(err) != codes.FailedPrecondition {
		t.Error("metrics:", err)
	}
	if _, err := c.Create(t.Context(), &api.CreateTaskRequest{}); status.Code(err) != codes.FailedPrecondition {
		t.Error("create:", err)
	}
}

func TestEmptyLists(t *testing.T) {
	c := client(t)
	ctx := cnamespaces.WithNamespace(t.Context(), "tests")
	if r, err := c.List(ctx, &api.ListTasksRequest{}); err != nil || len(r.Tasks) != 0 {
		t.Error(r, err)
	}
	if r, err := c.Metrics(ctx, &api.MetricsRequest{}); err != nil || len(r.Metrics) != 0 {
		t.Error(r, err)
	}
	if _, err := c.Metrics(ctx, &api.MetricsRequest{Filters: []string{"=="}}); status.Code(err) != codes.InvalidArgument {
		t.Error(err)
	}
}
