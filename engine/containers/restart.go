package containers

import (
	"context"
	"log/slog"
	"time"

	"github.com/containerd/errdefs"
	eventsapi "github.com/moby/moby/api/types/events"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
)

// restarter restarts containers for clients.
type restarter struct {
	ground
	stopper *stopper
	starter *starter
}

// Restart stops a container, when it runs, and starts it. A client that goes away does not end it half-way.
func (r *restarter) Restart(ctx context.Context, ref string, o Stop) error {
	c, err := r.store.Get(ref)
	if err != nil {
		return err
	}
	if err := r.restart(context.WithoutCancel(ctx), c, o); err != nil {
		// Whatever it was, moby answers 500.
		return fault.Errorf(errdefs.ErrInternal, "Cannot restart container %s: %w", ref, err)
	}
	return nil
}

func (r *restarter) restart(ctx context.Context, c *container.Container, o Stop) error {
	if busy(c) {
		// Its exit is not its end: --rm must not remove it.
		r.runs.change(c.ID, func(x *run) { x.again = true })
		defer r.runs.change(c.ID, func(x *run) { x.again = false })
		if err := r.stopper.stop(ctx, c, o); err != nil {
			return err
		}
	}
	unlock := r.store.Lock(c.ID)
	defer unlock()
	c, err := r.store.Get(c.ID)
	if err != nil {
		return err
	}
	if !c.State.Running() {
		if err := r.starter.start(ctx, c, true); err != nil {
			return err
		}
		if c, err = r.store.Get(c.ID); err != nil {
			return err
		}
	}
	r.announce.tell(c, eventsapi.ActionRestart)
	return nil
}

// later starts a container after a pause, unless a client stops it meanwhile or the engine ends.
func (s *starter) later(c *container.Container, pause time.Duration) {
	cancel := make(chan struct{})
	s.runs.change(c.ID, func(r *run) {
		if r.stopped {
			close(cancel)
			return
		}
		r.cancel = cancel
	})
	go func() {
		select {
		case <-s.runs.closed:
			return // The next engine finds it waiting.
		case <-cancel:
			s.giveUp(c.ID)
		case <-time.After(pause):
			s.again(c.ID)
		}
	}()
}

// again starts a container whose pause is over.
func (s *starter) again(id string) {
	unlock := s.store.Lock(id)
	defer unlock()
	s.runs.change(id, func(r *run) { r.cancel = nil })
	c, err := s.store.Get(id)
	if err != nil || c.State.Status != container.Restarting {
		return
	}
	var stopped bool
	s.runs.change(id, func(r *run) { stopped = r.stopped })
	if !stopped {
		if err = s.start(context.Background(), c, false); err == nil {
			return
		}
		slog.Error("cannot start a container again", "container", id, "error", err)
	}
	s.idle(id)
}

// giveUp ends the waiting for a restart.
func (s *starter) giveUp(id string) {
	unlock := s.store.Lock(id)
	defer unlock()
	s.idle(id)
}

// idle makes a container that waited for its restart an exited one.
func (s *starter) idle(id string) {
	c, err := s.store.Update(id, func(c *container.Container) error {
		if c.State.Status == container.Restarting {
			c.State.Status = container.Exited
		}
		return nil
	})
	if err == nil {
		s.waits.exited(id, resultOf(c))
	}
}
