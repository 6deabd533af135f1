package containers

import (
	"context"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"
	eventsapi "github.com/moby/moby/api/types/events"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/spec"
)

// updater changes limits and restart policies.
type updater struct {
	ground
	tasks    Signaler
	machine  spec.Machine
	settings func() Settings
}

// Update sets those resources that are named, and the restart policy when it is. The version is the client's.
func (u *updater) Update(ctx context.Context, ref string, change api.UpdateConfig, version string) (api.UpdateResponse, error) {
	set := u.settings()
	warnings, err := spec.CheckUpdate(version, &change, set.Defaults, set.Facts)
	if err != nil {
		return api.UpdateResponse{}, err
	}
	c, err := u.store.Get(ref)
	if err != nil {
		return api.UpdateResponse{}, err
	}
	unlock := u.store.Lock(c.ID)
	defer unlock()
	if err := u.update(context.WithoutCancel(ctx), c.ID, &change); err != nil {
		return api.UpdateResponse{}, err
	}
	return api.UpdateResponse{Warnings: warnings}, nil
}

func (u *updater) update(ctx context.Context, id string, change *api.UpdateConfig) error {
	before, err := u.store.Get(id)
	if err != nil {
		return err
	}
	c, err := u.store.Update(id, func(c *container.Container) (err error) {
		if c.State.RemovalInProgress || c.State.Status == container.Dead {
			return fault.Errorf(errdefs.ErrUnknown, `Cannot update container %s: container is marked for removal and cannot be "update"`, id)
		}
		c.HostConfig, err = spec.Update(id, c.HostConfig, change)
		return err
	})
	if err != nil {
		return err
	}
	defer u.announce.tell(c, eventsapi.ActionUpdate)
	if !c.State.Running() {
		return nil
	}
	resources, err := spec.Resources(change.Resources, u.machine)
	if err == nil {
		err = u.tasks.Update(ctx, id, resources)
	}
	if err == nil {
		return nil
	}
	_, back := u.store.Update(id, func(c *container.Container) error {
		c.HostConfig = before.HostConfig
		return nil
	})
	return fault.As(errdefs.ErrInternal, join(wrap(err, "Cannot update container %s", id), back))
}
