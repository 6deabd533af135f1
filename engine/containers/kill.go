package containers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	eventsapi "github.com/moby/moby/api/types/events"
	"github.com/moby/sys/signal"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
)

const (
	// killTime is how long a container may take to end after SIGKILL, lastTime after the engine tried that by itself.
	killTime, lastTime = 10 * time.Second, 2 * time.Second
)

// signals sends signals to containers.
type signals struct {
	ground
	tasks Signaler
	exits *exits
}

// Kill sends a signal (empty for SIGKILL) to a container. After SIGKILL it waits for the end.
func (s *signals) Kill(ctx context.Context, ref, name string) error {
	sig := syscall.SIGKILL
	if name != "" {
		var err error
		if sig, err = signal.ParseSignal(name); err != nil {
			return wrap(fault.As(errdefs.ErrInvalidArgument, err), "cannot kill container: %s", ref)
		}
		if !signal.ValidSignalForPlatform(sig) {
			return wrap(fault.Errorf(errdefs.ErrInvalidArgument, "the linux daemon does not support signal %d", sig), "cannot kill container: %s", ref)
		}
	}
	c, err := s.store.Get(ref)
	if err == nil {
		if sig == syscall.SIGKILL {
			err = s.kill(context.WithoutCancel(ctx), c)
		} else {
			err = s.send(context.WithoutCancel(ctx), c.ID, sig)
		}
	}
	return wrap(err, "cannot kill container: %s", ref)
}

// send sends a signal to a container that runs, and remembers what it means for the restart policy. A container that
// waits for its restart is only told not to. errGone says that there was no process any more.
func (s *signals) send(ctx context.Context, id string, sig syscall.Signal) error {
	unlock := s.store.Lock(id)
	defer unlock()
	c, err := s.store.Get(id)
	if err != nil {
		return err
	}
	if !busy(c) {
		return notRunning(c.ID)
	}
	ends := endedBy(c, sig)
	if ends {
		s.runs.stop(c.ID)
	}
	c, err = s.store.Update(c.ID, func(c *container.Container) error {
		c.StopRequested = true
		return nil
	})
	if err != nil {
		return err
	}
	if c.State.Status == container.Restarting {
		return nil
	}
	resume := ends && c.State.Status == container.Paused
	switch err := s.tasks.Kill(ctx, c.ID, "", sig, false); {
	case errdefs.IsNotFound(err):
		// Its exit is on the way, or was missed.
		resume = false
		go s.exits.check(context.WithoutCancel(ctx), c.ID)
	case err != nil:
		return fmt.Errorf("Cannot kill container %s: %w", c.ID, err) //nolint:staticcheck // clients know these words
	}
	s.announce.tell(c, eventsapi.ActionKill, "signal", strconv.Itoa(int(sig)))
	if resume {
		s.resume(ctx, c.ID)
	}
	return nil
}

// resume lets a paused container go on, so that a signal reaches it.
func (s *signals) resume(ctx context.Context, id string) {
	err := s.tasks.Resume(ctx, id)
	if err != nil {
		slog.Warn("cannot unpause container", "container", id, "error", err)
		return
	}
	c, err := s.store.Update(id, func(c *container.Container) error {
		c.State.Status = container.Running
		return nil
	})
	if err != nil {
		slog.Warn("that a container is unpaused is not in its record", "container", id, "error", err)
		return
	}
	s.announce.tell(c, eventsapi.ActionUnPause)
}

// endedBy says that a signal shall end a container: any when the image names no stop signal, else that one and SIGKILL.
func endedBy(c *container.Container, sig syscall.Signal) bool {
	if c.Config.StopSignal == "" || sig == syscall.SIGKILL {
		return true
	}
	stop, err := signal.ParseSignal(c.Config.StopSignal)
	return err == nil && stop == sig
}

// kill ends a container and waits until it has ended.
func (s *signals) kill(ctx context.Context, c *container.Container) error {
	if !busy(c) {
		return notRunning(c.ID)
	}
	err := s.send(ctx, c.ID, syscall.SIGKILL)
	if s.idleWithin(ctx, c.ID, killTime) {
		return nil
	}
	slog.Warn("a container did not exit after SIGKILL, trying it directly", "container", c.ID, "error", err)
	if now, err := s.store.Get(c.ID); err == nil && now.State.Pid > 0 {
		switch err := syscall.Kill(now.State.Pid, syscall.SIGKILL); {
		case errors.Is(err, syscall.ESRCH):
			s.exits.check(ctx, c.ID)
		case err != nil:
			return err
		}
	}
	if !s.idleWithin(ctx, c.ID, lastTime) {
		return errors.New("tried to kill container, but did not receive an exit event")
	}
	return nil
}

func (g ground) idleWithin(ctx context.Context, id string, d time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return g.untilIdle(ctx, id)
}
