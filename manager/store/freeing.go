package store

import (
	"context"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/sandbox"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The stores in this file say of their deletions that they make space, so that they work on a full disk.

type containerStore struct {
	containers.Store
	t *transactor
}

// Delete removes a record.
func (s containerStore) Delete(ctx context.Context, id string) error {
	return s.t.free(func() error { return s.Store.Delete(ctx, id) })
}

type sandboxStore struct {
	sandbox.Store
	t *transactor
}

// Delete removes a record.
func (s sandboxStore) Delete(ctx context.Context, id string) error {
	return s.t.free(func() error { return s.Store.Delete(ctx, id) })
}

type contentStore struct {
	content.Store
	t *transactor
}

// Delete removes a blob from the namespace.
func (s contentStore) Delete(ctx context.Context, dgst digest.Digest) error {
	return s.t.free(func() error { return s.Store.Delete(ctx, dgst) })
}

// Abort removes an ingest.
func (s contentStore) Abort(ctx context.Context, ref string) error {
	return s.t.free(func() error { return s.Store.Abort(ctx, ref) })
}

type snapshotter struct {
	snapshots.Snapshotter
	t        *transactor
	doubtful *doubtful
}

// Remove removes a snapshot from the namespace.
func (s snapshotter) Remove(ctx context.Context, key string) error {
	return s.t.free(func() error {
		if err := s.Snapshotter.Remove(ctx, key); err != nil {
			return err
		}
		s.doubtful.removed(ctx, s.Snapshotter)
		return nil
	})
}

// differ says in types when the disk is full.
type differ struct {
	diff.Comparer
	diff.Applier
}

// Apply unpacks a layer.
func (d differ) Apply(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount, opts ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	got, err := d.Applier.Apply(ctx, desc, mounts, opts...)
	return got, fullError("unpack of "+desc.Digest.String(), err)
}

// Compare packs the difference of two trees.
func (d differ) Compare(ctx context.Context, lower, upper []mount.Mount, opts ...diff.Opt) (ocispec.Descriptor, error) {
	got, err := d.Comparer.Compare(ctx, lower, upper, opts...)
	return got, fullError("diff", err)
}
