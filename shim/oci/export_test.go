package oci

import (
	"context"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// State is the runtime's answer to `state`.
func (r *Runtime) State(ctx context.Context, id string) (*specs.State, error) {
	var state specs.State
	if err := r.read(ctx, &call{verb: "state", id: id}, &state); err != nil {
		return nil, err
	}
	return &state, nil
}
