package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"
)

// known is what the metadata database says there is.
type known struct {
	blobs     map[digest.Digest][]blobRecord
	expected  map[digest.Digest]struct{}           // blobs that an ingest of another namespace waits to share
	ingests   map[string]struct{}                  // by the content store's reference
	snapshots map[string]map[string]snapshotRecord // by snapshotter and its own name
}

type blobRecord struct {
	namespace string
	size      int64
}

// snapshotRecord is a snapshot as clients name it.
type snapshotRecord struct{ namespace, name string }

// reconciler makes the metadata database, the content store and the snapshotters agree after the manager was not
// stopped in order. Nothing is served while it works, so it needs no locks.
type reconciler struct {
	db        *metadata.DB
	blobs     content.Store
	ingestDir string
	known     known
	lossy     bool // records may be missing: nothing is removed for the want of one
}

// reconcile removes what has no record (the two halves of a change that was cut short), and records of what is gone,
// which would otherwise keep clients from fetching it again. After a repair nothing is removed for the want of a record,
// nor collected: it gets records, and everything gets a lease.
func (s *Store) reconcile(ctx context.Context, lossy bool) error {
	r := &reconciler{db: s.db, blobs: s.blobs, ingestDir: s.ingestDir, lossy: lossy}
	if lossy {
		if err := s.db.Update(func(tx *bolt.Tx) error { return dropHalves(ctx, tx) }); err != nil {
			return fmt.Errorf("metadata: %w", err)
		}
	}
	if err := s.db.View(r.known.read); err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	var errs []error
	for _, b := range s.backends {
		errs = append(errs, r.snapshots(ctx, b.name, b), r.doubtful(ctx, b), s.sweeper.sweep(b.root))
	}
	errs = append(errs, r.content(ctx), r.ingests(ctx))
	if lossy {
		errs = append(errs, r.holdAll(ctx))
	}
	return errors.Join(errs...)
}

// snapshots compares one snapshotter.
func (r *reconciler) snapshots(ctx context.Context, name string, backend snapshots.Snapshotter) error {
	var unknown []snapshots.Info
	there := map[string]struct{}{}
	err := backend.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		there[info.Name] = struct{}{}
		if _, ok := r.known.snapshots[name][info.Name]; !ok {
			unknown = append(unknown, info)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("snapshotter %s: %w", name, err)
	}
	if len(unknown) > 0 && r.lossy {
		err = r.adopt(ctx, name, unknown)
	} else if len(unknown) > 0 {
		err = removeLeavesFirst(ctx, backend, unknown)
		slog.InfoContext(ctx, "removed snapshots without a record", "snapshotter", name, "number", len(unknown))
	}
	var gone []snapshotRecord
	for backendName, record := range r.known.snapshots[name] {
		if _, ok := there[backendName]; !ok {
			gone = append(gone, record)
		}
	}
	return errors.Join(err, r.forget(ctx, name, gone))
}

// removeLeavesFirst removes snapshots, the children before their parents. One with a child that stays, stays.
func removeLeavesFirst(ctx context.Context, backend snapshots.Snapshotter, infos []snapshots.Info) error {
	return leavesFirst(infos, func(i snapshots.Info) error { return backend.Remove(ctx, i.Name) })
}

// leavesFirst removes as long as something can be; what is refused for its children is tried again after them.
func leavesFirst[T any](all []T, remove func(T) error) error {
	for {
		var refused []T
		for _, one := range all {
			err := remove(one)
			if errdefs.IsFailedPrecondition(err) {
				refused = append(refused, one)
			} else if err != nil && !errdefs.IsNotFound(err) {
				return err
			}
		}
		if len(refused) == 0 || len(refused) == len(all) {
			return nil
		}
		all = refused
	}
}

// forget removes records of snapshots that are gone, so that clients can make them again.
func (r *reconciler) forget(ctx context.Context, snapshotter string, gone []snapshotRecord) error {
	if len(gone) == 0 {
		return nil
	}
	sn := r.db.Snapshotter(snapshotter)
	slog.ErrorContext(ctx, "snapshots are gone from the disk: their records are removed", "snapshotter", snapshotter, "snapshots", gone)
	return leavesFirst(gone, func(n snapshotRecord) error {
		return sn.Remove(namespaces.WithNamespace(ctx, n.namespace), n.name)
	})
}

// doubtful forgets committed snapshots whose files the loss of power may have taken, so that clients unpack them again;
// those that something stands on, later.
func (r *reconciler) doubtful(ctx context.Context, b *backend) error {
	names := b.doubtful.list()
	if b.doubt.IsZero() && len(names) == 0 {
		return nil
	}
	if err := b.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		record, ok := r.known.snapshots[b.name][info.Name]
		if ok && info.Kind == snapshots.KindCommitted && !b.doubt.IsZero() && !info.Created.Before(b.doubt) && !slices.Contains(names, record) {
			names = append(names, record)
		}
		return nil
	}); err != nil {
		return err
	}
	if len(names) > 0 {
		slog.ErrorContext(ctx, "the power was lost before these snapshots were on the disk: they are removed, to be unpacked again", "snapshotter", b.name, "snapshots", names)
	}
	sn := r.db.Snapshotter(b.name)
	err := leavesFirst(names, func(n snapshotRecord) error {
		return sn.Remove(namespaces.WithNamespace(ctx, n.namespace), n.name)
	})
	var stay []snapshotRecord
	for _, n := range names {
		if _, statErr := sn.Stat(namespaces.WithNamespace(ctx, n.namespace), n.name); statErr == nil {
			stay = append(stay, n)
			slog.ErrorContext(ctx, "a snapshot that may have lost files stays, for another needs it", "snapshotter", b.name, "snapshot", n)
		}
	}
	if err = errors.Join(err, b.doubtful.set(stay)); err != nil || b.doubt.IsZero() {
		return err
	}
	return b.unsynced.forget()
}

// content compares the content store.
func (r *reconciler) content(ctx context.Context) error {
	var unknown []content.Info
	sizes := map[digest.Digest]int64{}
	err := r.blobs.Walk(ctx, func(info content.Info) error {
		sizes[info.Digest] = info.Size
		_, recorded := r.known.blobs[info.Digest]
		if _, wanted := r.known.expected[info.Digest]; !recorded && !wanted {
			unknown = append(unknown, info)
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // its directories are made with the first blob
		return fmt.Errorf("content store: %w", err)
	}
	if len(unknown) > 0 && r.lossy {
		if err := r.adoptBlobs(ctx, unknown); err != nil {
			return err
		}
	} else if len(unknown) > 0 {
		slog.InfoContext(ctx, "removed blobs without a record", "number", len(unknown))
		for _, info := range unknown {
			if err := r.blobs.Delete(ctx, info.Digest); err != nil && !errdefs.IsNotFound(err) {
				return fmt.Errorf("content store: %w", err)
			}
		}
	}
	return r.damagedBlobs(ctx, sizes)
}

// damagedBlobs removes records of blobs that are gone or have another length than they had, and the latter's files.
func (r *reconciler) damagedBlobs(ctx context.Context, sizes map[digest.Digest]int64) error {
	for dgst, records := range r.known.blobs {
		size, ok := sizes[dgst]
		bad := slices.ContainsFunc(records, func(b blobRecord) bool { return !ok || b.size != size })
		if !bad {
			continue
		}
		slog.ErrorContext(ctx, "a blob is gone, or has lost bytes: it is removed, and can be fetched again", "digest", dgst, "found", ok, "size", size, "records", records)
		for _, record := range records {
			in := namespaces.WithNamespace(ctx, record.namespace)
			if err := r.db.ContentStore().Delete(in, dgst); err != nil && !errdefs.IsNotFound(err) {
				return fmt.Errorf("content store: %w", err)
			}
		}
		if err := r.blobs.Delete(ctx, dgst); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("content store: %w", err)
		}
	}
	return nil
}

// ingests aborts those that nobody can continue, for want of a record.
func (r *reconciler) ingests(ctx context.Context) error {
	if err := dropHalfIngests(r.ingestDir); err != nil {
		return fmt.Errorf("content store: %w", err)
	}
	statuses, err := r.blobs.ListStatuses(ctx)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("content store: %w", err)
	}
	for _, status := range statuses {
		if _, ok := r.known.ingests[status.Ref]; ok {
			continue
		}
		if err := r.blobs.Abort(ctx, status.Ref); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("content store: %w", err)
		}
	}
	return nil
}
