package health

import (
	"context"
	"log/slog"
	"math"
	"os"
	"sync"
	"syscall"
	"time"

	api "github.com/moby/moby/api/types/container"
	apievents "github.com/moby/moby/api/types/events"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/tasks"
)

// Records are the containers that there are.
type Records interface {
	Get(ref string) (*container.Container, error)
	Update(id string, change func(*container.Container) error) (*container.Container, error)
}

// Tasks runs probes.
type Tasks interface {
	Exec(ctx context.Context, id, process string, p *specs.Process, io tasks.IO) (pid int, err error)
	DeleteExec(ctx context.Context, id, process string) (*tasks.Exit, error)
	Kill(ctx context.Context, id, process string, signal syscall.Signal, all bool) error
	Status(ctx context.Context, id, process string) (tasks.Status, error)
}

// Processes makes the process of a probe.
type Processes interface {
	Process(ctx context.Context, c *container.Container, req api.ExecCreateRequest) (*specs.Process, error)
}

// Publisher tells events.
type Publisher interface {
	Publish(kind apievents.Type, action apievents.Action, id string, attributes map[string]string)
}

// Parts is what the service works with.
type Parts struct {
	Records   Records
	Tasks     Tasks
	Processes Processes
	Events    Publisher
}

// Service probes the containers that are watched. Between two probes a container costs a timer and an open pipe, and
// no goroutine.
type Service struct {
	Parts
	dir    string
	opened time.Time

	mu      sync.Mutex
	watched map[string]*watch
	// probes are those under way, by exec id.
	probes map[string]*probe
	// stale are probes of an engine of before, by container.
	stale map[string][]string
}

// watch is one container. Its fields are guarded by the service's lock.
type watch struct {
	id      string
	check   check
	started time.Time
	// health is replaced, never changed: readers keep what they got.
	health *api.Health
	timer  *time.Timer
	// process is the probe's, made once: what a container runs with stays while it runs.
	process *specs.Process
	out     *pipe
	stopped bool
}

// Open is a service whose pipes are in a folder, which is made when it is missing and emptied when not: they are those
// of an engine that has gone.
func Open(dir string, parts Parts) (*Service, error) {
	stale, err := notes(dir)
	if err != nil {
		return nil, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &Service{Parts: parts, dir: dir, opened: time.Now(), watched: map[string]*watch{}, probes: map[string]*probe{}, stale: stale}, nil
}

// Watch begins to probe a container that runs, or goes on: after a pause, or after the start of this engine. It does
// nothing for a container without a health check. A container that was started since its last probe begins anew.
func (s *Service) Watch(id string) {
	c, err := s.Records.Get(id)
	if err != nil || c.State.Status != container.Running {
		return
	}
	ck, ok := checkOf(c)
	if !ok {
		return
	}
	h, fresh := beginning(c)
	w := &watch{id: c.ID, check: ck, started: c.State.StartedAt, health: h}
	s.mu.Lock()
	if old := s.watched[c.ID]; old != nil {
		if old.started.Equal(w.started) {
			s.mu.Unlock()
			return
		}
		s.end(old)
	}
	s.watched[c.ID] = w
	w.timer = time.AfterFunc(never, func() { s.run(w) })
	if stale := s.stale[c.ID]; stale != nil {
		delete(s.stale, c.ID)
		go s.clear(c.ID, stale)
	}
	s.mu.Unlock()
	if fresh {
		s.persist(w.id, h)
	}
	s.arm(w, w.first(time.Now(), s.opened))
}

// never is the time of a probe whose time is not known yet.
const never = math.MaxInt64

// arm sets the time of the next probe. It is done when all that came before is in the record: a result that follows at
// once must not be overtaken there.
func (s *Service) arm(w *watch, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !w.stopped {
		w.timer.Reset(d)
	}
}

// beginning is the health that a container starts its watch with, and whether that is new.
func beginning(c *container.Container) (h *api.Health, fresh bool) {
	old := c.State.Health
	if old == nil {
		return &api.Health{Status: api.Starting}, true
	}
	if n := len(old.Log); n == 0 || old.Log[n-1].End.Before(c.State.StartedAt) {
		return &api.Health{Status: api.Starting, Log: old.Log}, true
	}
	return old, false
}

// first is how long the first probe waits. When the last one was an earlier engine's, it counts from that one.
func (w *watch) first(now, opened time.Time) time.Duration {
	d := w.check.pause(now.Sub(w.started), w.health.Status)
	if n := len(w.health.Log); n > 0 && w.health.Log[n-1].End.After(w.started) && w.health.Log[n-1].End.Before(opened) {
		d -= now.Sub(w.health.Log[n-1].End)
	}
	return max(d, 0)
}

// Unwatch ends the probes of a container that is paused or has ended. It is unhealthy then: clients know it so. The
// caller must not be within an update of the record.
func (s *Service) Unwatch(id string) {
	s.mu.Lock()
	w := s.watched[id]
	if w == nil {
		s.mu.Unlock()
		return
	}
	s.end(w)
	h := *w.health
	h.Status = api.Unhealthy
	s.mu.Unlock()
	s.persist(id, &h)
}

// end needs the lock.
func (s *Service) end(w *watch) {
	w.stopped = true
	w.timer.Stop()
	delete(s.watched, w.id)
	busy := false
	for _, p := range s.probes {
		if p.watch == w {
			busy = true
			p.kick() // It closes the pipe.
		}
	}
	if !busy {
		w.closePipe()
	}
}

func (w *watch) closePipe() {
	if w.out != nil {
		w.out.close()
		w.out = nil
	}
}

// Close ends all watches and leaves the containers and their health as they are: the next engine goes on.
func (s *Service) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.watched {
		s.end(w)
	}
}

// Of is the health of a container now; nil without a health check. It is a snapshot that nobody may change.
func (s *Service) Of(c *container.Container) *api.Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.watched[c.ID]; w != nil {
		return w.health
	}
	return c.State.Health
}

// persist puts health into the record. Only a change of status is worth that: the results between two changes are lost
// when an engine dies.
func (s *Service) persist(id string, h *api.Health) {
	_, err := s.Records.Update(id, func(c *container.Container) error {
		c.State.Health = h
		return nil
	})
	if err != nil {
		slog.Debug("health is not kept", "container", id, "error", err) // It was removed.
	}
}
