package build

import (
	"context"

	apibuild "github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/events"
)

// Prune has nothing to remove: the cache of classic builds is images, which have a prune of their own. It is told all
// the same.
func (s *Service) Prune(context.Context) *apibuild.CachePruneReport {
	s.parts.Events.Publish(events.BuilderEventType, events.ActionPrune, "", map[string]string{"reclaimed": "0"})
	return &apibuild.CachePruneReport{}
}

// DiskUsage is that of BuildKit's cache, which is empty here.
func (s *Service) DiskUsage(context.Context) (*apibuild.DiskUsage, error) {
	return &apibuild.DiskUsage{}, nil
}
