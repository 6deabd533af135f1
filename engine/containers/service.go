package containers

import (
	"context"
	"log/slog"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/host"
	"github.com/gantry-containers/gantry/engine/tasks"
)

// ownerLabel is on the manager's records of our containers.
const ownerLabel = "com.github.gantry-containers.engine"

// Service is the life of all containers. Each concern is a type of its own; what they share is the records, who waits,
// and what is remembered between a container's exit and its next start.
type Service struct {
	*creator
	*starter
	*signals
	*stopper
	*restarter
	*remover
	*renamer
	*updater
	*pauser
	*pruner
	*waiter
	*restorer
	exits *exits
	tasks Tasks
	runs  *runs
}

// New is the life of the containers in a store. Load must be called before anything else, and Run beside it all.
func New(p Parts) *Service {
	if p.Specs == nil {
		p.Specs = ociSpecs{}
	}
	g := ground{store: p.Store, announce: announcer{p.Events}, waits: newWaits(), runs: newRuns()}
	down := &teardown{streams: p.Streams, mounts: p.Mounts, networks: p.Networks, dir: p.Store.Dir}
	wait := &waiter{ground: g}
	sig := &signals{ground: g, tasks: p.Tasks}
	stop := &stopper{ground: g, signals: sig, settings: p.Settings}
	rm := &remover{ground: g, stopper: stop, tasks: p.Tasks, roots: p.Roots, mounts: p.Mounts, teardown: down}
	start := &starter{ground: g, parts: p, teardown: down, remover: rm}
	ex := &exits{ground: g, tasks: p.Tasks, health: p.Health, execs: p.Execs, teardown: down, starter: start, remover: rm, lanes: newLanes()}
	sig.exits = ex
	return &Service{
		creator: &creator{ground: g, parts: p}, starter: start, signals: sig, stopper: stop, remover: rm,
		restarter: &restarter{ground: g, stopper: stop, starter: start},
		renamer:   &renamer{g, p.Networks},
		updater:   &updater{ground: g, tasks: p.Tasks, settings: p.Settings, machine: host.Machine{}},
		pauser:    &pauser{ground: g, tasks: p.Tasks, health: p.Health},
		pruner:    &pruner{ground: g, roots: p.Roots, remover: rm, events: p.Events},
		waiter:    wait,
		restorer:  &restorer{ground: g, parts: p, exits: ex, starter: start, remover: rm},
		exits:     ex, tasks: p.Tasks, runs: g.runs,
	}
}

// ground is what all concerns share.
type ground struct {
	store    *container.Store
	announce announcer
	waits    *waits
	runs     *runs
}

// Run follows what the manager tells, until the context ends.
func (s *Service) Run(ctx context.Context) {
	for e := range s.tasks.Events(ctx) {
		switch {
		case e.Exit != nil && e.Exit.Process != "":
			s.exits.execs.Exited(*e.Exit)
		case e.Exit != nil:
			s.exits.lanes.do(e.Exit.Container, func() { s.exits.exited(ctx, *e.Exit) })
		case e.OOM != "":
			s.exits.lanes.do(e.OOM, func() { s.exits.outOfMemory(e.OOM) })
		case e.Gap:
			go func() {
				if err := s.restorer.reconcile(ctx, false); err != nil {
					slog.Error("cannot ask the manager what runs", "error", err)
				}
				s.exits.execs.Reconcile(ctx)
			}()
		}
	}
}

// Close ends what waits inside the engine, and leaves containers and records as they are.
func (s *Service) Close() { s.runs.close() }

var _ Tasks = (*tasks.Service)(nil)
