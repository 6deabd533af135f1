package task

import (
	"context"
	"fmt"
	"slices"
	"time"

	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"

	"github.com/gantry-containers/gantry/manager/shim"
)

const (
	// heardLimit is how soon a shim that is well has heard that it may go.
	heardLimit = 250 * time.Millisecond
	// eventsLimit is how long the events may take that a shim sent before it ended. Some end without, or have other tasks,
	// and forget them. One that comes later is not told twice.
	eventsLimit = 2 * time.Second
)

// dismiss asks the shim of a deleted task to end, which it does not while it has other tasks. It returns when the shim has
// heard that, so that none is left if the manager dies next; it ends in the background. One that does not hear is waited for
// until it has been killed. It can be repeated.
func (t *task) dismiss(ctx context.Context, s *shim.Shim) error {
	t.mu.Lock()
	first := t.left == nil
	if first {
		t.left = make(chan struct{})
	}
	t.mu.Unlock()
	if first {
		t.m.mu.Lock()
		t.m.leaving[t.key] = append(t.m.leaving[t.key], t)
		t.m.mu.Unlock()
		heard := make(chan bool, 1)
		go t.leave(context.WithoutCancel(ctx), s, heard)
		if <-heard {
			return nil
		}
	}
	select {
	case <-t.left:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the shim does not end: %w", ctx.Err())
	}
}

// leave sees a shim to its end.
func (t *task) leave(ctx context.Context, s *shim.Shim, heard chan<- bool) {
	limited, cancel := context.WithTimeout(ctx, min(heardLimit, t.m.limits.shutdown))
	_, err := s.Tasks().Shutdown(limited, &taskv3.ShutdownRequest{ID: t.id})
	heard <- err == nil || limited.Err() == nil && !disconnected(err)
	cancel()
	t.shutdown(ctx, s)
	close(t.left)
	t.tellRest(ctx, s)
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	rest := slices.DeleteFunc(t.m.leaving[t.key], func(other *task) bool { return other == t })
	if len(rest) == 0 {
		delete(t.m.leaving, t.key)
	} else {
		t.m.leaving[t.key] = rest
	}
}

// shutdown asks until the shim has ended, or has agreed to go on for others.
func (t *task) shutdown(ctx context.Context, s *shim.Shim) {
	for wait := retryAfter; ; wait = min(2*wait, time.Minute) {
		limited, cancel := context.WithTimeout(ctx, t.m.limits.shutdown)
		err := s.Shutdown(limited)
		cancel()
		if err == nil {
			return
		}
		t.warn("its shim does not end", err)
		select {
		case <-time.After(wait):
		case <-s.Gone():
			return
		case <-t.m.closed:
			return
		}
	}
}

// tellRest tells the exit and the delete of a task that its shim has deleted, if the shim does not.
func (t *task) tellRest(ctx context.Context, s *shim.Shim) {
	defer s.Close() //nolint:errcheck // the shim has left, or goes on without us
	if t.toldAll() {
		return
	}
	select {
	case <-t.toldEnd:
	case <-time.After(eventsLimit):
		t.warn("its end", t.tellEnd(ctx))
	}
}
