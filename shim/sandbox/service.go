package sandbox

import (
	"context"
	"sync"

	"github.com/gantry-containers/gantry/shim/ttrpc"
)

// Service is the sandbox service of one shim, which has one sandbox or none.
type Service struct {
	Namespace string
	Released  func() // called when ShutdownSandbox has given the shim up: it may end once no container is left

	mu  sync.Mutex
	pod *pod // between Create and Shutdown
}

// Name is the service that Methods serve.
const Name = "containerd.runtime.sandbox.v1.Sandbox"

// Methods are the service's methods for a ttrpc server.
func (s *Service) Methods() map[string]ttrpc.Method {
	return map[string]ttrpc.Method{
		"CreateSandbox":   ttrpc.Unary(s.create),
		"StartSandbox":    ttrpc.Unary(s.start),
		"Platform":        ttrpc.Unary(s.platform),
		"StopSandbox":     ttrpc.Unary(s.stop),
		"WaitSandbox":     ttrpc.Unary(s.wait),
		"SandboxStatus":   ttrpc.Unary(s.status),
		"PingSandbox":     ttrpc.Unary(s.ping),
		"ShutdownSandbox": ttrpc.Unary(s.shutdown),
		"SandboxMetrics":  ttrpc.Unary(s.metrics),
		"UpdateSandbox":   ttrpc.Unary(s.update),
	}
}

// Active says that there is a sandbox: the shim may not end, though it has no containers.
func (s *Service) Active() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pod != nil
}

func (s *Service) forget(p *pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pod == p {
		s.pod = nil
	}
}

// find returns the sandbox, if it is this one.
func (s *Service) find(id string) (*pod, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case id == "":
		return nil, ttrpc.Errorf(ttrpc.InvalidArgument, "sandbox_id is empty")
	case s.pod == nil || s.pod.id != id:
		return nil, ttrpc.Errorf(ttrpc.NotFound, "sandbox %q not found in this shim", id)
	}
	return s.pod, nil
}

// inTurn finds the sandbox and runs an operation that excludes others.
func (s *Service) inTurn(ctx context.Context, id string, operation func(*pod) error) error {
	p, err := s.find(id)
	if err != nil {
		return err
	}
	select {
	case <-p.turn:
	case <-ctx.Done():
		return ttrpc.Errorf(ttrpc.DeadlineExceeded, "sandbox %q is busy with another request: %w", id, ctx.Err())
	}
	defer func() { p.turn <- struct{}{} }()
	return operation(p)
}
