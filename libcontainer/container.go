package libcontainer

import (
	"errors"
	"fmt"

	"github.com/gantry-containers/gantry/libcontainer/cgroup"
	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/state"
)

// load opens a container's directory and reads its state, without a lock. Who gets no
// error must close the directory. A container that is only just being made, or half
// removed, does not exist for its users.
func (r *Runtime) load(id string) (*state.Dir, *state.State, error) {
	dir, err := state.Open(r.Root, id)
	if err != nil {
		return nil, nil, err
	}
	st, err := dir.Load()
	if err == nil {
		return dir, st, nil
	}
	_ = dir.Close() // it was only read
	if errors.Is(err, state.ErrIncomplete) {
		err = ErrNotExist
	}
	return nil, nil, err
}

// statusOf derives the status from the process and the cgroup: what is on disk may be old.
func statusOf(st *state.State) (Status, error) {
	alive, err := st.Init.Alive()
	if err != nil {
		return "", err
	}
	if !alive {
		return Stopped, nil
	}
	frozen, err := cgroup.FromState(st.CgroupPaths).State()
	switch {
	case err != nil:
		return "", err
	case frozen:
		return Paused, nil
	case st.Started:
		return Running, nil
	}
	return Created, nil
}

// trace tells the user what is about to be done, if anybody listens.
func (r *Runtime) trace(p *plan.Plan) {
	if r.Debug == nil {
		return
	}
	for i := range p.Ops {
		op := &p.Ops[i]
		r.Debug(fmt.Sprintf("%s: %s [%s]", op.Actor, op.Do, op.Field))
	}
}

// warn tells the user, if anybody listens.
func (r *Runtime) warn(text string) {
	if r.Warn != nil {
		r.Warn(text)
	}
}
