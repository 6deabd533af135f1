package images

import (
	"context"
	"log/slog"

	api "github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"
)

// Count is the number of images.
func (s *Store) Count(ctx context.Context) int {
	if err := s.fresh(ctx); err != nil {
		slog.Warn("the images cannot be counted", "error", err)
		return 0
	}
	return s.index.targets()
}

// DiskUsage is what images take, with an item for each.
func (s *Store) DiskUsage(ctx context.Context) (*api.DiskUsage, error) {
	list, err := s.List(ctx, ListOptions{SharedSize: true})
	if err != nil {
		return nil, err
	}
	usage := &api.DiskUsage{TotalCount: int64(len(list)), Items: list}
	if usage.TotalSize, err = s.totalSize(ctx); err != nil {
		return nil, err
	}
	for _, img := range list {
		switch {
		case img.Containers > 0:
			usage.ActiveCount++
		case img.Containers == 0:
			usage.Reclaimable += img.Size - img.SharedSize
		}
	}
	return usage, nil
}

// totalSize is the bytes of all images' blobs and snapshots, each counted once.
func (s *Store) totalSize(ctx context.Context) (total int64, _ error) {
	// Apart: the chain id of a lone layer that is not compressed is the digest of its blob.
	blobs, chains := map[digest.Digest]bool{}, map[digest.Digest]bool{}
	for _, img := range s.index.all() {
		f, err := s.factsOf(ctx, img.Target)
		if err != nil {
			return 0, err
		}
		for _, d := range append(once(f.content), f.indexes...) {
			if !blobs[d.Digest] {
				blobs[d.Digest] = true
				total += d.Size
			}
		}
		for _, v := range f.variants {
			if v.unpacked == 0 {
				continue
			}
			for _, c := range v.chains {
				if chains[c] {
					continue
				}
				chains[c] = true
				size, err := s.snapshotSizeOr0(ctx, c)
				if err != nil {
					return 0, err
				}
				total += size
			}
		}
	}
	return total, nil
}
