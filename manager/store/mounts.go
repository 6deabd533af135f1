package store

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/mount/manager"
	bolt "go.etcd.io/bbolt"

	"github.com/gantry-containers/gantry/manager/config"
)

// openMounts opens the mount manager. What it knows lives in the state directory: mounts don't outlive the machine.
func (s *Store) openMounts(ctx context.Context, c config.Config) error {
	dir := filepath.Join(c.State, mountsDir)
	targets := filepath.Join(dir, "t")
	if err := os.MkdirAll(targets, 0o700); err != nil {
		return fmt.Errorf("mount manager: %w", err)
	}
	options := *bolt.DefaultOptions
	options.NoStatistics = true
	options.NoSync, options.NoGrowSync = true, true // nothing of it is worth anything after a loss of power
	path := filepath.Join(dir, "mounts.db")
	if damaged, err := ensureWhole(ctx, path, 0); err != nil {
		return fmt.Errorf("mount manager: %w", err)
	} else if damaged {
		rescued(path) // what is mounted and not known is found by those who mounted it
	}
	db, err := openBolt(path, &options)
	if err != nil {
		return fmt.Errorf("mount manager: %w", err)
	}
	m, err := manager.NewManager(db, targets, manager.WithAllowedRoot(c.Root))
	if err != nil {
		_ = db.Close() // the error above says more
		return fmt.Errorf("mount manager: %w", err)
	}
	if closer, ok := m.(io.Closer); ok {
		s.closers = append(s.closers, closer.Close)
	}
	if collector, ok := m.(metadata.Collector); ok {
		s.db.RegisterCollectibleResource(metadata.ResourceMount, collector)
	}
	s.Mounts = m
	return nil
}
