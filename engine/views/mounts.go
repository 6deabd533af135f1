package views

import (
	"cmp"
	"slices"
	"strings"

	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/gantry-containers/gantry/engine/container"
)

// mountPoints tells a container's mounts, parents before what is mounted in them. What HostConfig.Tmpfs asked for is
// not told twice: clients find it there.
func mountPoints(c *container.Container) []api.MountPoint {
	points := make([]api.MountPoint, 0, len(c.Mounts))
	for _, m := range c.Mounts {
		if m.Type == mount.TypeTmpfs && c.HostConfig != nil {
			if _, ok := c.HostConfig.Tmpfs[m.Destination]; ok {
				continue
			}
		}
		points = append(points, api.MountPoint{
			Type: m.Type, Name: m.Name, Source: m.Source, Destination: m.Destination, Driver: m.Driver,
			Mode: m.Mode, RW: m.RW, Propagation: m.Propagation,
		})
	}
	slices.SortStableFunc(points, func(a, b api.MountPoint) int {
		if d := cmp.Compare(strings.Count(a.Destination, "/"), strings.Count(b.Destination, "/")); d != 0 {
			return d
		}
		return cmp.Compare(a.Destination, b.Destination)
	})
	return points
}
