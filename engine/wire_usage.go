package engine

import (
	"context"

	apivolume "github.com/moby/moby/api/types/volume"

	"github.com/gantry-containers/gantry/engine/volumes"
)

// volumeUsage answers for the volumes.
type volumeUsage struct{ *volumes.Store }

// DiskUsage implements system.Volumes.
func (u volumeUsage) DiskUsage(ctx context.Context) (*apivolume.DiskUsage, error) {
	list, err := u.Usage(ctx)
	if err != nil {
		return nil, err
	}
	d := &apivolume.DiskUsage{TotalCount: int64(len(list)), Items: list}
	for _, v := range list {
		if v.UsageData == nil || v.UsageData.Size < 0 {
			continue
		}
		d.TotalSize += v.UsageData.Size
		if v.UsageData.RefCount > 0 {
			d.ActiveCount++
		} else {
			d.Reclaimable += v.UsageData.Size
		}
	}
	return d, nil
}
