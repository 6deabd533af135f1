package containers

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	eventsapi "github.com/moby/moby/api/types/events"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
)

// pauser freezes containers.
type pauser struct {
	ground
	tasks  Signaler
	health Health
}

// Pause freezes all processes of a container.
func (p *pauser) Pause(ctx context.Context, ref string) error {
	return p.change(ctx, ref, container.Paused, eventsapi.ActionPause, func(ctx context.Context, c *container.Container) error {
		switch {
		case c.State.Status == container.Restarting:
			return restarting(c.ID)
		case !c.State.Running():
			return notRunning(c.ID)
		case c.State.Status == container.Paused:
			return fault.Errorf(errdefs.ErrConflict, "container %s is already paused", c.ID)
		}
		if err := p.tasks.Pause(ctx, c.ID); err != nil {
			return fault.Errorf(errdefs.ErrInternal, "cannot pause container %s: %s", c.ID, err)
		}
		return nil
	})
}

// Hold is Pause for a moment of the engine's own, which Unpause ends: when this engine dies, the next one does.
func (p *pauser) Hold(ctx context.Context, id string) error {
	held := func(is bool) error {
		_, err := p.store.Update(id, func(c *container.Container) error {
			if is && c.State.Status != container.Running {
				return notRunning(c.ID)
			}
			c.State.Held = is
			return nil
		})
		return err
	}
	if err := held(true); err != nil {
		return err
	}
	err := p.Pause(ctx, id)
	if err != nil {
		_ = held(false) // It was removed, or else the next start forgets it.
	}
	return err
}

// Unpause lets them go on.
func (p *pauser) Unpause(ctx context.Context, ref string) error {
	return p.change(ctx, ref, container.Running, eventsapi.ActionUnPause, func(ctx context.Context, c *container.Container) error {
		if c.State.Status != container.Paused {
			return fault.Errorf(errdefs.ErrInternal, "Container %s is not paused", c.ID)
		}
		if err := p.tasks.Resume(ctx, c.ID); err != nil {
			return fault.Errorf(errdefs.ErrInternal, "Cannot unpause container %s: %s", c.ID, err)
		}
		return nil
	})
}

func (p *pauser) change(ctx context.Context, ref string, to container.Status, action eventsapi.Action, do func(context.Context, *container.Container) error) error {
	c, err := p.store.Get(ref)
	if err != nil {
		return err
	}
	unlock := p.store.Lock(c.ID)
	defer unlock()
	if c, err = p.store.Get(c.ID); err != nil {
		return err
	}
	if err := do(context.WithoutCancel(ctx), c); err != nil {
		return err
	}
	c, err = p.store.Update(c.ID, func(c *container.Container) error {
		c.State.Status = to
		c.State.Held = c.State.Held && to == container.Paused
		return nil
	})
	if err != nil {
		return fmt.Errorf("container %s: %w", ref, err)
	}
	if to == container.Paused {
		p.health.Unwatch(c.ID) // A probe would be frozen, too.
	} else {
		p.health.Watch(c.ID)
	}
	p.announce.tell(c, action)
	return nil
}
