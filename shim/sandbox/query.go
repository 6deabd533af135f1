package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"runtime"
	"time"

	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/sandbox"
	"github.com/gantry-containers/gantry/shim/api/types"
	"github.com/gantry-containers/gantry/shim/cgroup"
	"github.com/gantry-containers/gantry/shim/ttrpc"
)

func (s *Service) platform(_ context.Context, r *sandbox.PlatformRequest) (*sandbox.PlatformResponse, error) {
	if _, err := s.find(r.SandboxId); err != nil {
		return nil, err
	}
	return &sandbox.PlatformResponse{Platform: &types.Platform{Os: runtime.GOOS, Architecture: runtime.GOARCH}}, nil
}

// wait answers when the pause process has ended.
func (s *Service) wait(ctx context.Context, r *sandbox.WaitSandboxRequest) (*sandbox.WaitSandboxResponse, error) {
	p, err := s.find(r.SandboxId)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.ended:
	case <-ctx.Done():
		return nil, ttrpc.Errorf(ttrpc.DeadlineExceeded, "wait for sandbox %q: %w", p.id, ctx.Err())
	}
	now := p.look()
	return &sandbox.WaitSandboxResponse{ExitStatus: uint32(now.exit.Status), ExitedAt: known.At(now.exit.At)}, nil
}

// ready says of a state what the CRI does (k8s.io/cri-api, PodSandboxState).
var ready = map[bool]string{true: "SANDBOX_READY", false: "SANDBOX_NOTREADY"}

func (s *Service) status(_ context.Context, r *sandbox.SandboxStatusRequest) (*sandbox.SandboxStatusResponse, error) {
	p, err := s.find(r.SandboxId)
	if err != nil {
		return nil, err
	}
	now := p.look()
	answer := &sandbox.SandboxStatusResponse{
		SandboxId: p.id,
		Pid:       uint32(now.pid),
		State:     ready[now.state == running],
		CreatedAt: known.At(p.created),
		ExitedAt:  known.At(now.exit.At),
	}
	if r.Verbose {
		answer.Info, err = now.info()
	}
	return answer, err
}

// info is what the CRI plugin decodes of a verbose status (containerd, internal/cri/server/podsandbox/types,
// SandboxInfo), as far as the shim knows it.
func (v view) info() (map[string]string, error) {
	text, err := json.Marshal(struct {
		Pid    int             `json:"pid"`
		Status state           `json:"processStatus"`
		Spec   json.RawMessage `json:"runtimeSpec"`
	}{v.pid, v.state, v.spec})
	return map[string]string{"info": string(text)}, err
}

func (s *Service) ping(_ context.Context, r *sandbox.PingRequest) (*sandbox.PingResponse, error) {
	if _, err := s.find(r.SandboxId); err != nil {
		return nil, err
	}
	return &sandbox.PingResponse{}, nil
}

// metrics are those of the pod's cgroup.
func (s *Service) metrics(_ context.Context, r *sandbox.SandboxMetricsRequest) (*sandbox.SandboxMetricsResponse, error) {
	p, err := s.find(r.SandboxId)
	if err != nil {
		return nil, err
	}
	now := p.look()
	if now.state != running {
		return nil, ttrpc.Errorf(ttrpc.FailedPrecondition, "sandbox %q has no metrics: it is %s", p.id, now.state)
	}
	data, err := p.stats(now.pid)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ttrpc.Errorf(ttrpc.NotFound, "metrics of sandbox %q: %w", p.id, err)
	}
	if err != nil {
		return nil, err
	}
	return &sandbox.SandboxMetricsResponse{Metrics: &types.Metric{Timestamp: known.At(time.Now()), Id: p.id, Data: data}}, nil
}

// stats are those of the cgroup that the CRI plugin names, in which the kubelet counts the whole pod. Where none is
// named there is only that of the pause process.
func (p *pod) stats(pid int) (*known.Any, error) {
	c, err := cgroup.Of(pid)
	if err != nil {
		return nil, err
	}
	if p.wishes.parentCgroup {
		c = c.Parent()
	}
	return c.Stats()
}

// update takes note of nothing: labels, annotations and extensions are the daemon's to keep, and the limits of a pod's
// cgroup are set by whoever has made it.
func (s *Service) update(_ context.Context, r *sandbox.UpdateSandboxRequest) (*sandbox.UpdateSandboxResponse, error) {
	if _, err := s.find(r.SandboxId); err != nil {
		return nil, err
	}
	return &sandbox.UpdateSandboxResponse{}, nil
}
