package images_test

import (
	"context"
	"strings"
	"testing"
	"time"

	eventtypes "github.com/containerd/containerd/api/events"
	api "github.com/containerd/containerd/api/services/images/v1"
	"github.com/containerd/containerd/api/types"
	containerd "github.com/containerd/containerd/v2/client"
	core "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/pkg/epoch"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/gantry-containers/gantry/manager/service/images"
	"github.com/gantry-containers/gantry/manager/service/servicetest"
)

func serve(t *testing.T) (api.ImagesClient, *servicetest.Stores) {
	stores := servicetest.Open(t)
	conn := servicetest.Dial(t, images.New(metadata.NewImageStore(stores.DB), stores.Collect))
	return api.NewImagesClient(conn), stores
}

func TestErrors(t *testing.T) {
	client, _ := serve(t)
	target := &types.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("a").String(), Size: 10}
	create := func(i *api.Image) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Create(ctx, &api.CreateImageRequest{Image: i})
			return err
		}
	}
	update := func(i *api.Image, paths ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Update(ctx, &api.UpdateImageRequest{Image: i, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
			return err
		}
	}
	remove := func(r *api.DeleteImageRequest) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Delete(ctx, r)
			return err
		}
	}
	get := func(name string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Get(ctx, &api.GetImageRequest{Name: name})
			return err
		}
	}
	list := func(filters ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.List(ctx, &api.ListImagesRequest{Filters: filters})
			return err
		}
	}
	nowhere := func(call func(context.Context) error) func(context.Context) error {
		return func(context.Context) error { return call(t.Context()) }
	}
	ok := &api.Image{Name: "one", Target: target}
	other := &types.Descriptor{MediaType: target.MediaType, Digest: digest.FromString("b").String(), Size: 10}
	huge := strings.Repeat("x", 40000)
	servicetest.Run(t, []servicetest.Row{
		{Name: "create", Call: create(ok)},
		{Name: "create again", Call: create(ok), Want: codes.AlreadyExists},
		{Name: "create nothing", Call: create(nil), Want: codes.InvalidArgument, Ours: true},
		{Name: "create without name", Call: create(&api.Image{Target: target}), Want: codes.InvalidArgument},
		{Name: "create with a huge name", Call: create(&api.Image{Name: huge, Target: target}), Want: codes.InvalidArgument, Ours: true},
		{Name: "create without target", Call: create(&api.Image{Name: "two"}), Want: codes.InvalidArgument, Ours: true},
		{Name: "create with an empty target", Call: create(&api.Image{Name: "two", Target: &types.Descriptor{}}), Want: codes.InvalidArgument},
		{Name: "create with garbage for a digest", Call: create(&api.Image{Name: "two", Target: &types.Descriptor{MediaType: "a", Digest: "garbage", Size: 1}}), Want: codes.InvalidArgument},
		{Name: "create without size", Call: create(&api.Image{Name: "two", Target: &types.Descriptor{MediaType: "a", Digest: target.Digest}}), Want: codes.InvalidArgument},
		{Name: "create with a long label", Call: create(&api.Image{Name: "two", Target: target, Labels: map[string]string{"a": huge}}), Want: codes.InvalidArgument},
		{Name: "create in no namespace", Call: nowhere(create(ok)), Want: codes.FailedPrecondition},
		{Name: "create at no time", Want: codes.InvalidArgument, Call: func(ctx context.Context) error {
			_, err := client.Create(ctx, &api.CreateImageRequest{
				Image:           &api.Image{Name: "two", Target: target},
				SourceDateEpoch: &timestamppb.Timestamp{Seconds: 1 << 60},
			})
			return err
		}, Ours: true},
		{Name: "get", Call: get("one")},
		{Name: "get what a failed create left", Call: get("two"), Want: codes.NotFound},
		{Name: "get nothing", Call: get(""), Want: codes.NotFound},
		{Name: "get in no namespace", Call: nowhere(get("one")), Want: codes.FailedPrecondition},
		{Name: "list", Call: list("name==one")},
		{Name: "list with a bad filter", Call: list("name=="), Want: codes.InvalidArgument},
		{Name: "list in no namespace", Call: nowhere(list()), Want: codes.FailedPrecondition},
		{Name: "update the labels", Call: update(&api.Image{Name: "one", Labels: map[string]string{"a": "b"}}, "labels"), Ours: true},
		{Name: "update nothing", Call: update(nil), Want: codes.InvalidArgument, Ours: true},
		{Name: "update without name", Call: update(&api.Image{}), Want: codes.InvalidArgument, Ours: true},
		{Name: "update what is not there", Call: update(&api.Image{Name: "two", Target: target}), Want: codes.NotFound},
		{Name: "update a field that there is not", Call: update(ok, "nonsense"), Want: codes.InvalidArgument},
		{Name: "update the target to nothing", Call: update(&api.Image{Name: "one"}, "target"), Want: codes.InvalidArgument, Ours: true},
		{Name: "delete another target", Call: remove(&api.DeleteImageRequest{Name: "one", Target: other}), Want: codes.NotFound},
		{Name: "delete", Call: remove(&api.DeleteImageRequest{Name: "one", Target: target})},
		{Name: "delete again", Call: remove(&api.DeleteImageRequest{Name: "one"}), Want: codes.NotFound},
		{Name: "delete again and collect", Call: remove(&api.DeleteImageRequest{Name: "one", Sync: true}), Want: codes.NotFound},
		{Name: "delete nothing", Call: remove(&api.DeleteImageRequest{}), Want: codes.InvalidArgument, Real: codes.Unknown},
		{Name: "delete in no namespace", Call: nowhere(remove(&api.DeleteImageRequest{Name: "one"})), Want: codes.FailedPrecondition},
	})
}

func TestLife(t *testing.T) {
	client, stores := serve(t)
	namespace := servicetest.Namespace()
	ctx := namespaces.WithNamespace(t.Context(), namespace)
	store := containerd.NewImageStoreFromClient(client)
	want := core.Image{
		Name:   "registry.example/a/b:1",
		Labels: map[string]string{"a": "1", "b": "2"},
		Target: ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromString("a"), Size: 7,
			Annotations: map[string]string{"x": "y"},
		},
	}
	expect := func(got core.Image, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, cmpopts.IgnoreFields(core.Image{}, "CreatedAt", "UpdatedAt")); d != "" {
			t.Errorf("image (-want +got):\n%s", d)
		}
	}
	expect(store.Create(ctx, want))
	stores.Events.Expect(t, namespace, "/images/create")
	stores.Events.ExpectLast(t, "/images/create", &eventtypes.ImageCreate{Name: want.Name, Labels: want.Labels})

	change := want
	change.Labels = map[string]string{"a": "changed", "b": "not named in the mask"}
	change.Target = ocispec.Descriptor{MediaType: "other", Digest: digest.FromString("b"), Size: 8}
	want.Labels = map[string]string{"a": "changed", "b": "2"}
	expect(store.Update(ctx, change, "labels.a"))
	want.Target = change.Target
	expect(store.Update(ctx, change, "target"))
	want.Labels = change.Labels
	expect(store.Update(ctx, change))
	expect(store.Get(ctx, want.Name))
	stores.Events.Expect(t, namespace, "/images/update", "/images/update", "/images/update")

	if err := store.Delete(ctx, want.Name, core.SynchronousDelete()); err != nil {
		t.Fatal(err)
	}
	stores.Events.Expect(t, namespace, "/images/delete")
	if n := stores.Collected.Load(); n != 1 && !servicetest.Oracle() {
		t.Errorf("garbage was collected %d times, want once", n)
	}
}

// Builds that can be repeated give their images a time.
func TestSourceDateEpoch(t *testing.T) {
	client, _ := serve(t)
	store := containerd.NewImageStoreFromClient(client)
	at := time.Date(2020, 2, 2, 2, 2, 2, 0, time.UTC)
	ctx := epoch.WithSourceDateEpoch(servicetest.Context(t), &at)
	image := core.Image{Name: "one", Target: ocispec.Descriptor{MediaType: "a", Digest: digest.FromString("a"), Size: 7}}
	got, err := store.Create(ctx, image)
	if err != nil {
		t.Fatal(err)
	}
	if !got.CreatedAt.Equal(at) || !got.UpdatedAt.Equal(at) {
		t.Errorf("created %v, updated %v, want %v", got.CreatedAt, got.UpdatedAt, at)
	}
	at = at.Add(time.Hour)
	got, err = store.Update(ctx, image, "labels")
	if err != nil {
		t.Fatal(err)
	}
	if !got.UpdatedAt.Equal(at) {
		t.Errorf("updated %v, want %v", got.UpdatedAt, at)
	}
}
