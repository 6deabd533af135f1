package namespaces_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	eventtypes "github.com/containerd/containerd/api/events"
	api "github.com/containerd/containerd/api/services/namespaces/v1"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/metadata"
	core "github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/gantry-containers/gantry/manager/service/namespaces"
	"github.com/gantry-containers/gantry/manager/service/servicetest"
)

// perCall gives each call a transaction of its own.
type perCall struct{ db *metadata.DB }

func (s perCall) Create(ctx context.Context, name string, labels map[string]string) error {
	return s.db.Update(func(tx *bolt.Tx) error { return metadata.NewNamespaceStore(tx).Create(ctx, name, labels) })
}

func (s perCall) Labels(ctx context.Context, name string) (labels map[string]string, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		labels, err = metadata.NewNamespaceStore(tx).Labels(ctx, name)
		return err
	})
	return labels, err
}

func (s perCall) SetLabel(ctx context.Context, name, key, value string) error {
	return s.db.Update(func(tx *bolt.Tx) error { return metadata.NewNamespaceStore(tx).SetLabel(ctx, name, key, value) })
}

func (s perCall) List(ctx context.Context) (all []string, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		all, err = metadata.NewNamespaceStore(tx).List(ctx)
		return err
	})
	return all, err
}

func (s perCall) Delete(ctx context.Context, name string, opts ...core.DeleteOpts) error {
	return s.db.Update(func(tx *bolt.Tx) error { return metadata.NewNamespaceStore(tx).Delete(ctx, name, opts...) })
}

// together is a store that is a namespaces.Transactor, too.
type together struct{ perCall }

func (s together) Transact(_ context.Context, calls func(core.Store) error) error {
	return s.db.Update(func(tx *bolt.Tx) error { return calls(metadata.NewNamespaceStore(tx)) })
}

func TestErrors(t *testing.T) {
	stores := servicetest.Open(t)
	client := api.NewNamespacesClient(servicetest.Dial(t, namespaces.New(together{perCall{stores.DB}}, stores.Events)))
	name := servicetest.Namespace()
	long := strings.Repeat("x", 5000)
	create := func(n *api.Namespace) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Create(ctx, &api.CreateNamespaceRequest{Namespace: n})
			return err
		}
	}
	update := func(n *api.Namespace, paths ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Update(ctx, &api.UpdateNamespaceRequest{Namespace: n, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
			return err
		}
	}
	remove := func(name string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Delete(ctx, &api.DeleteNamespaceRequest{Name: name})
			return err
		}
	}
	get := func(name string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Get(ctx, &api.GetNamespaceRequest{Name: name})
			return err
		}
	}
	servicetest.Run(t, []servicetest.Row{
		{Name: "create", Call: create(&api.Namespace{Name: name})},
		{Name: "create again", Call: create(&api.Namespace{Name: name}), Want: codes.AlreadyExists},
		{Name: "create nothing", Call: create(nil), Want: codes.InvalidArgument, Ours: true},
		{Name: "create without name", Call: create(&api.Namespace{}), Want: codes.InvalidArgument},
		{Name: "create with a bad name", Call: create(&api.Namespace{Name: "../x"}), Want: codes.InvalidArgument},
		{Name: "create with a long name", Call: create(&api.Namespace{Name: long}), Want: codes.InvalidArgument},
		{Name: "create with a long label", Call: create(&api.Namespace{Name: name + "b", Labels: map[string]string{"a": long}}), Want: codes.InvalidArgument},
		{Name: "get", Call: get(name)},
		{Name: "get what was never made", Call: get(name + "never")},
		{Name: "get with a bad name", Call: get("../x")},
		{Name: "update a label", Call: update(&api.Namespace{Name: name, Labels: map[string]string{"a": "b"}}, "labels.a")},
		{Name: "update nothing", Call: update(nil), Want: codes.InvalidArgument, Ours: true},
		{Name: "update a bad name", Call: update(&api.Namespace{Name: "../x", Labels: map[string]string{"a": "b"}}), Want: codes.InvalidArgument, Ours: true},
		{Name: "update a field that there is not", Call: update(&api.Namespace{Name: name}, "name"), Want: codes.InvalidArgument},
		{Name: "update a label without key", Call: update(&api.Namespace{Name: name}, "labels."), Want: codes.InvalidArgument, Ours: true},
		{Name: "update a long label", Call: update(&api.Namespace{Name: name, Labels: map[string]string{"a": long}}), Want: codes.InvalidArgument, Real: codes.Unknown},
		{Name: "delete", Call: remove(name)},
		{Name: "delete again", Call: remove(name), Want: codes.NotFound},
		{Name: "delete nothing", Call: remove(""), Want: codes.InvalidArgument, Real: codes.NotFound},
	})
}

func TestLabels(t *testing.T) {
	stores := servicetest.Open(t)
	for kind, store := range map[string]core.Store{
		"a transaction a call":   perCall{stores.DB},
		"a transaction a change": together{perCall{stores.DB}},
	} {
		t.Run(kind, func(t *testing.T) { testLabels(t, store, stores.Events) })
	}
}

func testLabels(t *testing.T, store core.Store, events *servicetest.Recorder) {
	client := api.NewNamespacesClient(servicetest.Dial(t, namespaces.New(store, events)))
	remote := containerd.NewNamespaceStoreFromClient(client)
	ctx, name := t.Context(), servicetest.Namespace()
	labels := func(want map[string]string) {
		t.Helper()
		got, err := remote.Labels(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("labels (-want +got):\n%s", d)
		}
	}
	if err := remote.Create(ctx, name, map[string]string{"a": "1", "b": "2"}); err != nil {
		t.Fatal(err)
	}
	events.Expect(t, name, "/namespaces/create")
	events.ExpectLast(t, "/namespaces/create",
		&eventtypes.NamespaceCreate{Name: name, Labels: map[string]string{"a": "1", "b": "2"}})
	labels(map[string]string{"a": "1", "b": "2"})

	if err := remote.SetLabel(ctx, name, "a", "changed"); err != nil {
		t.Fatal(err)
	}
	events.Expect(t, name, "/namespaces/update")
	labels(map[string]string{"a": "changed", "b": "2"})

	if err := remote.SetLabel(ctx, name, "a", ""); err != nil {
		t.Fatal(err)
	}
	labels(map[string]string{"b": "2"})

	// Without a mask all labels are replaced.
	_, err := client.Update(ctx, &api.UpdateNamespaceRequest{Namespace: &api.Namespace{
		Name: name, Labels: map[string]string{"c": "3", "d": "4"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	labels(map[string]string{"c": "3", "d": "4"})
	all, err := remote.List(ctx)
	if err != nil || !slices.Contains(all, name) {
		t.Errorf("list %v, %v: %s is missing", all, err, name)
	}
	events.Expect(t, name, "/namespaces/update", "/namespaces/update")

	if err := remote.Delete(ctx, name); err != nil {
		t.Fatal(err)
	}
	events.Expect(t, name, "/namespaces/delete")
	events.ExpectLast(t, "/namespaces/delete", &eventtypes.NamespaceDelete{Name: name})
}

// A change that fails in the middle leaves the labels as they were.
func TestUpdateIsOneStep(t *testing.T) {
	stores := servicetest.Open(t)
	client := api.NewNamespacesClient(servicetest.Dial(t, namespaces.New(together{perCall{stores.DB}}, stores.Events)))
	ctx, name := t.Context(), servicetest.Namespace()
	want := map[string]string{"a": "1"}
	if _, err := client.Create(ctx, &api.CreateNamespaceRequest{Namespace: &api.Namespace{Name: name, Labels: want}}); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 5000)
	_, err := client.Update(ctx, &api.UpdateNamespaceRequest{Namespace: &api.Namespace{Name: name, Labels: map[string]string{"b": "2", "c": long}}})
	if err == nil {
		t.Error("a label of 5000 bytes is taken")
	}
	got, err := client.Get(ctx, &api.GetNamespaceRequest{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got.Namespace.Labels); d != "" {
		t.Errorf("labels (-want +got):\n%s", d)
	}
}

func TestNotEmpty(t *testing.T) {
	if servicetest.Oracle() {
		t.Skip("it writes past the service")
	}
	stores := servicetest.Open(t)
	client := api.NewNamespacesClient(servicetest.Dial(t, namespaces.New(together{perCall{stores.DB}}, stores.Events)))
	name := servicetest.Namespace()
	ctx := core.WithNamespace(t.Context(), name)
	is := metadata.NewImageStore(stores.DB)
	_, err := is.Create(ctx, images.Image{Name: "image", Target: ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("x"), Size: 1,
	}})
	if err != nil {
		t.Fatal(err)
	}
	stores.Events.Expect(t, name, "/images/create")
	_, err = client.Delete(t.Context(), &api.DeleteNamespaceRequest{Name: name})
	want := fmt.Sprintf("namespace %q must be empty, but it still has images", name)
	if servicetest.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), want) {
		t.Errorf("delete of a namespace with an image: %v, want %s", err, want)
	}
	stores.Events.Expect(t, name)
	if err := is.Delete(ctx, "image"); err != nil {
		t.Fatal(err)
	}
	stores.Events.Expect(t, name, "/images/delete")
	if _, err := client.Delete(t.Context(), &api.DeleteNamespaceRequest{Name: name}); err != nil {
		t.Error(err)
	}
	stores.Events.Expect(t, name, "/namespaces/delete")
}
