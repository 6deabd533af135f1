package transfer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"testing"

	api "github.com/containerd/containerd/api/services/transfer/v1"
	transfertypes "github.com/containerd/containerd/api/types/transfer"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/metadata"
	streamproxy "github.com/containerd/containerd/v2/core/streaming/proxy"
	core "github.com/containerd/containerd/v2/core/transfer"
	"github.com/containerd/containerd/v2/core/transfer/archive"
	"github.com/containerd/containerd/v2/core/transfer/image"
	"github.com/containerd/containerd/v2/core/transfer/local"
	"github.com/containerd/containerd/v2/core/transfer/proxy"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/gantry-containers/gantry/manager/service/servicetest"
	"github.com/gantry-containers/gantry/manager/service/streaming"
	"github.com/gantry-containers/gantry/manager/service/transfer"
)

func serve(t *testing.T, transferrer core.Transferrer, stores *servicetest.Stores) *grpc.ClientConn {
	t.Helper()
	streams := streaming.NewManager(metadata.NewLeaseManager(stores.DB))
	return servicetest.Dial(t, streaming.New(streams), transfer.New(transferrer, streams))
}

func borrowed(stores *servicetest.Stores) core.Transferrer {
	return local.NewTransferService(stores.DB.ContentStore(), metadata.NewImageStore(stores.DB),
		local.TransferConfig{Leases: metadata.NewLeaseManager(stores.DB)})
}

func pack(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	// containerd's URLs are the bare names.
	value, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return &anypb.Any{TypeUrl: string(m.ProtoReflect().Descriptor().FullName()), Value: value}
}

func TestErrors(t *testing.T) {
	stores := servicetest.Open(t)
	client := api.NewTransferClient(serve(t, borrowed(stores), stores))
	request := func(source, destination *anypb.Any, o *api.TransferOptions) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Transfer(ctx, &api.TransferRequest{Source: source, Destination: destination, Options: o})
			return err
		}
	}
	store := pack(t, &transfertypes.ImageStore{Name: "registry.example/none:1"})
	other := pack(t, &transfertypes.ImageStore{Name: "registry.example/other:1"})
	archived := func(stream string) *anypb.Any { return pack(t, &transfertypes.ImageImportStream{Stream: stream}) }
	garbage := &anypb.Any{TypeUrl: store.TypeUrl, Value: []byte("\xff\xff")}
	unknown := &anypb.Any{TypeUrl: "nonsense", Value: []byte("\xff\xff")}
	known := pack(t, wrapperspb.String("x"))
	servicetest.Run(t, []servicetest.Row{
		{Name: "nothing", Call: request(nil, nil, nil), Want: codes.InvalidArgument, Ours: true},
		{Name: "nowhere", Call: request(store, nil, nil), Want: codes.InvalidArgument, Ours: true},
		{Name: "garbage", Call: request(garbage, store, nil), Want: codes.InvalidArgument, Real: codes.Unknown},
		{Name: "an unknown type", Call: request(unknown, store, nil), Want: codes.Unimplemented, Real: codes.Unknown},
		{Name: "what is no source", Call: request(known, store, nil), Want: codes.Unimplemented},
		{Name: "what is no destination", Call: request(store, archived(""), nil), Want: codes.NotFound},
		{Name: "an image that there is not", Call: request(store, other, nil), Want: codes.NotFound},
		{Name: "a stream that there is not", Call: request(archived("none"), store, nil), Want: codes.NotFound},
		{Name: "progress to a stream that there is not", Call: request(store, other, &api.TransferOptions{ProgressStream: "none"}), Want: codes.NotFound},
		{Name: "a registry's credentials from a stream that there is not", Want: codes.NotFound, Call: request(pack(t, &transfertypes.OCIRegistry{
			Reference: "registry.example/a:1", Resolver: &transfertypes.RegistryResolver{AuthStream: "none"},
		}), store, nil)},
		{Name: "a bad reference", Want: codes.InvalidArgument, Ours: true, Call: request(pack(t, &transfertypes.OCIRegistry{Reference: "nonsense"}), store, nil)},
		{Name: "in no namespace", Want: codes.FailedPrecondition, Call: func(context.Context) error { return request(store, other, nil)(t.Context()) }},
	})
}

// An archive is imported, tagged and exported, all through streams, and what comes out is what went in.
func TestImportTagExport(t *testing.T) {
	stores := servicetest.Open(t)
	conn := serve(t, borrowed(stores), stores)
	ctx := servicetest.Context(t)
	remote := proxy.NewTransferrer(conn, streamproxy.NewStreamCreator(conn))
	packed, target := ociArchive(t)

	var events []string
	err := remote.Transfer(ctx,
		archive.NewImageImportStream(bytes.NewReader(packed), ""),
		image.NewStore("", image.WithNamedPrefix("registry.example/imported", false)),
		core.WithProgress(func(p core.Progress) { events = append(events, p.Event) }))
	if err != nil {
		t.Fatal(err)
	}
	if servicetest.Oracle() {
		return
	}
	is := metadata.NewImageStore(stores.DB)
	all, err := is.List(ctx)
	if err != nil || len(all) != 1 || all[0].Target.Digest != target {
		t.Fatalf("images %+v, %v; want one of %s", all, err, target)
	}
	name := all[0].Name
	if err := remote.Transfer(ctx, image.NewStore(name), image.NewStore("registry.example/tagged:1")); err != nil {
		t.Fatal(err)
	}
	if i, err := is.Get(ctx, "registry.example/tagged:1"); err != nil || i.Target.Digest != target {
		t.Errorf("tagged %+v, %v", i, err)
	}

	out := &closer{closed: make(chan struct{})}
	err = remote.Transfer(ctx, image.NewStore("", image.WithExtraReference(name)),
		archive.NewImageExportStream(out, "", archive.WithAllPlatforms))
	if err != nil {
		t.Fatal(err)
	}
	<-out.closed
	want, got := files(t, packed), files(t, out.Bytes())
	for path, data := range want {
		if path == ocispec.ImageIndexFile {
			continue // it names the image
		}
		if !bytes.Equal(got[path], data) {
			t.Errorf("%s: %d bytes went in, %d came out", path, len(data), len(got[path]))
		}
	}
}

type closer struct {
	bytes.Buffer
	closed chan struct{}
}

func (c *closer) Close() error {
	close(c.closed)
	return nil
}

// ociArchive is an image of one layer, with a megabyte of data so that it takes more than one window of the stream.
func ociArchive(t *testing.T) ([]byte, digest.Digest) {
	t.Helper()
	blobs := make(map[string][]byte)
	add := func(mediaType string, data []byte) ocispec.Descriptor {
		d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
		blobs["blobs/sha256/"+d.Digest.Encoded()] = data
		return d
	}
	encode := func(v any) []byte {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	layer := add(ocispec.MediaTypeImageLayer, packFiles(t, map[string][]byte{"data": make([]byte, 1<<20)}))
	config := add(ocispec.MediaTypeImageConfig, encode(ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer.Digest}},
	}))
	manifest := add(ocispec.MediaTypeImageManifest, encode(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: config, Layers: []ocispec.Descriptor{layer},
	}))
	manifest.Annotations = map[string]string{ocispec.AnnotationRefName: "1", images.AnnotationImageName: "registry.example/imported:1"}
	target := manifest.Digest
	blobs[ocispec.ImageIndexFile] = encode(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{manifest}})
	blobs[ocispec.ImageLayoutFile] = encode(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	return packFiles(t, blobs), target
}

func packFiles(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, data := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func files(t *testing.T, packed []byte) map[string][]byte {
	t.Helper()
	found := make(map[string][]byte)
	for r := tar.NewReader(bytes.NewReader(packed)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		found[h.Name] = data
	}
}

// fake reports, and ends with its error.
type fake struct {
	progress []core.Progress
	err      error
}

func (f *fake) Transfer(_ context.Context, _, _ any, opts ...core.Opt) error {
	var c core.Config
	for _, o := range opts {
		o(&c)
	}
	if c.Progress != nil {
		for _, p := range f.progress {
			c.Progress(p)
		}
	}
	return f.err
}

func TestProgress(t *testing.T) {
	if servicetest.Oracle() {
		t.Skip("it needs a transferrer of its own")
	}
	want := []core.Progress{
		{Event: "begin", Name: "one", Parents: []string{"p"}, Progress: 1, Total: 2},
		{Event: "end", Name: "one", Desc: &ocispec.Descriptor{MediaType: "m", Digest: digest.FromString("x"), Size: 3}},
	}
	f := &fake{progress: want}
	stores := servicetest.Open(t)
	conn := serve(t, f, stores)
	remote := proxy.NewTransferrer(conn, streamproxy.NewStreamCreator(conn))
	told := make(chan core.Progress, len(want))
	err := remote.Transfer(servicetest.Context(t), image.NewStore("a"), image.NewStore("b"),
		core.WithProgress(func(p core.Progress) { told <- p }))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range want {
		if d := cmp.Diff(p, <-told); d != "" {
			t.Errorf("progress (-want +got):\n%s", d)
		}
	}
	f.err = errdefs.ErrUnavailable
	if err := remote.Transfer(servicetest.Context(t), image.NewStore("a"), image.NewStore("b")); !errdefs.IsUnavailable(err) {
		t.Error(err)
	}
}
