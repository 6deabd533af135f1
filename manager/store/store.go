package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/sandbox"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/transfer"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"

	"github.com/gantry-containers/gantry/manager/config"
)

// Places below the root and state directories; they are containerd's plugins' names.
const (
	metadataFile = "meta.db"
	metadataDir  = "io.containerd.metadata.v1.bolt"
	contentDir   = "io.containerd.content.v1.content"
	overlayDir   = "io.containerd.snapshotter.v1.overlayfs"
	nativeDir    = "io.containerd.snapshotter.v1.native"
	mountsDir    = "io.containerd.mount-manager.v1.bolt"
)

// Differ compares and applies layers.
type Differ interface {
	diff.Comparer
	diff.Applier
}

// Store is everything that is kept on disk, each part behind containerd's interface for it. Methods take the
// namespace, and the lease, from ctx.
type Store struct {
	Containers   containers.Store
	Content      content.Store // manifests and configs are answered from memory
	Images       images.Store
	Leases       leases.Manager
	Namespaces   namespaces.Store
	Sandboxes    sandbox.Store
	Snapshotters map[string]snapshots.Snapshotter
	Differ       Differ
	Mounts       mount.Manager
	Transfer     transfer.Transferrer

	dir       string // of the metadata database; "" until everything is open
	db        *metadata.DB
	bolt      *transactor
	blobs     *memory
	ingestDir string
	copies    *copies
	backends  []*backend
	sweeper   *sweeper
	closed    atomic.Bool
	unclean   atomic.Bool      // the next start has to look for leftovers
	about     map[string]about // of snapshotters, by name
	gc        *collector
	closers   []func() error // in the order of opening
}

// Open opens, and where needed repairs, the stores below the root and state directories; what it repaired is logged.
func Open(ctx context.Context, c config.Config, publisher events.Publisher) (_ *Store, err error) {
	s := &Store{Snapshotters: map[string]snapshots.Snapshotter{}, about: map[string]about{}, sweeper: &sweeper{stopped: make(chan struct{})}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	dir := filepath.Join(c.Root, metadataDir)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	clean, err := takeCleanMark(dir)
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	blobs, err := local.NewStore(filepath.Join(c.Root, contentDir))
	if err != nil {
		return nil, fmt.Errorf("content store: %w", err)
	}
	// Without it the content store cannot be collected: ingests would stay until the first blob is there.
	if err := os.MkdirAll(filepath.Join(c.Root, contentDir, "blobs"), 0o755); err != nil {
		return nil, fmt.Errorf("content store: %w", err)
	}
	if s.backends, err = s.openSnapshotters(ctx, c); err != nil {
		return nil, err
	}
	s.blobs, s.ingestDir = newMemory(blobs), filepath.Join(c.Root, contentDir, "ingest")
	damaged, err := s.openMetadata(ctx, c, publisher)
	if err != nil {
		return nil, err
	}
	if !clean || damaged || slices.ContainsFunc(s.backends, func(b *backend) bool { return b.damaged }) {
		if err := s.agree(ctx, damaged); err != nil {
			return nil, err
		}
	}
	rescued(filepath.Join(dir, metadataFile))
	s.present()
	if err := s.openMounts(ctx, c); err != nil {
		return nil, err
	}
	s.Differ = newDiffer(s.Content, s.Mounts)
	s.Transfer = s.newTransfer(c)
	s.gc = startCollector(c.GC, freeingGarbage{s.db, s.bolt, s.copies})
	s.dir = dir
	return s, nil
}

// openMetadata opens the metadata database, and says whether it was damaged.
func (s *Store) openMetadata(ctx context.Context, c config.Config, publisher events.Publisher) (damaged bool, err error) {
	path := filepath.Join(c.Root, metadataDir, metadataFile)
	wait := c.Timeouts["io.containerd.timeout.bolt.open"]
	damaged, err = ensureWhole(ctx, path, wait)
	if err != nil {
		return false, fmt.Errorf("metadata: %w", err)
	}
	db, err := openBolt(path, boltOptions(c.Metadata, wait))
	if err != nil {
		return false, fmt.Errorf("metadata: %w", err)
	}
	room, err := openRoom(path)
	if err != nil {
		return false, errors.Join(fmt.Errorf("metadata: %w", err), db.Close())
	}
	s.bolt = &transactor{db: db, room: room}
	s.copies = &copies{db: db, last: time.Now()} // the check has just made one
	s.closers = append(s.closers, s.bolt.Close)
	var opts []metadata.DBOpt
	if publisher != nil {
		opts = append(opts, metadata.WithEventsPublisher(publisher))
	}
	if c.Metadata.Isolated {
		opts = append(opts, metadata.WithPolicyIsolated)
	}
	backends := map[string]snapshots.Snapshotter{}
	for _, b := range s.backends {
		backends[b.name] = b
	}
	s.db = metadata.NewDB(s.bolt, s.blobs, backends, opts...)
	if err := s.bolt.free(func() error { return s.db.Init(ctx) }); err != nil {
		return false, fmt.Errorf("metadata: %w", err)
	}
	return damaged, nil
}

// agree makes the stores agree after a fall. Leftovers that cannot be removed now, because the disk is full for instance,
// are for the next start; but without a lease on what lost its records, collections would remove it.
func (s *Store) agree(ctx context.Context, damaged bool) error {
	err := s.bolt.free(func() error { return s.reconcile(ctx, damaged) })
	if err != nil && !damaged {
		slog.ErrorContext(ctx, "leftovers of the last run stay until the next start", "error", err)
		s.unclean.Store(true)
		return nil
	}
	return err
}

// present puts together what others see.
func (s *Store) present() {
	s.Containers = containerStore{metadata.NewContainerStore(s.db), s.bolt}
	s.Content = contentStore{s.db.ContentStore(), s.bolt}
	s.Images = imageStore{metadata.NewImageStore(s.db), s.bolt, s.Collect}
	s.Leases = leaseManager{metadata.NewLeaseManager(s.db), s.bolt, s.Collect}
	s.Namespaces = namespaceStore{s.db, s.bolt}
	s.Sandboxes = sandboxStore{metadata.NewSandboxStore(s.db), s.bolt}
	for _, b := range s.backends {
		s.Snapshotters[b.name] = snapshotter{s.db.Snapshotter(b.name), s.bolt, b.doubtful}
	}
}

// Collect removes what nothing refers to any more, and returns when it is gone.
func (s *Store) Collect(ctx context.Context) error {
	_, err := s.gc.collect(ctx)
	return err
}

// Close waits for what is being written. It can be called twice.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	if s.gc != nil {
		s.gc.stop()
	}
	s.sweeper.stop()
	var errs []error
	for _, closeOne := range slices.Backward(s.closers) {
		errs = append(errs, closeOne())
	}
	err := errors.Join(errs...)
	if err == nil && s.dir != "" && !s.unclean.Load() && !slices.ContainsFunc(s.backends, func(b *backend) bool { return b.failed.Load() }) {
		leaveCleanMark(s.dir)
	}
	return err
}
