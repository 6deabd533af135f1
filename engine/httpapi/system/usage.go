package system

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	api "github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/httpapi"
)

// oldUsage is the form before API 1.52. Lists are there when they were asked for, even if they are empty.
type oldUsage struct {
	LayersSize int64               `json:"LayersSize,omitempty"`
	Images     []json.RawMessage   `json:"Images,omitzero"`
	Containers []container.Summary `json:"Containers,omitzero"`
	Volumes    []volume.Volume     `json:"Volumes,omitzero"`
	BuildCache []build.CacheRecord `json:"BuildCache,omitzero"`
}

// bothUsages is what API 1.52 and later tell to clients that do not say verbose: some ask without a version, and know
// the old form.
type bothUsages struct {
	*oldUsage
	*api.DiskUsage
}

func (r *Router) diskUsage(ctx context.Context, w http.ResponseWriter, req *http.Request, _ map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	what, err := asked(ctx, req)
	if err != nil {
		return err
	}
	u, err := r.service.DiskUsage(ctx, what)
	if err != nil {
		return err
	}
	before := httpapi.Before(ctx, "1.52")
	if !before && httpapi.Bool(req, "verbose") {
		return httpapi.WriteJSON(w, http.StatusOK, u)
	}
	old, err := oldForm(ctx, u)
	if err != nil {
		return err
	}
	if before {
		return httpapi.WriteJSON(w, http.StatusOK, old)
	}
	return httpapi.WriteJSON(w, http.StatusOK, bothUsages{old, u})
}

// asked is which kinds of things are to be measured: all, if the client does not say, or cannot.
func asked(ctx context.Context, req *http.Request) (map[api.DiskUsageObject]bool, error) {
	all := []api.DiskUsageObject{api.ContainerObject, api.ImageObject, api.VolumeObject, api.BuildCacheObject}
	known := map[api.DiskUsageObject]bool{}
	for _, o := range all {
		known[o] = true
	}
	types, ok := req.Form["type"]
	if !ok || httpapi.Before(ctx, "1.42") {
		return known, nil
	}
	what := map[api.DiskUsageObject]bool{}
	for _, t := range types {
		if !known[api.DiskUsageObject(t)] {
			return nil, fault.Errorf(errdefs.ErrInvalidArgument, "unknown object type: %s", t)
		}
		what[api.DiskUsageObject(t)] = true
	}
	return what, nil
}

func oldForm(ctx context.Context, u *api.DiskUsage) (*oldUsage, error) {
	old := &oldUsage{}
	if u.ImageUsage != nil {
		old.LayersSize, old.Images = u.ImageUsage.TotalSize, []json.RawMessage{}
		for _, i := range u.ImageUsage.Items {
			extra := map[string]any{}
			if httpapi.Before(ctx, "1.44") {
				extra["VirtualSize"] = i.Size
			}
			b, err := httpapi.Merge(i, extra)
			if err != nil {
				return nil, err
			}
			old.Images = append(old.Images, b)
		}
	}
	if u.ContainerUsage != nil {
		old.Containers = append([]container.Summary{}, u.ContainerUsage.Items...)
	}
	if u.VolumeUsage != nil {
		old.Volumes = append([]volume.Volume{}, u.VolumeUsage.Items...)
	}
	if u.BuildCacheUsage != nil {
		old.BuildCache = append([]build.CacheRecord{}, u.BuildCacheUsage.Items...)
	}
	return old, nil
}
