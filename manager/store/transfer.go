package store

import (
	"runtime"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff/apply"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/transfer"
	"github.com/containerd/containerd/v2/core/transfer/local"
	"github.com/containerd/containerd/v2/core/unpack"
	"github.com/containerd/containerd/v2/plugins/diff/walking"
	"github.com/containerd/platforms"

	// What clients send as source and destination of a transfer is known by type.
	_ "github.com/containerd/containerd/v2/core/transfer/archive"
	_ "github.com/containerd/containerd/v2/core/transfer/image"
	_ "github.com/containerd/containerd/v2/core/transfer/registry"

	"github.com/gantry-containers/gantry/manager/config"
)

// transfers is how many layers are fetched, or sent, at the same time where the configuration says nothing.
const transfers = 3

// newDiffer compares by walking both trees, and applies archives to the mounted tree.
func newDiffer(blobs content.Store, mounts mount.Manager) Differ {
	return differ{walking.NewWalkingDiff(blobs), apply.NewFileSystemApplierWithMountManager(blobs, mounts)}
}

func (s *Store) newTransfer(c config.Config) transfer.Transferrer {
	lc := local.TransferConfig{
		Leases:                      s.Leases,
		MaxConcurrentDownloads:      orDefault(c.Transfer.Downloads, transfers),
		MaxConcurrentUploadedLayers: orDefault(c.Transfer.Uploads, transfers),
		MaxConcurrentUnpacks:        orDefault(c.Transfer.Unpacks, unpacks()),
		ConcurrentLayerFetchBuffer:  c.Transfer.LayerBuffer,
		RegistryConfigPath:          c.Transfer.RegistryConfig,
		DuplicationSuppressor:       newKeyLock(),
	}
	first := c.Snapshotter
	if _, ok := s.Snapshotters[first]; !ok {
		first = DefaultSnapshotter
	}
	lc.UnpackPlatforms = append(lc.UnpackPlatforms, s.unpackPlatform(first))
	for name := range s.Snapshotters {
		if name != first {
			lc.UnpackPlatforms = append(lc.UnpackPlatforms, s.unpackPlatform(name))
		}
	}
	return local.NewTransferService(s.Content, s.Images, lc)
}

func (s *Store) unpackPlatform(snapshotter string) unpack.Platform {
	return unpack.Platform{
		Platform:                platforms.OnlyOS(platforms.DefaultSpec()),
		SnapshotterKey:          snapshotter,
		Snapshotter:             s.Snapshotters[snapshotter],
		SnapshotterExports:      s.Exports(snapshotter),
		SnapshotterCapabilities: s.Capabilities(snapshotter),
		Applier:                 s.Differ,
	}
}

// unpacks is how many layers are unpacked at the same time: more than one, which is what makes the unpacker do it in
// parallel at all, and not more than pay.
func unpacks() int { return min(max(runtime.GOMAXPROCS(0), 2), 8) }

func orDefault(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}
