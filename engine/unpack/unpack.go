// Package unpack turns the layers of an image into snapshots, several at a time where the manager can.
package unpack

import (
	"context"
	"encoding/json"
	"runtime"
	"slices"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	core "github.com/containerd/containerd/v2/core/unpack"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"

	"github.com/gantry-containers/gantry/engine/fault"
)

// maxConfig bounds what is read into memory for an image's configuration, in bytes.
const maxConfig = 8 << 20

// Layers is told what becomes of layers. It may be nil; its methods are called from several goroutines.
type Layers interface {
	// Extracting says that a layer is being applied to a snapshot.
	Extracting(layer ocispec.Descriptor)
	// Extracted says that it is done, or has failed.
	Extracted(layer ocispec.Descriptor, err error)
}

// Options is how to unpack.
type Options struct {
	// Snapshotter is the name of the manager's.
	Snapshotter string
	// Layers hears of each.
	Layers Layers
	// Locker keeps others from doing the same at the same time: downloads of a blob, and a snapshot of a chain id.
	Locker core.KeyedLocker
	// Downloads is how many layers may be fetched at a time; nil for any number.
	Downloads core.Limiter
	// Parallel is how many layers may be applied at a time, where the snapshotter can; 0 for the number of processors.
	Parallel int
	// FetchAll also fetches layers whose snapshots are there already: the image can be pushed and saved later.
	FetchAll bool
}

// Unpacker unpacks while an image is being walked. One is for one image.
type Unpacker struct {
	*core.Unpacker
	// Parallel says that several layers are applied at a time.
	Parallel bool
}

// New makes an unpacker. The context is the unpacking's, and must have a lease: what is not yet an image would be
// collected as garbage.
func New(ctx context.Context, client *containerd.Client, o Options) (*Unpacker, error) {
	// A manager that does not tell (before 1.7) has none.
	capabilities, _ := client.GetSnapshotterCapabilities(ctx, o.Snapshotter)
	if o.Parallel == 0 {
		o.Parallel = runtime.NumCPU()
	}
	platform := core.Platform{
		SnapshotterKey:          o.Snapshotter,
		Snapshotter:             client.SnapshotService(o.Snapshotter),
		SnapshotterCapabilities: capabilities,
		Applier:                 applier{client.DiffService(), o.Layers},
	}
	opts := []core.UnpackerOpt{
		core.WithUnpackPlatform(platform),
		core.WithUnpackLimiter(semaphore.NewWeighted(int64(o.Parallel))),
	}
	if o.Locker != nil {
		opts = append(opts, core.WithDuplicationSuppressor(o.Locker))
	}
	if o.Downloads != nil {
		opts = append(opts, core.WithLimiter(o.Downloads))
	}
	if o.FetchAll {
		opts = append(opts, core.WithFetchAllContent())
	}
	u, err := core.NewUnpacker(ctx, client.ContentStore(), opts...)
	if err != nil {
		return nil, err
	}
	return &Unpacker{Unpacker: u, Parallel: slices.Contains(capabilities, snapshots.RebaseCap)}, nil
}

// applier tells of each layer that it applies.
type applier struct {
	diff.Applier
	layers Layers
}

// Apply implements diff.Applier.
func (a applier) Apply(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount, opts ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	if a.layers == nil {
		return a.Applier.Apply(ctx, desc, mounts, opts...)
	}
	a.layers.Extracting(desc)
	d, err := a.Applier.Apply(ctx, desc, mounts, opts...)
	a.layers.Extracted(desc, err)
	return d, err
}

// Image makes sure that the snapshots of a manifest's layers are there, and names the last one; an image without layers
// has none. All content must be there.
func Image(ctx context.Context, client *containerd.Client, manifest ocispec.Descriptor, snapshotter string) (digest.Digest, error) {
	chain, missing, err := state(ctx, client, manifest, snapshotter)
	if err != nil || !missing {
		return chain, err
	}
	ctx, done, err := client.WithLease(ctx)
	if err != nil {
		return "", err
	}
	// The lease must go also when the caller's context has ended.
	defer done(context.WithoutCancel(ctx)) //nolint:errcheck // it expires by itself
	return chain, apply(ctx, client, manifest, Options{Snapshotter: snapshotter})
}

// apply walks what is there already.
func apply(ctx context.Context, client *containerd.Client, manifest ocispec.Descriptor, o Options) error {
	u, err := New(ctx, client, o)
	if err != nil {
		return err
	}
	store := client.ContentStore()
	err = images.Dispatch(ctx, u.Unpack(images.ChildrenHandler(store)), nil, manifest)
	// Whatever the walk says, nothing may still run when this returns.
	result, failed := u.Wait()
	if err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	if result.Unpacks == 0 {
		return fault.Errorf(errdefs.ErrInvalidArgument, "no configuration that can be unpacked in %s", manifest.Digest)
	}
	return nil
}

// state is the last snapshot's name, and whether it is missing.
func state(ctx context.Context, client *containerd.Client, manifest ocispec.Descriptor, snapshotter string) (digest.Digest, bool, error) {
	chain, err := ChainID(ctx, client.ContentStore(), manifest)
	if err != nil || chain == "" {
		return "", false, err
	}
	_, err = client.SnapshotService(snapshotter).Stat(ctx, chain.String())
	if errdefs.IsNotFound(err) {
		return chain, true, nil
	}
	return chain, false, err
}

// ChainID is the name of the snapshot of all layers of a manifest, unpacked or not; empty without layers.
func ChainID(ctx context.Context, store content.Provider, manifest ocispec.Descriptor) (digest.Digest, error) {
	var m ocispec.Manifest
	if err := readJSON(ctx, store, manifest, &m); err != nil {
		return "", err
	}
	var config struct {
		RootFS ocispec.RootFS `json:"rootfs"`
	}
	if err := readJSON(ctx, store, m.Config, &config); err != nil {
		return "", err
	}
	if len(config.RootFS.DiffIDs) != len(m.Layers) {
		return "", fault.Errorf(errdefs.ErrInvalidArgument, "mismatched image rootfs and manifest layers")
	}
	return identity.ChainID(config.RootFS.DiffIDs), nil
}

func readJSON(ctx context.Context, store content.Provider, desc ocispec.Descriptor, v any) error {
	if desc.Size > maxConfig {
		return fault.Errorf(errdefs.ErrInvalidArgument, "%s of %d bytes is too large to be read", desc.Digest, desc.Size)
	}
	b, err := content.ReadBlob(ctx, store, desc)
	if err != nil {
		return err
	}
	return fault.As(errdefs.ErrInvalidArgument, json.Unmarshal(b, v))
}
