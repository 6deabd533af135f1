package networks

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"

	"github.com/gantry-containers/gantry/engine/bridge"
	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
)

// ConnectContainer brings a container into one more network, at once when it runs.
func (s *Service) ConnectContainer(ctx context.Context, ref, containerRef string, asked *network.EndpointSettings) error {
	c, unlock, err := s.container(containerRef)
	if err != nil {
		return err
	}
	defer unlock()
	if asked == nil {
		asked = &network.EndpointSettings{}
	}
	ctx = context.WithoutCancel(ctx)
	if c.State.Running() {
		return s.connectLive(ctx, ref, c, asked)
	}
	if err := marked(c); err != nil {
		return err
	}
	n, err := s.find(ref)
	if err != nil {
		return s.record(c, ref, asked) // it may be made before the container starts: moby has it so
	}
	if err := s.joins(c, n, asked); err != nil {
		return err
	}
	if _, already := c.Endpoints[n.Name]; already {
		return nil
	}
	return s.record(c, n.Name, asked)
}

// container finds and locks one.
func (s *Service) container(ref string) (*container.Container, func(), error) {
	if strings.TrimSpace(ref) == "" {
		return nil, nil, fault.Errorf(errdefs.ErrInvalidArgument, "invalid name or ID supplied: %q", ref)
	}
	c, err := s.o.Records.Get(ref)
	if err != nil {
		return nil, nil, err
	}
	unlock := s.o.Records.Lock(c.ID)
	if c, err = s.o.Records.Get(c.ID); err != nil {
		unlock()
		return nil, nil, err
	}
	return c, unlock, nil
}

func marked(c *container.Container) error {
	if c.State.RemovalInProgress || c.State.Status == container.Dead {
		return fmt.Errorf("Container %s is marked for removal and cannot be connected or disconnected to the network", c.ID) //nolint:staticcheck // clients know these words
	}
	return nil
}

// record writes down that a container is in a network; nil takes it out.
func (s *Service) record(c *container.Container, name string, asked *network.EndpointSettings) error {
	_, err := s.o.Records.Update(c.ID, func(c *container.Container) error {
		all := map[string]*network.EndpointSettings{}
		maps.Copy(all, c.Endpoints)
		if asked != nil {
			all[name] = asked
		} else {
			delete(all, name)
		}
		c.Endpoints = all
		return nil
	})
	return err
}

// joins says why a container cannot be in one more network. It completes the names that others will know it by.
func (s *Service) joins(c *container.Container, n *known, asked *network.EndpointSettings) error {
	if !IsPredefined(n.Name) {
		asked.DNSNames = dnsNames(c, asked.Aliases)
	}
	if err := s.fits(n, asked); err != nil {
		return err
	}
	if n.Driver == driverHost && !c.HostConfig.NetworkMode.IsHost() {
		return errNotHost
	}
	for name := range c.Endpoints {
		has, err := s.find(name)
		if err != nil || has == n {
			continue
		}
		if err := together(c, has, n); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) connectLive(ctx context.Context, ref string, c *container.Container, asked *network.EndpointSettings) error {
	if c.HostConfig.NetworkMode.IsContainer() {
		return errShared
	}
	n, err := s.find(ref)
	if err != nil {
		return err
	}
	if err := s.joins(c, n, asked); err != nil {
		return err
	}
	b := s.get(c.ID)
	if b == nil {
		return fault.Errorf(errdefs.ErrInternal, "container %s has no network that could be connected", c.ID)
	}
	if b.on(n.ID) != nil {
		return fault.Errorf(errdefs.ErrPermissionDenied, "endpoint with name %s already exists in network %s", c.Name, n.Name)
	}
	e, err := s.enter(ctx, c, n, asked, b.Endpoints)
	if err != nil {
		return err
	}
	grown := *b
	grown.Endpoints = append(slices.Clone(b.Endpoints), e)
	if err := s.change(ctx, c, step{from: b, to: &grown, more: e}); err != nil {
		return err
	}
	if err := s.record(c, n.Name, asked); err != nil {
		return err
	}
	s.tell(events.ActionConnect, n, c.ID)
	return nil
}

// DisconnectContainer takes a container out of a network, at once when it runs.
func (s *Service) DisconnectContainer(ctx context.Context, ref, containerRef string, force bool) error {
	c, unlock, err := s.container(containerRef)
	if err != nil {
		if _, found := s.find(ref); force && found == nil && errdefs.IsNotFound(err) {
			return fault.Errorf(errdefs.ErrNotFound, "endpoint %s not found", containerRef)
		}
		return err
	}
	defer unlock()
	ctx = context.WithoutCancel(ctx)
	n, missing := s.find(ref)
	if !c.State.Running() || missing != nil && force {
		if err := marked(c); err != nil {
			return err
		}
		name := ref
		if n != nil {
			name = n.Name
		}
		if _, in := c.Endpoints[name]; !in {
			return fmt.Errorf("container %s is not connected to the network %s", c.ID, name)
		}
		return s.record(c, name, nil)
	}
	if missing != nil {
		return missing
	}
	if n.Driver == driverHost && c.HostConfig.NetworkMode.IsHost() {
		return fault.Errorf(errdefs.ErrInvalidArgument, "cannot disconnect container from host network - container was created in host network mode")
	}
	return s.disconnectLive(ctx, c, n)
}

func (s *Service) disconnectLive(ctx context.Context, c *container.Container, n *known) error {
	b := s.get(c.ID)
	var e *endpoint
	if b != nil {
		e = b.on(n.ID)
	}
	if e == nil {
		return fmt.Errorf("container %s is not connected to network %s", c.ID, n.Name)
	}
	shrunk := *b
	shrunk.Endpoints = slices.DeleteFunc(slices.Clone(b.Endpoints), func(o *endpoint) bool { return o == e })
	if err := s.change(ctx, c, step{from: b, to: &shrunk, less: e}); err != nil {
		return err
	}
	if err := s.record(c, n.Name, nil); err != nil {
		return err
	}
	s.tell(events.ActionDisconnect, n, c.ID)
	return nil
}

// step is from one network of a running container to another: by one place more, or one less.
type step struct {
	from, to   *sandbox
	more, less *endpoint
}

// change makes a running container's network another one. When a new place cannot be made, all is as before.
func (s *Service) change(ctx context.Context, c *container.Container, st step) error {
	if err := s.moveDevices(c, st); err != nil {
		if err := s.put(st.from); err != nil {
			slog.Error("the network of a container is not written down", "container", c.ID, "error", err)
		}
		if st.more != nil {
			s.exit(st.more)
		}
		return err
	}
	routes, _, _ := st.to.ways()
	if before, _, _ := st.from.ways(); before != routes {
		if err := s.o.Devices.Route(st.to.Namespace, routes); err != nil {
			slog.Error("the default route of a container is not what it should be", "container", c.ID, "error", err)
		}
	}
	b, err := s.republish(ctx, c, st.from, st.to)
	if err != nil {
		return err
	}
	if err := s.changeFiles(c, st); err != nil {
		slog.Warn("files of a container are not up to date", "container", c.ID, "error", err)
	}
	if st.from.resolves() && !b.resolves() {
		s.forgetNames(ctx, st.from)
	}
	s.answer(ctx, b)
	s.answerLinks(ctx, b)
	return nil
}

// moveDevices makes or removes the devices of a step.
func (s *Service) moveDevices(c *container.Container, st step) error {
	if err := s.put(st.to); err != nil {
		return err
	}
	if st.more != nil {
		if err := s.stillThere(st.to); err != nil {
			return err
		}
		return s.attachMore(st.to, st.more)
	}
	if st.less.Link.Name != "" {
		if err := s.o.Devices.Detach(st.to.Namespace, st.less.Link); err != nil {
			return fmt.Errorf("container %s failed to leave network %s: %w", c.ID, st.less.Name, err)
		}
		s.exit(st.less)
	}
	return nil
}

// attachMore makes the links of a place that is new in a running container.
func (s *Service) attachMore(b *sandbox, e *endpoint) error {
	if e.Link.Name == "" {
		return nil
	}
	return s.attach(&sandbox{Namespace: b.Namespace, Container: b.Container, Endpoints: []*endpoint{e}}, bridge.Routes{})
}

// republish publishes ports anew when another way out is to be taken for them.
func (s *Service) republish(ctx context.Context, c *container.Container, old, b *sandbox) (*sandbox, error) {
	_, four, six := old.ways()
	if _, four2, six2 := b.ways(); four == four2 && six == six2 {
		return b, nil
	}
	s.unpublish(ctx, old)
	bare := *b
	bare.Ports = nil
	if err := s.put(&bare); err != nil {
		return nil, err
	}
	published, err := s.publish(ctx, c, &bare)
	if err != nil {
		return nil, err
	}
	if len(published.Ports) == 0 && len(old.Ports) > 0 {
		err = s.rules.apply(ctx)
	}
	return published, err
}
