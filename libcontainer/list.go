package libcontainer

import (
	"fmt"

	"github.com/gantry-containers/gantry/libcontainer/state"
)

// List tells about every container below Root, sorted by id. What can't be read is in
// broken, and stops nothing. A Root that does not exist is an error that matches
// fs.ErrNotExist.
func (r *Runtime) List() (all []Info, broken []error, err error) {
	ids, err := state.List(r.Root)
	if err != nil {
		return nil, nil, err
	}
	for _, id := range ids {
		info, err := r.State(id)
		if err != nil {
			broken = append(broken, fmt.Errorf("load container %s: %w", id, err))
			continue
		}
		all = append(all, *info)
	}
	return all, broken, nil
}
