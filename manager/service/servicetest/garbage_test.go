package servicetest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	corediff "github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/transfer/local"
	core "github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/gantry-containers/gantry/manager/service/containers"
	"github.com/gantry-containers/gantry/manager/service/content"
	"github.com/gantry-containers/gantry/manager/service/diff"
	"github.com/gantry-containers/gantry/manager/service/images"
	"github.com/gantry-containers/gantry/manager/service/leases"
	"github.com/gantry-containers/gantry/manager/service/mounts"
	"github.com/gantry-containers/gantry/manager/service/namespaces"
	"github.com/gantry-containers/gantry/manager/service/sandboxes"
	"github.com/gantry-containers/gantry/manager/service/servicetest"
	"github.com/gantry-containers/gantry/manager/service/snapshots"
	"github.com/gantry-containers/gantry/manager/service/streaming"
	"github.com/gantry-containers/gantry/manager/service/transfer"
)

// namespaceStore is the part of a namespace store that needs no transaction of its own here.
type namespaceStore struct {
	core.Store
	db *metadata.DB
}

func (s namespaceStore) Transact(_ context.Context, calls func(core.Store) error) error {
	return s.db.Update(func(tx *bolt.Tx) error { return calls(metadata.NewNamespaceStore(tx)) })
}

func (s namespaceStore) Create(ctx context.Context, name string, labels map[string]string) error {
	return s.Transact(ctx, func(store core.Store) error { return store.Create(ctx, name, labels) })
}

func (s namespaceStore) Labels(ctx context.Context, name string) (labels map[string]string, err error) {
	err = s.Transact(ctx, func(store core.Store) error {
		labels, err = store.Labels(ctx, name)
		return err
	})
	return labels, err
}

func (s namespaceStore) List(ctx context.Context) (names []string, err error) {
	err = s.Transact(ctx, func(store core.Store) error {
		names, err = store.List(ctx)
		return err
	})
	return names, err
}

func (s namespaceStore) Delete(ctx context.Context, name string, opts ...core.DeleteOpts) error {
	return s.Transact(ctx, func(store core.Store) error { return store.Delete(ctx, name, opts...) })
}

// noMounts mounts nothing, whatever is asked for.
type noMounts struct{ mount.Manager }

func (noMounts) Activate(context.Context, string, []mount.Mount, ...mount.ActivateOpt) (mount.ActivationInfo, error) {
	return mount.ActivationInfo{}, errdefs.ErrNotImplemented
}

func (noMounts) Deactivate(context.Context, string) error { return errdefs.ErrNotFound }

func (noMounts) Info(context.Context, string) (mount.ActivationInfo, error) {
	return mount.ActivationInfo{}, errdefs.ErrNotFound
}

func (noMounts) Update(context.Context, mount.ActivationInfo, ...string) (mount.ActivationInfo, error) {
	return mount.ActivationInfo{}, errdefs.ErrNotImplemented
}

func (noMounts) List(context.Context, ...string) ([]mount.ActivationInfo, error) { return nil, nil }

// noDiffer mounts nothing either.
type noDiffer struct{}

func (noDiffer) Compare(context.Context, []mount.Mount, []mount.Mount, ...corediff.Opt) (ocispec.Descriptor, error) {
	return ocispec.Descriptor{}, errdefs.ErrNotImplemented
}

func (noDiffer) Apply(context.Context, ocispec.Descriptor, []mount.Mount, ...corediff.ApplyOpt) (ocispec.Descriptor, error) {
	return ocispec.Descriptor{}, errdefs.ErrNotImplemented
}

type service interface{ Register(*grpc.Server) }

func all(stores *servicetest.Stores) []service {
	db, blobs, is, ls := stores.DB, stores.DB.ContentStore(), metadata.NewImageStore(stores.DB), metadata.NewLeaseManager(stores.DB)
	streams := streaming.NewManager(ls)
	return []service{
		containers.New(metadata.NewContainerStore(db), stores.Events),
		content.New(blobs),
		diff.New(noDiffer{}, noDiffer{}),
		images.New(is, stores.Collect),
		leases.New(ls, stores.Collect),
		mounts.New(noMounts{}),
		namespaces.New(namespaceStore{db: db}, stores.Events),
		sandboxes.New(metadata.NewSandboxStore(db), nil, stores.Events),
		snapshots.New(db.Snapshotters()),
		streaming.New(streams),
		transfer.New(local.NewTransferService(blobs, is, local.TransferConfig{Leases: ls}), streams),
	}
}

// Whatever a request lacks or has too much of, each method answers it, and the next one, too. A panic would end the
// test with the server.
func TestGarbage(t *testing.T) {
	if servicetest.Oracle() {
		t.Skip("it would panic")
	}
	stores := servicetest.Open(t)
	services := all(stores)
	var passed []interface{ Register(*grpc.Server) }
	known := grpc.NewServer()
	for _, s := range services {
		s.Register(known)
		passed = append(passed, s)
	}
	conn := servicetest.Dial(t, passed...)
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // it has to be the same each time
	infos := known.GetServiceInfo()
	for _, name := range slices.Sorted(maps.Keys(infos)) {
		for _, method := range infos[name].Methods {
			t.Run(name+"/"+method.Name, func(t *testing.T) {
				d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
				if err != nil {
					t.Fatal(err)
				}
				m := d.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(method.Name))
				for i := range 100 {
					request := dynamicpb.NewMessage(m.Input())
					if i > 0 {
						fill(request, random, 3)
					}
					path := fmt.Sprintf("/%s/%s", name, method.Name)
					if err := call(conn, path, m, request); servicetest.Code(err) == codes.Internal || servicetest.Code(err) == codes.Unknown {
						t.Errorf("%v: %v", request, err)
					}
				}
			})
		}
	}
}

// call makes one call with one request in it.
func call(conn *grpc.ClientConn, path string, m protoreflect.MethodDescriptor, request proto.Message) error {
	ctx, cancel := context.WithTimeout(core.WithNamespace(context.Background(), "garbage"), 20*time.Second)
	defer cancel()
	answer := dynamicpb.NewMessage(m.Output())
	if !m.IsStreamingClient() && !m.IsStreamingServer() {
		return conn.Invoke(ctx, path, request, answer)
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, path)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(request); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	if strings.Contains(path, ".Streaming/") {
		cancel() // a stream that is registered waits for who uses it
	}
	for err == nil {
		err = stream.RecvMsg(answer)
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// fill gives values to about half of the fields.
func fill(m protoreflect.Message, random *rand.Rand, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if random.IntN(2) == 0 {
			continue
		}
		switch {
		case f.IsMap():
			value := m.Mutable(f).Map()
			key := scalar(f.MapKey(), random).MapKey()
			if f.MapValue().Message() != nil {
				fill(value.Mutable(key).Message(), random, depth-1)
			} else {
				value.Set(key, scalar(f.MapValue(), random))
			}
		case f.IsList() && f.Message() != nil:
			fill(m.Mutable(f).List().AppendMutable().Message(), random, depth-1)
		case f.IsList():
			m.Mutable(f).List().Append(scalar(f, random))
		case f.Message() != nil:
			if depth > 0 {
				fill(m.Mutable(f).Message(), random, depth-1)
			}
		default:
			m.Set(f, scalar(f, random))
		}
	}
}

func scalar(f protoreflect.FieldDescriptor, random *rand.Rand) protoreflect.Value {
	texts := []string{
		"", "native", "a", "../..", "labels", "labels.", "labels.a", "name==a", "==", "sha256:", "sha256:abc", "\x00",
		strings.Repeat("x", 5000), strings.Repeat("y", 70000), "a.b:5000/c@sha256:d", "containerd.types.transfer.ImageStore",
		"containerd.types.transfer.OCIRegistry", "containerd.services.streaming.v1.StreamInit",
		"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	}
	numbers := []int64{0, 1, -1, 1 << 20, 1<<63 - 1, -1 << 63}
	text, number := texts[random.IntN(len(texts))], numbers[random.IntN(len(numbers))]
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(text)
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(text))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(number != 0)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(number))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(number)) //nolint:gosec // garbage
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(number)) //nolint:gosec // garbage
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(uint64(number)) //nolint:gosec // garbage
	default:
		return protoreflect.ValueOfInt64(number)
	}
}
