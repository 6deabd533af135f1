package sandboxes_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	eventtypes "github.com/containerd/containerd/api/events"
	api "github.com/containerd/containerd/api/services/sandbox/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/mount"
	core "github.com/containerd/containerd/v2/core/sandbox"
	"github.com/containerd/containerd/v2/core/sandbox/proxy"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"github.com/google/go-cmp/cmp"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/gantry-containers/gantry/manager/service/sandboxes"
	"github.com/gantry-containers/gantry/manager/service/servicetest"
)

func serve(t *testing.T, controllers map[string]core.Controller) (*grpc.ClientConn, *servicetest.Stores) {
	stores := servicetest.Open(t)
	return servicetest.Dial(t, sandboxes.New(metadata.NewSandboxStore(stores.DB), controllers, stores.Events)), stores
}

func message(t *testing.T, s string) *anypb.Any {
	t.Helper()
	a, err := anypb.New(wrapperspb.String(s))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestStoreErrors(t *testing.T) {
	conn, _ := serve(t, nil)
	client := api.NewStoreClient(conn)
	runtime := &types.Sandbox_Runtime{Name: "io.containerd.runc.v2"}
	create := func(s *types.Sandbox) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Create(ctx, &api.StoreCreateRequest{Sandbox: s})
			return err
		}
	}
	update := func(s *types.Sandbox, fields ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Update(ctx, &api.StoreUpdateRequest{Sandbox: s, Fields: fields})
			return err
		}
	}
	remove := func(id string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Delete(ctx, &api.StoreDeleteRequest{SandboxID: id})
			return err
		}
	}
	get := func(id string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Get(ctx, &api.StoreGetRequest{SandboxID: id})
			return err
		}
	}
	list := func(filters ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.List(ctx, &api.StoreListRequest{Filters: filters})
			return err
		}
	}
	nowhere := func(call func(context.Context) error) func(context.Context) error {
		return func(context.Context) error { return call(t.Context()) }
	}
	ok := &types.Sandbox{SandboxID: "one", Runtime: runtime, Spec: message(t, "spec")}
	servicetest.Run(t, []servicetest.Row{
		{Name: "list in an empty namespace", Call: list()},
		{Name: "delete in an empty namespace", Call: remove("one"), Want: codes.NotFound},
		{Name: "create", Call: create(ok)},
		{Name: "create again", Call: create(ok), Want: codes.AlreadyExists},
		{Name: "create nothing", Call: create(nil), Want: codes.InvalidArgument, Ours: true},
		{Name: "create without id", Call: create(&types.Sandbox{Runtime: runtime}), Want: codes.InvalidArgument},
		{Name: "create with a bad id", Call: create(&types.Sandbox{SandboxID: "../x", Runtime: runtime}), Want: codes.InvalidArgument},
		{Name: "create without runtime", Call: create(&types.Sandbox{SandboxID: "bare"}), Ours: true},
		{Name: "create in no namespace", Call: nowhere(create(ok)), Want: codes.FailedPrecondition},
		{Name: "get", Call: get("one")},
		{Name: "get what is not there", Call: get("none"), Want: codes.NotFound},
		{Name: "get nothing", Call: get(""), Want: codes.NotFound},
		{Name: "get in no namespace", Call: nowhere(get("one")), Want: codes.FailedPrecondition},
		{Name: "list with a bad filter", Call: list("id=="), Want: codes.InvalidArgument},
		{Name: "list in no namespace", Call: nowhere(list()), Want: codes.FailedPrecondition},
		{Name: "update", Call: update(ok, "labels")},
		{Name: "update nothing", Call: update(nil), Want: codes.InvalidArgument, Ours: true},
		{Name: "update what is not there", Call: update(&types.Sandbox{SandboxID: "none", Runtime: runtime}), Want: codes.NotFound},
		{Name: "update a field that there is not", Call: update(ok, "nonsense"), Want: codes.InvalidArgument},
		{Name: "update the runtime", Call: update(&types.Sandbox{SandboxID: "one", Runtime: &types.Sandbox_Runtime{Name: "other"}}), Want: codes.InvalidArgument},
		{Name: "update in no namespace", Call: nowhere(update(ok)), Want: codes.FailedPrecondition},
		{Name: "delete", Call: remove("one")},
		{Name: "delete again", Call: remove("one"), Want: codes.NotFound},
		{Name: "delete nothing", Call: remove(""), Want: codes.InvalidArgument, Real: codes.Unknown},
		{Name: "delete in no namespace", Call: nowhere(remove("one")), Want: codes.FailedPrecondition},
	})
}

func TestStoreLife(t *testing.T) {
	conn, _ := serve(t, nil)
	store := proxy.NewSandboxStore(api.NewStoreClient(conn))
	ctx := servicetest.Context(t)
	want := core.Sandbox{
		ID:         "one",
		Labels:     map[string]string{"a": "1"},
		Runtime:    core.RuntimeOpts{Name: "r", Options: message(t, "options")},
		Spec:       message(t, "spec"),
		Sandboxer:  "shim",
		Extensions: map[string]typeurl.Any{"x": message(t, "x")},
	}
	text := func(s core.Sandbox) string {
		return fmt.Sprintf("%s %v %s %s %s %s %s", s.ID, s.Labels, s.Runtime.Name, s.Runtime.Options.GetValue(),
			s.Spec.GetValue(), s.Sandboxer, s.Extensions["x"].GetValue())
	}
	expect := func(got core.Sandbox, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(text(want), text(got)); d != "" {
			t.Errorf("sandbox (-want +got):\n%s", d)
		}
	}
	expect(store.Create(ctx, want))
	change := want
	change.Labels = map[string]string{"a": "changed", "b": "not named"}
	want.Labels = map[string]string{"a": "changed"}
	expect(store.Update(ctx, change, "labels.a"))
	expect(store.Get(ctx, "one"))
	found, err := store.List(ctx, "id==one")
	if err != nil || len(found) != 1 {
		t.Fatalf("list: %d sandboxes, %v", len(found), err)
	}
	expect(found[0], nil)
	if err := store.Delete(ctx, "one"); err != nil {
		t.Error(err)
	}
}

// calls are the RPCs of a controller.
func calls(client api.ControllerClient, id, sandboxer string) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"create": func(ctx context.Context) error {
			_, err := client.Create(ctx, &api.ControllerCreateRequest{SandboxID: id, Sandboxer: sandboxer})
			return err
		},
		"start": func(ctx context.Context) error {
			_, err := client.Start(ctx, &api.ControllerStartRequest{SandboxID: id, Sandboxer: sandboxer})
			return err
		},
		"platform": func(ctx context.Context) error {
			_, err := client.Platform(ctx, &api.ControllerPlatformRequest{SandboxID: id, Sandboxer: sandboxer})
			return err
		},
		"stop": func(ctx context.Context) error {
			_, err := client.Stop(ctx, &api.ControllerStopRequest{SandboxID: id, Sandboxer: sandboxer})
			return err
		},
		"wait": func(ctx context.Context) error {
			_, err := client.Wait(ctx, &api.ControllerWaitRequest{SandboxID: id, Sandboxer: sandboxer})
			return err
		},
		"status": func(ctx context.Context) error {
			_, err := client.Status(ctx, &api.ControllerStatusRequest{SandboxID: id, Sandboxer: sandboxer})
			return err
		},
		"shutdown": func(ctx context.Context) error {
			_, err := client.Shutdown(ctx, &api.ControllerShutdownRequest{SandboxID: id, Sandboxer: sandboxer})
			return err
		},
		"metrics": func(ctx context.Context) error {
			_, err := client.Metrics(ctx, &api.ControllerMetricsRequest{SandboxID: id, Sandboxer: sandboxer})
			return err
		},
		"update": func(ctx context.Context) error {
			_, err := client.Update(ctx, &api.ControllerUpdateRequest{SandboxID: id, Sandboxer: sandboxer, Sandbox: &types.Sandbox{}})
			return err
		},
	}
}

func TestControllerThatThereIsNot(t *testing.T) {
	conn, _ := serve(t, nil)
	client := api.NewControllerClient(conn)
	var rows []servicetest.Row
	for sandboxer, want := range map[string]codes.Code{"": codes.InvalidArgument, "none": codes.NotFound} {
		for name, call := range calls(client, "one", sandboxer) {
			// containerd has no Platform at all.
			rows = append(rows, servicetest.Row{Name: name + " by " + sandboxer, Call: call, Want: want, Ours: name == "platform"})
		}
	}
	servicetest.Run(t, rows)
}

// fake is a controller that remembers its last call.
type fake struct {
	id      string
	sandbox core.Sandbox
	create  core.CreateOptions
	stop    core.StopOptions
	verbose bool
	fields  []string
	err     error
}

var at = time.Unix(1e9, 5).UTC()

func (f *fake) Create(_ context.Context, s core.Sandbox, opts ...core.CreateOpt) error {
	f.id, f.sandbox = s.ID, s
	for _, o := range opts {
		f.err = errors.Join(f.err, o(&f.create))
	}
	return f.err
}

func (f *fake) Start(_ context.Context, id string) (core.ControllerInstance, error) {
	f.id = id
	return core.ControllerInstance{SandboxID: id, Pid: 7, CreatedAt: at, Labels: map[string]string{"a": "b"}, Address: "unix:///x", Version: 3}, f.err
}

func (f *fake) Platform(_ context.Context, id string) (imagespec.Platform, error) {
	f.id = id
	return imagespec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}, f.err
}

func (f *fake) Stop(_ context.Context, id string, opts ...core.StopOpt) error {
	f.id = id
	for _, o := range opts {
		o(&f.stop)
	}
	return f.err
}

func (f *fake) Wait(_ context.Context, id string) (core.ExitStatus, error) {
	f.id = id
	return core.ExitStatus{ExitStatus: 3, ExitedAt: at}, f.err
}

func (f *fake) Status(_ context.Context, id string, verbose bool) (core.ControllerStatus, error) {
	f.id, f.verbose = id, verbose
	return core.ControllerStatus{SandboxID: id, Pid: 7, State: "ready", Info: map[string]string{"a": "b"}, CreatedAt: at, ExitedAt: at, Address: "unix:///x", Version: 3}, f.err
}

func (f *fake) Shutdown(_ context.Context, id string) error {
	f.id = id
	return f.err
}

func (f *fake) Metrics(_ context.Context, id string) (*types.Metric, error) {
	f.id = id
	return &types.Metric{ID: id}, f.err
}

func (f *fake) Update(_ context.Context, id string, s core.Sandbox, fields ...string) error {
	f.id, f.sandbox, f.fields = id, s, fields
	return f.err
}

func TestController(t *testing.T) {
	if servicetest.Oracle() {
		t.Skip("it needs a controller of its own")
	}
	f := &fake{}
	conn, stores := serve(t, map[string]core.Controller{"fake": f})
	remote := proxy.NewSandboxController(api.NewControllerClient(conn), "fake")
	namespace := servicetest.Namespace()
	ctx := namespaces.WithNamespace(t.Context(), namespace)

	rootfs := []mount.Mount{{Type: "bind", Source: "/"}}
	err := remote.Create(ctx, core.Sandbox{ID: "one", Labels: map[string]string{"l": "v"}}, core.WithNetNSPath("/netns"), core.WithRootFS(rootfs),
		core.WithAnnotations(map[string]string{"a": "b"}), core.WithOptions(message(t, "options")))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(rootfs, f.create.Rootfs); d != "" {
		t.Errorf("rootfs (-want +got):\n%s", d)
	}
	if f.id != "one" || f.sandbox.Labels["l"] != "v" || f.create.NetNSPath != "/netns" || f.create.Annotations["a"] != "b" ||
		string(f.create.Options.GetValue()) != string(message(t, "options").Value) {
		t.Errorf("created %+v with %+v", f.sandbox, f.create)
	}
	stores.Events.Expect(t, namespace, "/sandboxes/create")

	started, err := remote.Start(ctx, "one")
	if err != nil || started.Pid != 7 || !started.CreatedAt.Equal(at) || started.Address != "unix:///x" || started.Version != 3 {
		t.Errorf("started %+v, %v", started, err)
	}
	stores.Events.Expect(t, namespace, "/sandboxes/start")

	platform, err := remote.Platform(ctx, "one")
	if err != nil || platform.OS != "linux" || platform.Architecture != "arm64" || platform.Variant != "v8" {
		t.Errorf("platform %+v, %v", platform, err)
	}
	status, err := remote.Status(ctx, "one", true)
	if err != nil || !f.verbose || status.State != "ready" || status.Pid != 7 || status.Info["a"] != "b" || !status.ExitedAt.Equal(at) {
		t.Errorf("status %+v, %v", status, err)
	}
	if m, err := remote.Metrics(ctx, "one"); err != nil || m.ID != "one" {
		t.Errorf("metrics %v, %v", m, err)
	}
	// Not by the proxy, which forgets to say which controller it means.
	_, err = api.NewControllerClient(conn).Update(ctx, &api.ControllerUpdateRequest{
		SandboxID: "one", Sandboxer: "fake", Sandbox: &types.Sandbox{SandboxID: "one"}, Fields: []string{"labels"},
	})
	if err != nil || len(f.fields) != 1 {
		t.Errorf("update of %v, %v", f.fields, err)
	}
	if err := remote.Stop(ctx, "one", core.WithTimeout(9*time.Second)); err != nil || *f.stop.Timeout != 9*time.Second {
		t.Errorf("stop with %v, %v", f.stop, err)
	}
	exit, err := remote.Wait(ctx, "one")
	if err != nil || exit.ExitStatus != 3 || !exit.ExitedAt.Equal(at) {
		t.Errorf("exit %+v, %v", exit, err)
	}
	stores.Events.Expect(t, namespace, "/sandboxes/exit")
	stores.Events.ExpectLast(t, "/sandboxes/exit", &eventtypes.SandboxExit{SandboxID: "one", ExitStatus: 3, ExitedAt: timestamppb.New(at)})
	if err := remote.Shutdown(ctx, "one"); err != nil {
		t.Error(err)
	}
	_, err = api.NewControllerClient(conn).Update(ctx, &api.ControllerUpdateRequest{SandboxID: "one", Sandboxer: "fake"})
	if servicetest.Code(err) != codes.InvalidArgument {
		t.Errorf("update with nothing: %v", err)
	}

	// What a controller says of a failure is what the client reads, and no event tells of it.
	f.err = fmt.Errorf("broken: %w", errdefs.ErrUnavailable)
	for name, call := range calls(api.NewControllerClient(conn), "one", "fake") {
		if err := call(ctx); servicetest.Code(err) != codes.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
	stores.Events.Expect(t, namespace)
}
