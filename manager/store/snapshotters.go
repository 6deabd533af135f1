package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"github.com/containerd/errdefs"
	"github.com/moby/sys/userns"
	bolt "go.etcd.io/bbolt"

	"github.com/gantry-containers/gantry/manager/config"
)

// DefaultSnapshotter is the snapshotter's name where neither client nor configuration names one.
const DefaultSnapshotter = "overlayfs"

// rebaseCapability is what a snapshotter says that can give a layer its parent at the end, which is what lets layers be
// unpacked in parallel.
const rebaseCapability = snapshots.RebaseCap

// about is what clients are told of a snapshotter, in containerd's words.
type about struct {
	exports      map[string]string
	capabilities []string
}

// Capabilities are those of a snapshotter, as the introspection service lists them; nil for one that there is not.
func (s *Store) Capabilities(snapshotter string) []string { return s.about[snapshotter].capabilities }

// Exports are those of a snapshotter, as the introspection service lists them; nil for one that there is not.
func (s *Store) Exports(snapshotter string) map[string]string { return s.about[snapshotter].exports }

// openSnapshotters opens the backends, which know no namespaces. Their databases are repaired where they need it.
func (s *Store) openSnapshotters(ctx context.Context, c config.Config) ([]*backend, error) {
	root := c.Overlay.Root
	if root == "" {
		root = filepath.Join(c.Root, overlayDir)
	}
	opts, capabilities := overlayOptions(c.Overlay)
	over, err := openBackend(ctx, DefaultSnapshotter, root, func() (snapshots.Snapshotter, error) {
		if err := os.MkdirAll(root, 0o700); err != nil {
			return nil, err
		}
		ms, err := storage.NewMetaStore(filepath.Join(root, "metadata.db"), withoutFreelist)
		if err != nil {
			return nil, err
		}
		return overlay.NewSnapshotter(root, append(opts, overlay.WithMetaStore(ms))...)
	})
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, over.Close)
	s.about[DefaultSnapshotter] = about{exports: map[string]string{"root": root}, capabilities: capabilities}

	plain := filepath.Join(c.Root, nativeDir)
	nat, err := openBackend(ctx, "native", plain, func() (snapshots.Snapshotter, error) { return native.NewSnapshotter(plain) })
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, nat.Close)
	s.about["native"] = about{exports: map[string]string{"root": plain}}
	return []*backend{over, nat}, nil
}

func openBackend(ctx context.Context, name, root string, open func() (snapshots.Snapshotter, error)) (*backend, error) {
	damaged, err := ensureWhole(ctx, filepath.Join(root, "metadata.db"), 0)
	if err == nil && damaged {
		if err = keepLostDirectories(ctx, root); err == nil {
			rescued(filepath.Join(root, "metadata.db"))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("snapshotter %s: %w", name, err)
	}
	sn, err := open()
	if err != nil {
		return nil, fmt.Errorf("snapshotter %s: %w", name, err)
	}
	b := &backend{Snapshotter: sn, name: name, root: root, damaged: damaged}
	// The first transaction makes the file, where there is none.
	err = sn.Walk(ctx, func(context.Context, snapshots.Info) error { return errStop })
	if err == nil || errors.Is(err, errStop) || errdefs.IsNotFound(err) {
		err = b.openRoom()
	}
	if err == nil {
		b.unsynced, b.doubt, err = openUnsynced(root)
	}
	if err == nil {
		b.doubtful, err = openDoubtful(root)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("snapshotter %s: %w", name, err), b.Close())
	}
	return b, nil
}

// withoutFreelist keeps the list of free pages off the disk, as for the metadata database.
func withoutFreelist(o *bolt.Options) error {
	o.NoFreelistSync = true
	return nil
}

// errStop ends a walk that has seen enough.
var errStop = errors.New("stop")

// overlayOptions chooses as containerd does: ids are remapped where the kernel can map mounts, and layers get their
// parents late except in a user namespace, where whiteouts cannot be made as devices.
func overlayOptions(c config.Overlay) (opts []overlay.Opt, capabilities []string) {
	if c.UpperdirLabel {
		opts = append(opts, overlay.WithUpperdirLabel)
	}
	if !c.SyncRemove {
		opts = append(opts, overlay.AsynchronousRemove)
	}
	if len(c.MountOptions) > 0 {
		opts = append(opts, overlay.WithMountOptions(c.MountOptions))
	}
	if ok, err := overlayutils.SupportsIDMappedMounts(); err == nil && ok {
		opts = append(opts, overlay.WithRemapIDs)
		capabilities = append(capabilities, "remap-ids")
	}
	if c.SlowChown {
		opts = append(opts, overlay.WithSlowChown)
	} else {
		capabilities = append(capabilities, "only-remap-ids")
	}
	if !userns.RunningInUserNS() {
		capabilities = append(capabilities, rebaseCapability)
	}
	return opts, capabilities
}
