package stats

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"

	"github.com/gantry-containers/gantry/engine/container"
)

// Records are the containers that there are.
type Records interface {
	Get(ref string) (*container.Container, error)
}

// Metrics are samples of a container's cgroup: containerd's types for either version.
type Metrics interface {
	Metrics(ctx context.Context, id string) (any, time.Time, error)
}

// Options is what a client wants to see.
type Options struct {
	// Stream says that samples come until the client goes; otherwise it is one, compared with one a moment before unless
	// OneShot.
	Stream, OneShot bool
}

// Service samples containers, and only those that somebody looks at.
type Service struct {
	records  Records
	metrics  Metrics
	interval time.Duration
	memory   uint64

	mu    sync.Mutex
	loops map[string]*loop
}

// New is a service that samples once in an interval, a second as a rule.
func New(r Records, m Metrics, interval time.Duration) *Service {
	return &Service{records: r, metrics: m, interval: interval, memory: machineMemory(), loops: map[string]*loop{}}
}

// Write answers a client: open starts the answer. It ends with the context, or when the container is removed.
func (s *Service) Write(ctx context.Context, ref string, o Options, open func() io.Writer) error {
	c, err := s.records.Get(ref)
	if err != nil {
		return err
	}
	if !o.Stream && (o.OneShot || !c.State.Running()) {
		sample, err := s.sample(ctx, c)
		if err != nil {
			return err
		}
		return write(open(), sample)
	}
	samples, stop := s.subscribe(c.ID)
	defer stop()
	out := open()
	skip := !o.Stream
	var before *api.StatsResponse
	for {
		select {
		case <-ctx.Done():
			return nil
		case sample, ok := <-samples:
			if !ok {
				return nil
			}
			if skip { // The first one is only there to compare with.
				before, skip = sample, false
				continue
			}
			now := *sample
			if before != nil {
				now.PreRead, now.PreCPUStats = before.Read, before.CPUStats
			}
			if err := write(out, &now); err != nil || !o.Stream {
				return nil // A client that has gone hears of no error.
			}
			before = sample
		}
	}
}

func write(w io.Writer, sample *api.StatsResponse) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(sample)
}

// empty is the sample of a container that does not run.
func empty(c *container.Container) *api.StatsResponse {
	return &api.StatsResponse{ID: c.ID, Name: "/" + c.Name, OSType: "linux"}
}

// sample is one of now. It is empty for a container that does not run.
func (s *Service) sample(ctx context.Context, c *container.Container) (*api.StatsResponse, error) {
	if !c.State.Running() {
		return empty(c), nil
	}
	m, read, err := s.metrics.Metrics(ctx, c.ID)
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) {
		return empty(c), nil
	}
	if err != nil {
		return nil, err
	}
	out := empty(c)
	out.Read = read
	if err := fill(out, m); err != nil {
		return nil, err
	}
	if out.MemoryStats.Limit > s.memory && s.memory > 0 {
		out.MemoryStats.Limit = s.memory // No limit is a number larger than the machine.
	}
	if out.CPUStats.SystemUsage, out.CPUStats.OnlineCPUs, err = systemCPU(); err != nil {
		return nil, err
	}
	out.Networks = s.networks(c)
	return out, nil
}

// loop samples one container for all who look at it.
type loop struct {
	stop    context.CancelFunc
	readers map[chan *api.StatsResponse]bool
}

func (s *Service) subscribe(id string) (<-chan *api.StatsResponse, func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.loops[id]
	if l == nil {
		ctx, stop := context.WithCancel(context.Background())
		l = &loop{stop: stop, readers: map[chan *api.StatsResponse]bool{}}
		s.loops[id] = l
		go s.run(ctx, id, l)
	}
	ch := make(chan *api.StatsResponse, 1)
	l.readers[ch] = true
	return ch, func() { s.unsubscribe(id, l, ch) }
}

func (s *Service) unsubscribe(id string, l *loop, ch chan *api.StatsResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(l.readers, ch)
	if len(l.readers) > 0 {
		return
	}
	l.stop()
	if s.loops[id] == l {
		delete(s.loops, id)
	}
}

// run samples until nobody looks or the container is gone.
func (s *Service) run(ctx context.Context, id string, l *loop) {
	tick := time.NewTicker(s.interval)
	defer tick.Stop()
	for {
		c, err := s.records.Get(id)
		if err != nil {
			s.end(id, l)
			return
		}
		sample, err := s.sample(ctx, c)
		if err != nil {
			if ctx.Err() == nil {
				slog.Error("no sample of a container", "container", id, "error", err)
			}
			sample = empty(c)
		}
		s.tell(l, sample)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// tell gives a sample to each reader; who has not taken the last one gets the newer instead.
func (s *Service) tell(l *loop, sample *api.StatsResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ch := range l.readers {
		select {
		case <-ch:
		default:
		}
		ch <- sample
	}
}

func (s *Service) end(id string, l *loop) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ch := range l.readers {
		close(ch)
	}
	l.readers = map[chan *api.StatsResponse]bool{}
	l.stop()
	if s.loops[id] == l {
		delete(s.loops, id)
	}
}
