package system

import (
	"context"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"
	"golang.org/x/sync/errgroup"
)

// measurements is how many clients have the disk measured at the same time: it takes a lot of memory and of the
// manager's time. The others wait.
const measurements = 2

// DiskUsage measures what is asked for, at the same time. What is not asked for is nil.
func (s *Service) DiskUsage(ctx context.Context, what map[system.DiskUsageObject]bool) (*system.DiskUsage, error) {
	select {
	case s.measuring <- struct{}{}:
		defer func() { <-s.measuring }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	u := &system.DiskUsage{}
	group, ctx := errgroup.WithContext(ctx)
	if what[system.ContainerObject] {
		group.Go(func() (err error) {
			u.ContainerUsage = &container.DiskUsage{}
			if s.o.Containers != nil {
				u.ContainerUsage, err = s.o.Containers.DiskUsage(ctx)
			}
			return err
		})
	}
	if what[system.ImageObject] {
		group.Go(func() (err error) {
			u.ImageUsage = &image.DiskUsage{}
			if s.o.Images != nil {
				u.ImageUsage, err = s.o.Images.DiskUsage(ctx)
			}
			return err
		})
	}
	if what[system.VolumeObject] {
		group.Go(func() (err error) {
			u.VolumeUsage = &volume.DiskUsage{}
			if s.o.Volumes != nil {
				u.VolumeUsage, err = s.o.Volumes.DiskUsage(ctx)
			}
			return err
		})
	}
	if what[system.BuildCacheObject] {
		group.Go(func() (err error) {
			u.BuildCacheUsage = &build.DiskUsage{}
			if s.o.BuildCache != nil {
				u.BuildCacheUsage, err = s.o.BuildCache.DiskUsage(ctx)
			}
			return err
		})
	}
	return u, group.Wait()
}
