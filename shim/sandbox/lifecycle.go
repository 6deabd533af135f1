package sandbox

import (
	"context"
	"time"

	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/sandbox"
	"github.com/gantry-containers/gantry/shim/ttrpc"
)

// specType is how containerd names a spec, which is JSON.
const specType = "types.containerd.io/opencontainers/runtime-spec/1/Spec"

// start makes the pod's namespaces.
func (s *Service) start(ctx context.Context, r *sandbox.StartSandboxRequest) (*sandbox.StartSandboxResponse, error) {
	var answer *sandbox.StartSandboxResponse
	err := s.inTurn(ctx, r.SandboxId, func(p *pod) error {
		if now := p.look(); now.state != fresh {
			return ttrpc.Errorf(ttrpc.FailedPrecondition, "sandbox %q cannot be started: it is %s", p.id, now.state)
		}
		pid, err := p.run(ctx)
		if err != nil {
			return err
		}
		answer = &sandbox.StartSandboxResponse{
			Pid:       uint32(pid),
			CreatedAt: known.At(p.created),
			Spec:      &known.Any{TypeUrl: specType, Value: p.look().spec},
		}
		return nil
	})
	return answer, err
}

// stop ends the pause process: with SIGTERM and then SIGKILL if the caller gives it time, else with SIGKILL, as
// containerd's own controller does.
func (s *Service) stop(ctx context.Context, r *sandbox.StopSandboxRequest) (*sandbox.StopSandboxResponse, error) {
	err := s.inTurn(ctx, r.SandboxId, func(p *pod) error {
		if err := p.stop(ctx, time.Duration(r.TimeoutSecs)*time.Second); err != nil {
			return err
		}
		return p.remove(ctx)
	})
	if err != nil {
		return nil, err
	}
	return &sandbox.StopSandboxResponse{}, nil
}

// shutdown ends the sandbox, and with it the shim if it has no containers. It may be called again, and for a sandbox whose
// creation failed: then the shim is of no use either. What the runtime cannot remove is left to the delete action.
func (s *Service) shutdown(ctx context.Context, r *sandbox.ShutdownSandboxRequest) (*sandbox.ShutdownSandboxResponse, error) {
	err := s.inTurn(ctx, r.SandboxId, func(p *pod) error {
		if err := p.stop(ctx, 0); err != nil {
			return err
		}
		if err := p.remove(ctx); err != nil {
			p.warn("remove the sandbox", err)
		}
		s.forget(p)
		return nil
	})
	if err != nil && s.Active() {
		return nil, err
	}
	s.Released()
	return &sandbox.ShutdownSandboxResponse{}, nil
}
