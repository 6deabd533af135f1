package diff_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	api "github.com/containerd/containerd/api/services/diff/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/content"
	core "github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/diff/apply"
	"github.com/containerd/containerd/v2/core/diff/proxy"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/plugins/diff/walking"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/gantry-containers/gantry/manager/service/diff"
	"github.com/gantry-containers/gantry/manager/service/servicetest"
	"github.com/gantry-containers/gantry/tests/harness"
)

func TestErrors(t *testing.T) {
	stores := servicetest.Open(t)
	store := stores.DB.ContentStore()
	client := api.NewDiffClient(servicetest.Dial(t, diff.New(walking.NewWalkingDiff(store), apply.NewFileSystemApplier(store))))
	absent := &types.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromString("absent").String(), Size: 6}
	apply := func(r *api.ApplyRequest) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Apply(ctx, r)
			return err
		}
	}
	compare := func(r *api.DiffRequest) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Diff(ctx, r)
			return err
		}
	}
	nowhere := func(call func(context.Context) error) func(context.Context) error {
		return func(context.Context) error { return call(t.Context()) }
	}
	servicetest.Run(t, []servicetest.Row{
		{Name: "apply nothing", Call: apply(&api.ApplyRequest{}), Want: codes.InvalidArgument, Ours: true},
		{Name: "apply garbage", Call: apply(&api.ApplyRequest{Diff: &types.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: "garbage"}}), Want: codes.InvalidArgument, Ours: true},
		{Name: "apply what is not there", Call: apply(&api.ApplyRequest{Diff: absent}), Want: codes.NotFound},
		{Name: "apply a media type that there is not", Call: apply(&api.ApplyRequest{Diff: &types.Descriptor{MediaType: "text/plain", Digest: absent.Digest}}), Want: codes.NotFound},
		{Name: "apply in no namespace", Call: nowhere(apply(&api.ApplyRequest{Diff: absent})), Want: codes.FailedPrecondition},
		{Name: "diff with a media type that there is not", Call: compare(&api.DiffRequest{MediaType: "text/plain"}), Want: codes.Unimplemented},
		{Name: "diff at no time", Call: compare(&api.DiffRequest{SourceDateEpoch: &timestamppb.Timestamp{Seconds: 1 << 60}}), Want: codes.InvalidArgument, Ours: true},
	})
}

// fake remembers what it was asked.
type fake struct {
	desc    ocispec.Descriptor
	mounts  [2][]mount.Mount
	config  core.Config
	applied core.ApplyConfig
	err     error
}

func (f *fake) Compare(_ context.Context, lower, upper []mount.Mount, opts ...core.Opt) (ocispec.Descriptor, error) {
	f.mounts = [2][]mount.Mount{lower, upper}
	for _, o := range opts {
		f.err = errors.Join(f.err, o(&f.config))
	}
	return f.desc, f.err
}

func (f *fake) Apply(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount, opts ...core.ApplyOpt) (ocispec.Descriptor, error) {
	f.mounts[0] = mounts
	for _, o := range opts {
		f.err = errors.Join(f.err, o(ctx, desc, &f.applied))
	}
	f.desc = desc
	return desc, f.err
}

// Everything in a request arrives.
func TestRequests(t *testing.T) {
	if servicetest.Oracle() {
		t.Skip("it needs a differ of its own")
	}
	f := &fake{desc: ocispec.Descriptor{MediaType: "m", Digest: digest.FromString("a"), Size: 3, Annotations: map[string]string{"x": "y"}}}
	client := api.NewDiffClient(servicetest.Dial(t, diff.New(f, f)))
	remote := proxy.NewDiffApplier(client)
	ctx := servicetest.Context(t)
	lower := []mount.Mount{{Type: "overlay", Source: "overlay", Target: "/t", Options: []string{"a", "b"}}}
	upper := []mount.Mount{{Type: "bind", Source: "/b"}}
	at := time.Date(2020, 2, 2, 2, 2, 2, 0, time.UTC)

	got, err := remote.(core.Comparer).Compare(ctx, lower, upper, core.WithMediaType("m"), core.WithReference("ref"),
		core.WithLabels(map[string]string{"l": "v"}), core.WithSourceDateEpoch(&at))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(f.desc, got); d != "" {
		t.Errorf("descriptor (-want +got):\n%s", d)
	}
	if d := cmp.Diff([2][]mount.Mount{lower, upper}, f.mounts); d != "" {
		t.Errorf("mounts (-want +got):\n%s", d)
	}
	c := f.config
	if c.MediaType != "m" || c.Reference != "ref" || c.Labels["l"] != "v" || c.SourceDateEpoch == nil || !c.SourceDateEpoch.Equal(at) {
		t.Errorf("options %+v", c)
	}

	payload, err := anypb.New(&types.Mount{Type: "payload"})
	if err != nil {
		t.Fatal(err)
	}
	got, err = remote.(core.Applier).Apply(ctx, f.desc, lower, core.WithSyncFs(true),
		core.WithPayloads(map[string]typeurl.Any{"p": payload}))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(f.desc, got); d != "" {
		t.Errorf("descriptor (-want +got):\n%s", d)
	}
	if !f.applied.SyncFs || f.applied.ProcessorPayloads["p"].GetTypeUrl() != payload.TypeUrl {
		t.Errorf("options %+v", f.applied)
	}
	f.err = errdefs.ErrUnavailable
	if _, err := remote.(core.Applier).Apply(ctx, f.desc, nil); !errdefs.IsUnavailable(err) {
		t.Error(err)
	}
}

// A layer that is made of a change and applied elsewhere is that change.
func TestRoundTrip(t *testing.T) {
	harness.NeedRoot(t) // the differ mounts
	stores := servicetest.Open(t)
	store := stores.DB.ContentStore()
	conn := servicetest.Dial(t, diff.New(walking.NewWalkingDiff(store), apply.NewFileSystemApplier(store)))
	if servicetest.Oracle() {
		t.Skip("its content is elsewhere")
	}
	ctx := servicetest.Context(t)
	remote := proxy.NewDiffApplier(api.NewDiffClient(conn))
	bind := func() ([]mount.Mount, string) {
		dir := t.TempDir()
		return []mount.Mount{{Type: "bind", Source: dir, Options: []string{"rbind", "rw"}}}, dir
	}
	lower, _ := bind()
	upper, from := bind()
	if err := os.WriteFile(filepath.Join(from, "file"), []byte("text"), 0o640); err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1e9, 0)
	desc, err := remote.(core.Comparer).Compare(ctx, lower, upper,
		core.WithMediaType(ocispec.MediaTypeImageLayerGzip), core.WithReference("layer"), core.WithSourceDateEpoch(&at))
	if err != nil {
		t.Fatal(err)
	}
	if desc.MediaType != ocispec.MediaTypeImageLayerGzip {
		t.Errorf("media type %s", desc.MediaType)
	}
	blob, err := content.ReadBlob(ctx, store, desc)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := gzip.NewReader(bytes.NewReader(blob))
	if err != nil {
		t.Fatal(err)
	}
	h := headerOf(t, tar.NewReader(plain), "file")
	if h.ModTime.After(at) {
		t.Errorf("a time in the layer is %v, after %v", h.ModTime, at)
	}

	onto, to := bind()
	applied, err := remote.(core.Applier).Apply(ctx, desc, onto)
	if err != nil {
		t.Fatal(err)
	}
	if applied.MediaType != ocispec.MediaTypeImageLayer || applied.Size <= 0 {
		t.Errorf("applied %+v", applied)
	}
	if got, err := os.ReadFile(filepath.Join(to, "file")); err != nil || string(got) != "text" {
		t.Errorf("file %q, %v", got, err)
	}
}

func headerOf(t *testing.T, r *tar.Reader, name string) *tar.Header {
	t.Helper()
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			t.Fatalf("no %s in the layer", name)
		}
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Clean(h.Name) == name {
			return h
		}
	}
}
