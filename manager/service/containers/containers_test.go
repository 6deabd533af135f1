package containers_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	eventtypes "github.com/containerd/containerd/api/events"
	api "github.com/containerd/containerd/api/services/containers/v1"
	containerd "github.com/containerd/containerd/v2/client"
	core "github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/gantry-containers/gantry/manager/service/containers"
	"github.com/gantry-containers/gantry/manager/service/servicetest"
)

func serve(t *testing.T) (api.ContainersClient, *servicetest.Stores) {
	stores := servicetest.Open(t)
	conn := servicetest.Dial(t, containers.New(metadata.NewContainerStore(stores.DB), stores.Events))
	return api.NewContainersClient(conn), stores
}

func message(t *testing.T, s string) *anypb.Any {
	t.Helper()
	a, err := anypb.New(wrapperspb.String(s))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestErrors(t *testing.T) {
	client, _ := serve(t)
	spec := message(t, "spec")
	long := strings.Repeat("x", 5000)
	type container = api.Container
	runtime := &api.Container_Runtime{Name: "io.containerd.runc.v2"}
	create := func(c *container) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Create(ctx, &api.CreateContainerRequest{Container: c})
			return err
		}
	}
	update := func(c *container, paths ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Update(ctx, &api.UpdateContainerRequest{Container: c, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
			return err
		}
	}
	remove := func(id string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Delete(ctx, &api.DeleteContainerRequest{ID: id})
			return err
		}
	}
	get := func(id string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Get(ctx, &api.GetContainerRequest{ID: id})
			return err
		}
	}
	list := func(filters ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.List(ctx, &api.ListContainersRequest{Filters: filters})
			return err
		}
	}
	stream := func(filters ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			s, err := client.ListStream(ctx, &api.ListContainersRequest{Filters: filters})
			if err == nil {
				_, err = s.Recv()
			}
			return err
		}
	}
	nowhere := func(call func(context.Context) error) func(context.Context) error {
		return func(context.Context) error { return call(t.Context()) }
	}
	bad := func(call func(context.Context) error) func(context.Context) error {
		return func(context.Context) error { return call(namespaces.WithNamespace(t.Context(), "../x")) }
	}
	ok := &container{ID: "one", Runtime: runtime, Spec: spec}

	servicetest.Run(t, []servicetest.Row{
		{Name: "create", Call: create(ok)},
		{Name: "create again", Call: create(ok), Want: codes.AlreadyExists},
		{Name: "create nothing", Call: create(nil), Want: codes.InvalidArgument, Ours: true},
		{Name: "create without id", Call: create(&container{Runtime: runtime, Spec: spec}), Want: codes.InvalidArgument},
		{Name: "create with a bad id", Call: create(&container{ID: "a/../b", Runtime: runtime, Spec: spec}), Want: codes.InvalidArgument},
		{Name: "create with a long id", Call: create(&container{ID: long, Runtime: runtime, Spec: spec}), Want: codes.InvalidArgument},
		{Name: "create without runtime", Call: create(&container{ID: "two", Spec: spec}), Want: codes.InvalidArgument},
		{Name: "create without spec", Call: create(&container{ID: "bare", Runtime: runtime})},
		{Name: "create with a long label", Call: create(&container{ID: "two", Runtime: runtime, Spec: spec, Labels: map[string]string{"a": long}}), Want: codes.InvalidArgument},
		{Name: "create with a nameless extension", Call: create(&container{ID: "two", Runtime: runtime, Spec: spec, Extensions: map[string]*anypb.Any{"": spec}}), Want: codes.InvalidArgument},
		{Name: "create with a snapshot but no snapshotter", Call: create(&container{ID: "two", Runtime: runtime, Spec: spec, SnapshotKey: "k"}), Want: codes.InvalidArgument},
		{Name: "create in no namespace", Call: nowhere(create(ok)), Want: codes.FailedPrecondition},
		{Name: "create in a bad namespace", Call: bad(create(ok)), Want: codes.InvalidArgument},
		{Name: "get", Call: get("one")},
		{Name: "get what a failed create left", Call: get("two"), Want: codes.NotFound},
		{Name: "get nothing", Call: get(""), Want: codes.NotFound},
		{Name: "get in no namespace", Call: nowhere(get("one")), Want: codes.FailedPrecondition},
		{Name: "list", Call: list("id==one")},
		{Name: "list with a bad filter", Call: list("id=="), Want: codes.InvalidArgument},
		{Name: "list in no namespace", Call: nowhere(list()), Want: codes.FailedPrecondition},
		{Name: "stream with a bad filter", Call: stream("]"), Want: codes.InvalidArgument},
		{Name: "stream in no namespace", Call: nowhere(stream()), Want: codes.FailedPrecondition},
		{Name: "update", Call: update(ok, "labels")},
		{Name: "update nothing", Call: update(nil), Want: codes.InvalidArgument, Ours: true},
		{Name: "update without id", Call: update(&container{}), Want: codes.InvalidArgument},
		{Name: "update what is not there", Call: update(&container{ID: "two", Runtime: runtime, Spec: spec}, "labels"), Want: codes.NotFound},
		{Name: "update a field that there is not", Call: update(ok, "nonsense"), Want: codes.InvalidArgument},
		{Name: "update the runtime", Call: update(&container{ID: "one", Runtime: &api.Container_Runtime{Name: "other"}, Spec: spec}), Want: codes.InvalidArgument},
		{Name: "update without runtime", Call: update(&container{ID: "one", Labels: map[string]string{"a": "b"}}, "labels.a")},
		{Name: "update an extension that is missing", Call: update(&container{ID: "one"}, "extensions.a")},
		{Name: "update the spec to nothing", Call: update(&container{ID: "one", Runtime: runtime}, "spec")},
		{Name: "delete", Call: remove("one")},
		{Name: "delete again", Call: remove("one"), Want: codes.NotFound},
		{Name: "delete nothing", Call: remove(""), Want: codes.InvalidArgument, Real: codes.NotFound},
		{Name: "delete in no namespace", Call: nowhere(remove("one")), Want: codes.FailedPrecondition},
	})
}

func TestLife(t *testing.T) {
	client, stores := serve(t)
	namespace := servicetest.Namespace()
	ctx := namespaces.WithNamespace(t.Context(), namespace)
	store := containerd.NewRemoteContainerStore(client)

	want := core.Container{
		ID:          "one",
		Labels:      map[string]string{"a": "1", "b": "2"},
		Image:       "image",
		Runtime:     core.RuntimeInfo{Name: "io.containerd.runc.v2", Options: message(t, "options")},
		Spec:        message(t, "spec"),
		Snapshotter: "native",
		SnapshotKey: "key",
		Extensions:  map[string]typeurl.Any{"x": message(t, "x")},
		SandboxID:   "sandbox",
	}
	created, err := store.Create(ctx, want)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, created, want)
	stores.Events.Expect(t, namespace, "/containers/create")
	stores.Events.ExpectLast(t, "/containers/create", &eventtypes.ContainerCreate{
		ID: "one", Image: "image",
		Runtime: &eventtypes.ContainerCreate_Runtime{Name: "io.containerd.runc.v2", Options: message(t, "options")},
	})

	change := want
	change.Labels = map[string]string{"a": "changed", "b": "not named in the mask"}
	change.Image = "not named either"
	want.Labels = map[string]string{"a": "changed", "b": "2"}
	updated, err := store.Update(ctx, change, "labels.a")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, updated, want)
	stores.Events.Expect(t, namespace, "/containers/update")
	stores.Events.ExpectLast(t, "/containers/update", &eventtypes.ContainerUpdate{
		ID: "one", Image: "image", Labels: want.Labels, SnapshotKey: "key",
	})

	want.Labels = map[string]string{"only": "this"}
	want.Image = "other"
	if _, err := store.Update(ctx, want); err != nil {
		t.Fatal(err)
	}
	got, err := store.Get(ctx, "one")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, got, want)
	if !got.UpdatedAt.After(got.CreatedAt) {
		t.Errorf("updated at %v, created at %v", got.UpdatedAt, got.CreatedAt)
	}
	stores.Events.Expect(t, namespace, "/containers/update")

	if err := store.Delete(ctx, "one"); err != nil {
		t.Fatal(err)
	}
	stores.Events.Expect(t, namespace, "/containers/delete")
	if err := store.Delete(ctx, "one"); !errdefs.IsNotFound(err) {
		t.Errorf("a second delete: %v", err)
	}
	stores.Events.Expect(t, namespace)
}

func expect(t *testing.T, got, want core.Container) {
	t.Helper()
	text := func(c core.Container) string {
		extensions := string(c.Extensions["x"].GetValue())
		return fmt.Sprintf("%s %v %s %s %s %s %s %s %s %s", c.ID, c.Labels, c.Image, c.Runtime.Name,
			c.Runtime.Options.GetValue(), c.Spec.GetValue(), c.Snapshotter, c.SnapshotKey, extensions, c.SandboxID)
	}
	if d := cmp.Diff(text(want), text(got)); d != "" {
		t.Errorf("container (-want +got):\n%s", d)
	}
}

// Lists longer than a message may be come by the stream.
func TestListStream(t *testing.T) {
	client, _ := serve(t)
	ctx := servicetest.Context(t)
	const many = 40
	spec := message(t, strings.Repeat("s", 1<<19))
	for i := range many {
		_, err := client.Create(ctx, &api.CreateContainerRequest{Container: &api.Container{
			ID: fmt.Sprintf("c%02d", i), Spec: spec, Runtime: &api.Container_Runtime{Name: "r"},
			Labels: map[string]string{"odd": fmt.Sprint(i % 2)},
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.List(ctx, &api.ListContainersRequest{}); servicetest.Code(err) != codes.ResourceExhausted {
		t.Errorf("a list of 20 MB in one message: %v", err)
	}
	store := containerd.NewRemoteContainerStore(client)
	for _, c := range []struct {
		filters []string
		want    int
	}{{nil, many}, {[]string{"labels.odd==1"}, many / 2}, {[]string{"id==c00", "id==c01"}, 2}} {
		got, err := store.List(ctx, c.filters...)
		if err != nil || len(got) != c.want {
			t.Errorf("%v: %d containers, %v; want %d", c.filters, len(got), err, c.want)
		}
	}
}

// A change that is in the database is answered as done, even where it cannot be told.
func TestEventsThatCannotBeTold(t *testing.T) {
	if servicetest.Oracle() {
		t.Skip("a containerd's events cannot be broken")
	}
	client, stores := serve(t)
	stores.Events.Err = errors.New("disk full")
	ctx := servicetest.Context(t)
	_, err := client.Create(ctx, &api.CreateContainerRequest{Container: &api.Container{
		ID: "one", Spec: message(t, ""), Runtime: &api.Container_Runtime{Name: "r"},
	}})
	if err != nil {
		t.Error(err)
	}
	if _, err := client.Delete(ctx, &api.DeleteContainerRequest{ID: "one"}); err != nil {
		t.Error(err)
	}
}
