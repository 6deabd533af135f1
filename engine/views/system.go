package views

import (
	"context"

	api "github.com/moby/moby/api/types/container"

	"github.com/gantry-containers/gantry/engine/container"
)

// Counts are how many containers run, are paused, and do neither. One that waits for its restart counts as running.
func (s *Service) Counts() (running, paused, stopped int) {
	for _, c := range s.Records.List() {
		switch {
		case c.State.Status == container.Paused:
			paused++
		case active(c.State):
			running++
		default:
			stopped++
		}
	}
	return running, paused, stopped
}

// DiskUsage is what all containers take, with an item for each.
func (s *Service) DiskUsage(ctx context.Context) (*api.DiskUsage, error) {
	list, err := s.List(ctx, ListOptions{All: true, Size: true})
	if err != nil {
		return nil, err
	}
	du := &api.DiskUsage{TotalCount: int64(len(list)), Items: list}
	for i := range list {
		c := &list[i]
		c.ImageManifestDescriptor = nil // Docker does not tell it here.
		du.TotalSize += c.SizeRw
		switch c.State {
		case api.StateRunning, api.StatePaused, api.StateRestarting:
			du.ActiveCount++
		default:
			du.Reclaimable += c.SizeRw
		}
	}
	return du, nil
}
