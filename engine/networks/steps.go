package networks

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/names"
)

// Place is what a step of a build has of the default bridge.
type Place struct {
	// Device is in the step's namespace.
	Device string
	MAC    net.HardwareAddr
	// IPv4 and IPv6 come with the size of their networks; invalid for none, as are the ways out.
	IPv4, IPv6         netip.Prefix
	Gateway4, Gateway6 netip.Addr
}

// stepName is what can be a file's name. The name of a container's record cannot be among them: that one is longer.
var stepName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$`)

// nobody is the container of steps.
var nobody = &container.Container{HostConfig: &api.HostConfig{}}

// JoinStep leads a device of a namespace that a builder has made to the default bridge, if it does not yet. The namespace
// is a step's, or is kept for the next ones; no client sees it among the containers. With an error nothing is left. Faults
// are ErrInvalidArgument, ErrAlreadyExists, and ErrNotFound when there is no default bridge.
func (s *Service) JoinStep(ctx context.Context, step, namespace, device string) (_ *Place, err error) {
	if !stepName.MatchString(step) {
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, "invalid name of a build's step: %q", step)
	}
	s.steps.Lock()
	defer s.steps.Unlock()
	if b := s.get(step); b != nil {
		if b.Step != namespace {
			return nil, fault.Errorf(errdefs.ErrAlreadyExists, "step %s has a network", step)
		}
		return b.Endpoints[0].place(), nil
	}
	if err := s.left(ctx, step); err != nil {
		return nil, err
	}
	if !s.o.Devices.Lives(namespace) {
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, "%s is no network namespace", namespace)
	}
	n, err := s.find(network.NetworkBridge)
	if err != nil {
		return nil, err
	}
	e, err := s.enter(ctx, nobody, n, &network.EndpointSettings{DriverOpts: map[string]string{optEndpointName: device}}, nil)
	if err != nil {
		return nil, err
	}
	b := &sandbox{ID: names.ID(), Container: step, Step: namespace, Endpoints: []*endpoint{e}}
	b.Namespace = s.o.Devices.Path(b.ID[:12])
	if err := s.equipStep(b); err != nil {
		s.free(ctx, s.take(step))
		if !s.o.Devices.Lives(namespace) { // The builder took it away meanwhile.
			err = fault.As(errdefs.ErrInvalidArgument, err)
		}
		return nil, errors.Join(err, s.left(ctx, step))
	}
	return e.place(), nil
}

// equipStep makes what a step has. It is written down before: an engine that is killed leaves nothing unknown.
func (s *Service) equipStep(b *sandbox) error {
	if err := s.put(b); err != nil {
		return err
	}
	if err := s.o.Devices.KeepNamespace(filepath.Base(b.Namespace), b.Step); err != nil {
		return err
	}
	routes, _, _ := b.ways()
	return s.attach(b, routes)
}

// Step is what a step has; nil for nothing.
func (s *Service) Step(step string) *Place {
	if b := s.get(step); b != nil && b.Step != "" {
		return b.Endpoints[0].place()
	}
	return nil
}

// LeaveStep takes away what a step has, and returns when it is gone. It can be repeated.
func (s *Service) LeaveStep(ctx context.Context, step string) error {
	s.steps.Lock()
	if b := s.get(step); b != nil && b.Step != "" {
		s.free(ctx, s.take(step))
	}
	s.steps.Unlock()
	return s.left(ctx, step)
}

// LeaveSteps takes away what all steps have.
func (s *Service) LeaveSteps(ctx context.Context) error {
	s.steps.Lock()
	all := s.which(func(b *sandbox) bool { return b.Step != "" })
	for _, b := range all {
		s.free(ctx, s.take(b.Container))
	}
	s.steps.Unlock()
	var errs []error
	for _, b := range all {
		errs = append(errs, s.left(ctx, b.Container))
	}
	return errors.Join(errs...)
}

func (e *endpoint) place() *Place {
	return &Place{Device: e.Link.Name, MAC: e.Link.MAC, IPv4: e.IPv4, IPv6: e.IPv6, Gateway4: e.Gateway4, Gateway6: e.Gateway6}
}
