package containers

import (
	"context"
	"strings"

	"github.com/containerd/errdefs"
	eventsapi "github.com/moby/moby/api/types/events"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/names"
)

// renamer renames containers.
type renamer struct {
	ground
	networks Networks
}

// Rename gives a container another name.
func (r *renamer) Rename(ctx context.Context, ref, name string) error {
	ref, name = strings.TrimSpace(ref), strings.TrimSpace(name)
	if bare(ref) == "" || bare(name) == "" {
		return fault.Errorf(errdefs.ErrInvalidArgument, "Neither old nor new names may be empty")
	}
	c, err := r.store.Get(ref)
	if err != nil {
		return err
	}
	unlock := r.store.Lock(c.ID)
	defer unlock()
	var old string
	c, err = r.store.Update(c.ID, func(c *container.Container) error {
		if c.Name == bare(name) {
			return fault.Errorf(errdefs.ErrInvalidArgument, "Renaming a container with the same name as its current name")
		}
		if err := names.Check("/" + bare(name)); err != nil {
			return wrap(err, "Error when allocating new name")
		}
		old, c.Name = c.Name, bare(name)
		return nil
	})
	if errdefs.IsAlreadyExists(err) {
		return wrap(err, "Error when allocating new name")
	}
	if err != nil {
		return err
	}
	r.networks.Renamed(ctx, c)
	r.announce.tell(c, eventsapi.ActionRename, "oldName", "/"+old)
	return nil
}
