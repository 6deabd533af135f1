package containers

import (
	"context"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"
	eventsapi "github.com/moby/moby/api/types/events"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
)

// pruner removes containers that do not run.
type pruner struct {
	ground
	roots   Roots
	remover *remover
	events  Events
	busy    atomic.Bool
}

// Prune is which containers go.
type Prune struct {
	// Until is the time after which they must not have been made; zero for any.
	Until time.Time
	// Labels says whether a container's labels make it go.
	Labels func(map[string]string) bool
}

// Prune removes containers that do not run.
func (p *pruner) Prune(ctx context.Context, o Prune) (*api.PruneReport, error) {
	if !p.busy.CompareAndSwap(false, true) {
		return nil, fault.Errorf(errdefs.ErrConflict, "a prune operation is already running")
	}
	defer p.busy.Store(false)
	report := &api.PruneReport{}
	for _, c := range p.store.List() {
		if ctx.Err() != nil {
			return report, nil
		}
		if !prunable(c, o) {
			continue
		}
		size, err := p.roots.Usage(ctx, c.ID)
		if err != nil {
			slog.Debug("size of a container to be pruned", "container", c.ID, "error", err)
		}
		if err := p.remover.Remove(ctx, c.ID, Remove{}); err != nil {
			slog.Warn("cannot prune a container", "container", c.ID, "error", err)
			continue
		}
		report.SpaceReclaimed += uint64(max(0, size))
		report.ContainersDeleted = append(report.ContainersDeleted, c.ID)
	}
	p.events.Publish(eventsapi.ContainerEventType, eventsapi.ActionPrune, "",
		map[string]string{"reclaimed": strconv.FormatUint(report.SpaceReclaimed, 10)})
	return report, nil
}

func prunable(c *container.Container, o Prune) bool {
	if busy(c) || !o.Until.IsZero() && c.Created.After(o.Until) {
		return false
	}
	return o.Labels == nil || o.Labels(c.Config.Labels)
}
