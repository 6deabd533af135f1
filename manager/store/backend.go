package store

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
)

// backend is a snapshotter below the metadata database: it keeps space for its own database, says in types when the
// disk is full, and remembers whether a removal failed.
type backend struct {
	snapshots.Snapshotter
	name     string
	root     string
	room     atomic.Pointer[room] // nil until its database exists
	damaged  bool                 // its database was
	unsynced *unsynced
	doubt    time.Time // committed snapshots since then may not have reached the disk before the power was lost; zero: all did
	doubtful *doubtful
	failed   atomic.Bool // something was not removed: the next start has to look
}

func (b *backend) grow() error {
	r := b.room.Load()
	if r == nil {
		return nil
	}
	return r.extend()
}

func (b *backend) typed(err error) error { return fullError("snapshotter "+b.name, err) }

// openRoom is called when the database is sure to exist.
func (b *backend) openRoom() error {
	r, err := openRoom(filepath.Join(b.root, "metadata.db"))
	if err != nil {
		return err
	}
	b.room.Store(r)
	return nil
}

// Prepare makes a snapshot to write into.
func (b *backend) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	if err := b.grow(); err != nil {
		return nil, b.typed(err)
	}
	m, err := b.Snapshotter.Prepare(ctx, key, parent, opts...)
	return m, b.typed(err)
}

// View makes a snapshot to read from.
func (b *backend) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	if err := b.grow(); err != nil {
		return nil, b.typed(err)
	}
	m, err := b.Snapshotter.View(ctx, key, parent, opts...)
	return m, b.typed(err)
}

// Commit ends the writing.
func (b *backend) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	if err := b.grow(); err != nil {
		return b.typed(err)
	}
	if err := b.unsynced.note(); err != nil {
		return b.typed(err)
	}
	return b.typed(b.Snapshotter.Commit(ctx, name, key, opts...))
}

// Update changes labels.
func (b *backend) Update(ctx context.Context, info snapshots.Info, fieldpaths ...string) (snapshots.Info, error) {
	if err := b.grow(); err != nil {
		return snapshots.Info{}, b.typed(err)
	}
	i, err := b.Snapshotter.Update(ctx, info, fieldpaths...)
	return i, b.typed(err)
}

// Walk visits all; in a database that is still empty, there are none.
func (b *backend) Walk(ctx context.Context, fn snapshots.WalkFunc, filters ...string) error {
	visited := false
	err := b.Snapshotter.Walk(ctx, func(ctx context.Context, info snapshots.Info) error {
		visited = true
		return fn(ctx, info)
	}, filters...)
	if !visited && errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// Remove may use the space that is kept.
func (b *backend) Remove(ctx context.Context, key string) error {
	err := b.Snapshotter.Remove(ctx, key)
	if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsFailedPrecondition(err) {
		b.failed.Store(true)
	}
	return b.typed(err)
}

// Cleanup removes directories, where the snapshotter leaves that for later.
func (b *backend) Cleanup(ctx context.Context) error {
	c, ok := b.Snapshotter.(snapshots.Cleaner)
	if !ok {
		return errdefs.ErrNotImplemented
	}
	err := c.Cleanup(ctx)
	if errdefs.IsNotFound(err) {
		return nil // the database is still empty
	}
	if err != nil && !errdefs.IsNotImplemented(err) {
		b.failed.Store(true)
	}
	return b.typed(err)
}

// Close closes the snapshotter.
func (b *backend) Close() error {
	if r := b.room.Load(); r != nil {
		r.close() //nolint:errcheck // nothing is written through it
	}
	var err error
	if b.unsynced != nil {
		err = b.unsynced.close()
	}
	return errors.Join(err, b.Snapshotter.Close())
}
