package containers

import (
	"context"
	"log/slog"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	eventsapi "github.com/moby/moby/api/types/events"
	"github.com/moby/sys/signal"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
)

// stopper stops containers: with a signal first, and with force when that did not help.
type stopper struct {
	ground
	signals  *signals
	settings func() Settings
}

// Stop is how a client wants a container stopped.
type Stop struct {
	// Signal is empty for the container's own.
	Signal string
	// Timeout, in seconds, is nil for the container's own; a negative one is for ever.
	Timeout *int
}

// Stop stops a container. One that does not run is errdefs.ErrNotModified. A client that goes away does not end it.
func (s *stopper) Stop(ctx context.Context, ref string, o Stop) error {
	c, err := s.store.Get(ref)
	if err != nil {
		return err
	}
	if !busy(c) {
		return fault.Errorf(errdefs.ErrNotModified, "container is already stopped")
	}
	if err := s.stop(context.WithoutCancel(ctx), c, o); err != nil {
		return fault.As(errdefs.ErrInternal, wrap(err, "cannot stop container: %s", ref))
	}
	return nil
}

func (s *stopper) stop(ctx context.Context, c *container.Container, o Stop) error {
	if !busy(c) {
		return nil
	}
	sig, wait, err := s.how(c, o)
	if err != nil {
		return err
	}
	sent := s.signals.send(ctx, c.ID, sig)
	if sent != nil && wait >= 0 {
		wait = 2 * time.Second
	}
	if wait < 0 {
		s.untilIdle(ctx, c.ID)
	} else if !s.idleWithin(ctx, c.ID, wait) {
		slog.Info("a container did not exit after its stop signal, using the force", "container", c.ID, "signal", int(sig), "waited", wait, "error", sent)
		if err := s.force(ctx, c); err != nil {
			return err
		}
	}
	// The exit is written down before those who wait are told; the event tells of it as it is now.
	if now, err := s.store.Get(c.ID); err == nil {
		c = now
	}
	s.announce.tell(c, eventsapi.ActionStop)
	return nil
}

// how finds signal and patience; the latter is negative for ever.
func (s *stopper) how(c *container.Container, o Stop) (syscall.Signal, time.Duration, error) {
	sig := stopSignal(c)
	if o.Signal != "" {
		var err error
		if sig, err = signal.ParseSignal(o.Signal); err != nil {
			return 0, 0, fault.As(errdefs.ErrInvalidArgument, err)
		}
	}
	wait := s.settings().stopTimeout()
	for _, t := range []*int{c.Config.StopTimeout, o.Timeout} {
		if t != nil {
			wait = time.Duration(*t) * time.Second
		}
	}
	return sig, wait, nil
}

func stopSignal(c *container.Container) syscall.Signal {
	if sig, err := signal.ParseSignal(c.Config.StopSignal); err == nil && sig > 0 {
		return sig
	}
	return syscall.SIGTERM
}

// force kills a container. It may have ended on its own meanwhile.
func (s *stopper) force(ctx context.Context, c *container.Container) error {
	now, err := s.store.Get(c.ID)
	if err != nil {
		return err
	}
	if err := s.signals.kill(ctx, now); err != nil && !s.idleWithin(ctx, c.ID, 2*time.Second) {
		return err
	}
	return nil
}
