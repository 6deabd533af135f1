package libcontainer

import "github.com/gantry-containers/gantry/libcontainer/state"

// State tells about one container, runtime.md "Query State". The error is ErrNotExist or
// ErrInvalidID, or says why its state can't be read.
func (r *Runtime) State(id string) (*Info, error) {
	dir, st, err := r.load(id)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return infoOf(st)
}

func infoOf(st *state.State) (*Info, error) {
	status, err := statusOf(st)
	if err != nil {
		return nil, err
	}
	info := &Info{
		OCIVersion:  st.OCIVersion,
		ID:          st.ID,
		PID:         st.Init.PID,
		Status:      status,
		Bundle:      st.Bundle,
		Rootfs:      st.Rootfs,
		Created:     st.Created,
		Annotations: st.Annotations,
		Owner:       st.Owner,
	}
	if status == Stopped {
		info.PID = 0 // the number may already be another process'
	}
	return info, nil
}
