package containers

import (
	"slices"
	"sync"

	api "github.com/moby/moby/api/types/container"
)

// Result is what a wait ends with.
type Result struct {
	ExitCode int
	// Error is why a container did not start, or could not be removed.
	Error string
}

// waits are those who wait for the end of containers. A record's changes alone would not do: who looks late misses an
// exit between two starts.
type waits struct {
	mu sync.Mutex
	m  map[string][]*wait
}

type wait struct {
	condition api.WaitCondition
	// result gets one value.
	result chan Result
}

func newWaits() *waits { return &waits{m: map[string][]*wait{}} }

// add begins to wait. Who gives up must drop it.
func (w *waits) add(id string, condition api.WaitCondition) *wait {
	x := &wait{condition: condition, result: make(chan Result, 1)}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.m[id] = append(w.m[id], x)
	return x
}

// drop ends a wait without a result.
func (w *waits) drop(id string, x *wait) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keep(id, func(y *wait) bool { return y != x })
}

// exited tells those who wait for an exit.
func (w *waits) exited(id string, r Result) {
	w.tell(id, r, func(x *wait) bool { return x.condition != api.WaitConditionRemoved })
}

// removed tells all: a container may go without ever having run.
func (w *waits) removed(id string, r Result) {
	w.tell(id, r, func(*wait) bool { return true })
}

func (w *waits) tell(id string, r Result, concerned func(*wait) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keep(id, func(x *wait) bool {
		if !concerned(x) {
			return true
		}
		x.result <- r // It has room, and is kept no longer.
		return false
	})
}

func (w *waits) keep(id string, stays func(*wait) bool) {
	w.m[id] = slices.DeleteFunc(w.m[id], func(x *wait) bool { return !stays(x) })
	if len(w.m[id]) == 0 {
		delete(w.m, id)
	}
}
