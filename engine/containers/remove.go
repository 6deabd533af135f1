package containers

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/containerd/errdefs"
	eventsapi "github.com/moby/moby/api/types/events"
	"golang.org/x/sync/errgroup"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
)

// remover removes containers.
type remover struct {
	ground
	stopper  *stopper
	tasks    Tasks
	roots    Roots
	mounts   Mounts
	teardown *teardown
}

// Remove is how a client wants a container removed.
type Remove struct {
	// Force kills one that runs. Volumes removes anonymous ones, too. Link is about a legacy link, not the container.
	Force, Volumes, Link bool
}

// Remove removes a container. A client that goes away does not end it half-way.
func (r *remover) Remove(ctx context.Context, ref string, o Remove) error {
	c, err := r.store.Get(ref)
	if err != nil {
		return err
	}
	if o.Link {
		return unlink(ref)
	}
	ctx = context.WithoutCancel(ctx)
	c, err = r.store.Update(c.ID, func(c *container.Container) error {
		if c.State.RemovalInProgress {
			return fault.Errorf(errdefs.ErrConflict, "removal of container %s is already in progress", ref)
		}
		if err := removable(c, o.Force); err != nil {
			return wrap(err, "cannot remove container %q", ref)
		}
		c.State.RemovalInProgress, c.State.RemoveVolumes = true, o.Volumes
		return nil
	})
	if errdefs.IsNotFound(err) {
		return nil // Somebody was faster.
	}
	if err != nil {
		return err
	}
	return wrap(r.remove(ctx, c, o.Volumes), "cannot remove container %q", ref)
}

// removable says no to containers that run.
func removable(c *container.Container, force bool) error {
	switch {
	case force || !busy(c):
		return nil
	case c.State.Status == container.Paused:
		return fault.Errorf(errdefs.ErrConflict, "container is paused and must be unpaused first")
	}
	return fault.Errorf(errdefs.ErrConflict, "container is %s: stop the container before removing or force remove", c.State.Status)
}

// unlink answers for legacy links, of which there are none that have names.
func unlink(ref string) error {
	name := bare(ref)
	parent, _, nested := strings.Cut(name, "/")
	if !nested {
		return fault.Errorf(errdefs.ErrInternal, "Conflict, cannot remove the default link name of the container")
	}
	return fault.Errorf(errdefs.ErrInternal, "Cannot get parent /%s for link name /%s", parent, name)
}

// remove ends a container whose removal has begun, and removes it.
func (r *remover) remove(ctx context.Context, c *container.Container, volumes bool) error {
	if err := r.end(ctx, c); err != nil {
		r.store.Update(c.ID, func(c *container.Container) error { //nolint:errcheck // it may be gone, and then it does not matter
			c.State.RemovalInProgress = false
			return nil
		})
		return err
	}
	unlock := r.store.Lock(c.ID)
	defer unlock()
	return r.gone(ctx, c.ID, volumes)
}

// end kills a container that runs, or waits for its restart.
func (r *remover) end(ctx context.Context, c *container.Container) error {
	if !busy(c) {
		return nil
	}
	if err := r.stopper.signals.kill(ctx, c); err != nil && !errdefs.IsConflict(err) && !errdefs.IsNotFound(err) {
		return fmt.Errorf("could not kill container: %w", err)
	}
	now, err := r.store.Get(c.ID)
	if errdefs.IsNotFound(err) {
		return nil // --rm was faster.
	}
	if err != nil {
		return err
	}
	seconds := 3
	return r.stopper.stop(ctx, now, Stop{Timeout: &seconds})
}

// gone removes a container that does not run. The caller holds its lock. The record goes last: as long as it is there,
// the next engine goes on with the removal.
func (r *remover) gone(ctx context.Context, id string, volumes bool) error {
	c, err := r.store.Get(id)
	if errdefs.IsNotFound(err) {
		return nil // Somebody was faster.
	}
	if err != nil {
		return err
	}
	// What ran with --rm needs no note: its end is one.
	if !c.State.RemovalInProgress && !(c.HostConfig.AutoRemove && c.Started) {
		if c, err = r.store.Update(id, func(c *container.Container) error {
			c.State.RemovalInProgress, c.State.RemoveVolumes = true, volumes
			return nil
		}); err != nil {
			return err
		}
	}
	if err := r.clear(ctx, c, volumes); err != nil {
		r.dead(id, err)
		return err
	}
	r.runs.forget(id)
	r.waits.removed(id, Result{ExitCode: c.State.ExitCode})
	r.announce.tell(c, eventsapi.ActionDestroy)
	return nil
}

// clear removes all that belongs to a container.
func (r *remover) clear(ctx context.Context, c *container.Container, volumes bool) error {
	var left, torn bool
	r.runs.change(c.ID, func(x *run) { left, torn = x.left, x.torn })
	if left {
		if _, err := r.tasks.Destroy(ctx, c.ID); err != nil {
			return err
		}
	}
	var g errgroup.Group
	g.Go(func() error { return r.roots.Remove(ctx, c.ID) })
	if !torn {
		g.Go(func() error {
			r.teardown.all(ctx, c)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return fault.As(errdefs.ErrInternal, err)
	}
	if err := r.mounts.Release(ctx, c, volumes); err != nil {
		slog.Error("volumes of a removed container are left", "container", c.ID, "error", err)
	}
	return r.store.Delete(c.ID)
}

// dead is what a container is that could not be removed.
func (r *remover) dead(id string, err error) {
	c, update := r.store.Update(id, func(c *container.Container) error {
		c.State.RemovalInProgress = false
		c.State.Status, c.State.Error = container.Dead, err.Error()
		return nil
	})
	if update == nil {
		r.waits.removed(id, resultOf(c))
	}
}
