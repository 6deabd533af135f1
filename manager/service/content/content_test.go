package content_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	api "github.com/containerd/containerd/api/services/content/v1"
	core "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/gantry-containers/gantry/manager/service/content"
	"github.com/gantry-containers/gantry/manager/service/servicetest"
)

func serve(t *testing.T) (api.ContentClient, *servicetest.Stores) {
	stores := servicetest.Open(t)
	return api.NewContentClient(servicetest.Dial(t, content.New(stores.DB.ContentStore()))), stores
}

// put brings a blob. Its label keeps a containerd that looks on from collecting it.
func put(ctx context.Context, t *testing.T, client api.ContentClient, data []byte) digest.Digest {
	t.Helper()
	d := digest.FromBytes(data)
	desc := ocispec.Descriptor{Digest: d, Size: int64(len(data))}
	err := core.WriteBlob(ctx, proxy.NewContentStore(client), "put-"+d.String(), bytes.NewReader(data), desc,
		core.WithLabels(map[string]string{"containerd.io/gc.root": "test"}))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// unique is data that no other test has, in a store that may be shared.
func unique(size int) []byte {
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(rand.Uint32()) //nolint:gosec // it only has to differ
	}
	return data
}

func TestErrors(t *testing.T) {
	client, _ := serve(t)
	type call = func(context.Context) error
	data := unique(100)
	there := digest.FromBytes(data).String()
	absent := digest.FromBytes(unique(100)).String()

	info := func(d string) call {
		return func(ctx context.Context) error {
			_, err := client.Info(ctx, &api.InfoRequest{Digest: d})
			return err
		}
	}
	update := func(i *api.Info, paths ...string) call {
		return func(ctx context.Context) error {
			_, err := client.Update(ctx, &api.UpdateRequest{Info: i, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
			return err
		}
	}
	remove := func(d string) call {
		return func(ctx context.Context) error {
			_, err := client.Delete(ctx, &api.DeleteContentRequest{Digest: d})
			return err
		}
	}
	read := func(d string, offset, size int64) call {
		return func(ctx context.Context) error {
			s, err := client.Read(ctx, &api.ReadContentRequest{Digest: d, Offset: offset, Size: size})
			for err == nil {
				_, err = s.Recv()
			}
			return eof(err)
		}
	}
	list := func(filters ...string) call {
		return func(ctx context.Context) error {
			s, err := client.List(ctx, &api.ListContentRequest{Filters: filters})
			for err == nil {
				_, err = s.Recv()
			}
			return eof(err)
		}
	}
	status := func(ref string) call {
		return func(ctx context.Context) error {
			_, err := client.Status(ctx, &api.StatusRequest{Ref: ref})
			return err
		}
	}
	statuses := func(filters ...string) call {
		return func(ctx context.Context) error {
			_, err := client.ListStatuses(ctx, &api.ListStatusesRequest{Filters: filters})
			return err
		}
	}
	abort := func(ref string) call {
		return func(ctx context.Context) error {
			_, err := client.Abort(ctx, &api.AbortRequest{Ref: ref})
			return err
		}
	}
	nowhere := func(c call) call {
		return func(context.Context) error { return c(t.Context()) }
	}
	servicetest.Run(t, []servicetest.Row{
		{Name: "list in an empty namespace", Call: list()},
		{Name: "statuses in an empty namespace", Call: statuses()},
		{Name: "put", Call: func(ctx context.Context) error { put(ctx, t, client, data); return nil }},
		{Name: "info", Call: info(there)},
		{Name: "info of what is not there", Call: info(absent), Want: codes.NotFound},
		{Name: "info of garbage", Call: info("garbage"), Want: codes.InvalidArgument},
		{Name: "info of a short digest", Call: info("sha256:abc"), Want: codes.InvalidArgument},
		{Name: "info of an unknown algorithm", Call: info("md5:d41d8cd98f00b204e9800998ecf8427e"), Want: codes.InvalidArgument},
		{Name: "info of nothing", Call: info(""), Want: codes.InvalidArgument},
		{Name: "info in no namespace", Call: nowhere(info(there)), Want: codes.FailedPrecondition},
		{Name: "info in another namespace", Want: codes.NotFound, Call: func(ctx context.Context) error {
			return info(there)(namespaces.WithNamespace(ctx, servicetest.Namespace()))
		}},
		{Name: "update nothing", Call: update(nil), Want: codes.InvalidArgument, Ours: true},
		{Name: "update garbage", Call: update(&api.Info{Digest: "garbage"}), Want: codes.InvalidArgument},
		{Name: "update what is not there", Call: update(&api.Info{Digest: absent}), Want: codes.NotFound},
		{Name: "update a field that there is not", Call: update(&api.Info{Digest: there}, "size"), Want: codes.InvalidArgument},
		{Name: "update a long label", Call: update(&api.Info{Digest: there, Labels: map[string]string{"a": strings.Repeat("x", 5000)}}, "labels"), Want: codes.InvalidArgument},
		{Name: "update in no namespace", Call: nowhere(update(&api.Info{Digest: there})), Want: codes.FailedPrecondition},
		{Name: "read", Call: read(there, 0, 0)},
		{Name: "read at the end", Call: read(there, 100, 0)},
		{Name: "read past the end", Call: read(there, 101, 0), Want: codes.OutOfRange},
		{Name: "read more than there is", Call: read(there, 50, 1<<62)},
		{Name: "read more than can be", Call: read(there, 1<<62, 1<<62), Want: codes.OutOfRange},
		{Name: "read before the start", Call: read(there, -5, -5)},
		{Name: "read what is not there", Call: read(absent, 0, 0), Want: codes.NotFound},
		{Name: "read garbage", Call: read("garbage", 0, 0), Want: codes.InvalidArgument},
		{Name: "read in no namespace", Call: nowhere(read(there, 0, 0)), Want: codes.FailedPrecondition},
		{Name: "list with a bad filter", Call: list("digest=="), Want: codes.InvalidArgument},
		{Name: "list in no namespace", Call: nowhere(list()), Want: codes.FailedPrecondition},
		{Name: "status of what is not there", Call: status("none"), Want: codes.NotFound},
		{Name: "status of nothing", Call: status(""), Want: codes.NotFound},
		{Name: "status in no namespace", Call: nowhere(status("none")), Want: codes.FailedPrecondition},
		{Name: "statuses with a bad filter", Call: statuses("ref=="), Want: codes.InvalidArgument},
		{Name: "statuses in no namespace", Call: nowhere(statuses()), Want: codes.FailedPrecondition},
		{Name: "abort what is not there", Call: abort("none"), Want: codes.NotFound},
		{Name: "abort nothing", Call: abort(""), Want: codes.NotFound},
		{Name: "abort in no namespace", Call: nowhere(abort("none")), Want: codes.FailedPrecondition},
		{Name: "delete", Call: remove(there)},
		{Name: "delete again", Call: remove(there), Want: codes.NotFound},
		{Name: "delete garbage", Call: remove("garbage"), Want: codes.InvalidArgument},
		{Name: "delete in no namespace", Call: nowhere(remove(there)), Want: codes.FailedPrecondition},
	})
}

func eof(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

const chunk = 1 << 20

// A blob comes back as it went, whole or in part, in messages of at most one chunk.
func TestRead(t *testing.T) {
	client, stores := serve(t)
	namespace := servicetest.Namespace()
	ctx := namespaces.WithNamespace(t.Context(), namespace)
	for _, size := range []int{0, 1, 4096, chunk - 1, chunk, chunk + 1, 2*chunk + 7} {
		data := unique(size)
		d := put(ctx, t, client, data)
		stores.Events.Expect(t, namespace, "/content/create")
		got, err := core.ReadBlob(ctx, proxy.NewContentStore(client), ocispec.Descriptor{Digest: d, Size: int64(size)})
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("a blob of %d bytes: got %d other ones, %v", size, len(got), err)
		}
		for _, part := range []struct{ offset, size int }{{0, 0}, {0, 1}, {size / 2, 0}, {size / 3, size / 3}, {max(size-1, 0), 100}} {
			want := data[min(part.offset, size):]
			if part.size > 0 {
				want = want[:min(part.size, len(want))]
			}
			got, err := readPart(ctx, client, &api.ReadContentRequest{Digest: d.String(), Offset: int64(part.offset), Size: int64(part.size)})
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes at %d of %d: got %d bytes, %v, want %d", part.size, part.offset, size, len(got), err, len(want))
			}
		}
	}
}

func readPart(ctx context.Context, client api.ContentClient, r *api.ReadContentRequest) ([]byte, error) {
	stream, err := client.Read(ctx, r)
	if err != nil {
		return nil, err
	}
	var got []byte
	for {
		m, err := stream.Recv()
		if err != nil {
			return got, eof(err)
		}
		if len(m.Data) > chunk || m.Offset != int64(len(got)) {
			return got, fmt.Errorf("a message of %d bytes at %d after %d bytes", len(m.Data), m.Offset, len(got))
		}
		got = append(got, m.Data...)
	}
}

func TestListAndUpdate(t *testing.T) {
	client, stores := serve(t)
	namespace := servicetest.Namespace()
	ctx := namespaces.WithNamespace(t.Context(), namespace)
	store := proxy.NewContentStore(client)
	const many = 105
	all := make(map[digest.Digest]bool)
	var some digest.Digest
	for range many {
		some = put(ctx, t, client, unique(16))
		all[some] = true
	}
	got := make(map[digest.Digest]bool)
	err := store.Walk(ctx, func(info core.Info) error {
		got[info.Digest] = info.Size == 16
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(all, got); d != "" {
		t.Errorf("blobs (-want +got):\n%s", d)
	}

	info, err := store.Update(ctx, core.Info{Digest: some, Labels: map[string]string{"a": "1", "b": "not named in the mask"}}, "labels.a")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"a": "1", "containerd.io/gc.root": "test"}, info.Labels); d != "" {
		t.Errorf("labels (-want +got):\n%s", d)
	}
	var filtered []digest.Digest
	if err := store.Walk(ctx, func(info core.Info) error { filtered = append(filtered, info.Digest); return nil }, "labels.a==1"); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]digest.Digest{some}, filtered); d != "" {
		t.Errorf("blobs with a label (-want +got):\n%s", d)
	}
	if err := store.Delete(ctx, some); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Info(ctx, some); !errdefs.IsNotFound(err) {
		t.Errorf("info of a blob that is deleted: %v", err)
	}
	stores.Events.ExpectTopic(t, namespace, "/content/delete", 1)
}
