package containers

import (
	"sync"
	"time"
)

// runs is what is remembered of containers between an exit and the next start. It may be lost: a new engine begins
// with the shortest pause.
type runs struct {
	mu     sync.Mutex
	m      map[string]*run
	closed chan struct{}
	once   sync.Once
}

type run struct {
	// pause is the last one before a restart by the policy.
	pause time.Duration
	// stopped says that a client ended it, or wants it not to start again.
	stopped bool
	// again says that a client's restart is under way: the exit is not the end, whatever --rm says.
	again bool
	// torn says that nothing of the last run is left outside of the manager.
	torn bool
	// left says that the manager still has its task, or its record.
	left bool
	// cancel ends a pause before a restart; nil when there is none.
	cancel chan struct{}
}

func newRuns() *runs { return &runs{m: map[string]*run{}, closed: make(chan struct{})} }

func (r *runs) close() { r.once.Do(func() { close(r.closed) }) }

// change is for looking at and changing what is remembered of a container.
func (r *runs) change(id string, f func(*run)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	x, ok := r.m[id]
	if !ok {
		x = &run{}
		r.m[id] = x
	}
	f(x)
}

// forget is for containers that are gone.
func (r *runs) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.m, id)
}

// stop says that a container shall not start again by its policy. It ends a pause before a restart.
func (r *runs) stop(id string) {
	r.change(id, func(x *run) {
		x.stopped = true
		if x.cancel != nil {
			close(x.cancel)
			x.cancel = nil
		}
	})
}
