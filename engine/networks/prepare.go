package networks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"

	"github.com/gantry-containers/gantry/engine/bridge"
	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/names"
)

// Attachment is the network of a container that starts.
type Attachment struct {
	// Namespace is the path of the network namespace to join; empty for one that the runtime makes, or for the host's.
	Namespace string
	// ResolvConf, Hosts and Hostname are the files that are bound into the container; empty for those of the image.
	ResolvConf, Hosts, Hostname string
	// Name and Domain are what a container calls itself that shares another one's network: those of the other. Empty to
	// leave the container's own.
	Name, Domain string
}

// Prepare makes a container's network before it starts, all of it: what is published can be reached, though nobody
// listens yet. A container with users of its own only gets its places: the rest is made by Connect. Release takes it
// back, also when this fails.
func (s *Service) Prepare(ctx context.Context, c *container.Container) (*Attachment, error) {
	if other := c.HostConfig.NetworkMode.ConnectedContainer(); other != "" {
		return s.share(c, other)
	}
	// What an earlier run left is in the way.
	s.free(ctx, s.take(c.ID))
	if err := s.left(ctx, c.ID); err != nil {
		return nil, err
	}
	dir := s.o.Records.Dir(c.ID)
	a := &Attachment{Hostname: filepath.Join(dir, "hostname")}
	if err := os.WriteFile(a.Hostname, []byte(hostname(c)+"\n"), 0o644); err != nil { //nolint:gosec // everybody in the container reads it
		return nil, err
	}
	if c.Config.NetworkDisabled {
		return a, nil
	}
	b, err := s.build(ctx, c)
	if err != nil {
		return nil, failed(err)
	}
	a.ResolvConf, a.Hosts = filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "hosts")
	if !late(c, b) {
		a.Namespace = b.Namespace
	}
	return a, nil
}

// late says that the network namespace is made by the runtime, in the container's user namespace: the users of one that
// was made outside have no rights in it, not even to see it in /sys.
func late(c *container.Container, b *sandbox) bool { return !b.Host && !c.IDs.Empty() }

// build makes the sandbox. Before anything is made it is written down, so that an engine that is killed leaves nothing
// unknown.
func (s *Service) build(ctx context.Context, c *container.Container) (_ *sandbox, err error) {
	b, err := s.places(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.free(ctx, s.take(c.ID))
		}
	}()
	if err := s.put(b); err != nil {
		return nil, err
	}
	if err := s.stillThere(b); err != nil {
		return nil, err
	}
	if err := s.writeFiles(c, b); err != nil {
		return nil, err
	}
	if b.Host || late(c, b) {
		return b, nil
	}
	if _, err := s.o.Devices.NewNamespace(filepath.Base(b.Namespace)); err != nil {
		return nil, err
	}
	return s.equip(ctx, c, b)
}

// equip makes what there is in a namespace, and lets others reach it.
func (s *Service) equip(ctx context.Context, c *container.Container, b *sandbox) (*sandbox, error) {
	routes, _, _ := b.ways()
	if err := s.attach(b, routes); err != nil {
		return nil, err
	}
	b, err := s.publish(ctx, c, b)
	if err != nil {
		return nil, err
	}
	s.answer(ctx, b)
	s.answerLinks(ctx, b)
	return b, nil
}

// stillThere says no when a network was removed since it was found.
func (s *Service) stillThere(b *sandbox) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, e := range b.Endpoints {
		if s.byID(e.Network) == nil {
			return fault.Errorf(errdefs.ErrNotFound, "network %s not found", e.Name)
		}
	}
	return nil
}

// attach makes the links. A bridge that somebody took away is made again.
func (s *Service) attach(b *sandbox, routes bridge.Routes) error {
	links := b.links()
	if len(links) == 0 {
		return nil
	}
	err := s.o.Devices.Attach(b.Namespace, routes, links...)
	if err == nil || !bridge.IsMissing(err) {
		return err
	}
	for _, n := range s.networks() {
		if b.on(n.ID) != nil {
			if err := s.mend(n); err != nil {
				return err
			}
		}
	}
	return s.o.Devices.Attach(b.Namespace, routes, links...)
}

// places takes a place on each network that a container is to be on. The one that its mode names comes first: its
// device is eth0.
func (s *Service) places(ctx context.Context, c *container.Container) (_ *sandbox, err error) {
	list, err := s.wanted(c)
	if err != nil {
		return nil, err
	}
	b := &sandbox{ID: names.ID(), Container: c.ID}
	b.Namespace = s.o.Devices.Path(b.ID[:12])
	defer func() {
		if err != nil {
			for _, e := range b.Endpoints {
				s.exit(e)
			}
		}
	}()
	for _, w := range list {
		e, err := s.enter(ctx, c, w.network, w.asked, b.Endpoints)
		if err != nil {
			return nil, err
		}
		b.Endpoints = append(b.Endpoints, e)
		if w.network.Driver == driverHost {
			b.Host, b.Namespace = true, ""
		}
	}
	return b, nil
}

// want is a network that a container is to be on.
type want struct {
	network *known
	asked   *network.EndpointSettings
}

func (s *Service) wanted(c *container.Container) ([]want, error) {
	mode := modeName(c.HostConfig.NetworkMode)
	if mode == network.NetworkBridge && s.o.Defaults().Bridge == Disabled {
		return nil, nil
	}
	asked := c.Endpoints
	if len(asked) == 0 {
		asked = map[string]*network.EndpointSettings{mode: nil}
	}
	var list []want
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		n, err := s.find(modeName(api.NetworkMode(name)))
		if err != nil {
			return nil, err
		}
		w := want{n, asked[name]}
		if n.Name == mode || n.ID == mode || name == mode {
			list = slices.Insert(list, 0, w)
		} else {
			list = append(list, w)
		}
	}
	for i, w := range list[1:] {
		for _, other := range list[:i+1] {
			if w.network == other.network {
				return nil, fault.Errorf(errdefs.ErrPermissionDenied, "endpoint with name %s already exists in network %s", c.Name, w.network.Name)
			}
			if err := together(c, other.network, w.network); err != nil {
				return nil, err
			}
		}
	}
	if list[0].network.Driver == driverHost && mode != network.NetworkHost {
		return nil, errNotHost
	}
	return list, nil
}

// Why a container cannot be in two networks.
var (
	errShared  = fault.Errorf(errdefs.ErrInvalidArgument, "container sharing network namespace with another container or host cannot be connected to any other network")
	errNotHost = fault.Errorf(errdefs.ErrInvalidArgument, "cannot connect container to host network - container must be created in host network mode")
	errNone    = fault.Errorf(errdefs.ErrInvalidArgument, "container cannot be connected to multiple networks with one of the networks in private (none) mode")
)

// together says why a container that is in one network cannot be in a second one.
func together(c *container.Container, has, second *known) error {
	switch {
	case second.Driver == driverHost && !c.HostConfig.NetworkMode.IsHost():
		return errNotHost
	case has.Driver == driverHost || second.Driver == driverHost:
		return errShared
	case has.Name == network.NetworkNone || second.Name == network.NetworkNone:
		return errNone
	}
	return nil
}

// Connect is called when the init process is there and its program does not run yet. For most containers the network
// was ready before.
func (s *Service) Connect(ctx context.Context, c *container.Container, pid int) error {
	b := s.get(c.ID)
	if b == nil {
		return nil
	}
	if late(c, b) {
		var err error
		if b, err = s.follow(ctx, c, b, pid); err != nil {
			return failed(err)
		}
	}
	told := *b
	told.Told = true
	told.Inode = s.lend(b, pid)
	if err := s.put(&told); err != nil {
		return err
	}
	for _, e := range b.Endpoints {
		s.tellEndpoint(events.ActionConnect, e, c.ID)
	}
	return nil
}

// lend has the init process keep a sandbox's namespace, and tells its inode, or 0. Devices that are not a bridge's go
// with the namespace only, so it is kept until they are removed.
func (s *Service) lend(b *sandbox, pid int) uint64 {
	flat := slices.ContainsFunc(b.links(), func(l bridge.Link) bool { return l.Kind != "" })
	if b.Host || b.Namespace == "" || flat {
		return 0
	}
	inode, err := s.o.Devices.Lend(filepath.Base(b.Namespace), pid)
	if err != nil {
		slog.Warn("the network namespace of a container stays mounted", "container", b.Container, "error", err)
	}
	return inode
}

// follow makes the network of a container in the namespace that its runtime has made. With an error nothing is left.
func (s *Service) follow(ctx context.Context, c *container.Container, b *sandbox, pid int) (_ *sandbox, err error) {
	defer func() {
		if err != nil {
			s.free(ctx, s.take(c.ID))
		}
	}()
	if err := s.o.Devices.KeepNamespace(filepath.Base(b.Namespace), namespace(pid)); err != nil {
		return nil, err
	}
	return s.equip(ctx, c, b)
}

func (s *Service) tellEndpoint(action events.Action, e *endpoint, container string) {
	s.tell(action, &known{Record: Record{Network: network.Network{ID: e.Network, Name: e.Name, Driver: e.Driver}}}, container)
}

// Release takes the network of an ended container away. It can be repeated.
func (s *Service) Release(ctx context.Context, c *container.Container) error {
	b := s.take(c.ID)
	if b == nil {
		return nil
	}
	s.free(ctx, b)
	return nil
}

// free gives back what a sandbox has; nil has nothing. What others wait for is done at once: its ports can be taken.
// Devices go in the background: it takes the kernel a while, and no client has to wait for that.
func (s *Service) free(ctx context.Context, b *sandbox) {
	if b == nil {
		return
	}
	s.unpublish(ctx, b)
	s.forgetNames(ctx, b)
	if b.Told {
		for _, e := range b.Endpoints {
			s.tellEndpoint(events.ActionDisconnect, e, b.Container)
		}
	}
	done := make(chan struct{})
	s.mu.Lock()
	s.leaving[b.Container] = done
	s.mu.Unlock()
	go func() {
		s.demolish(b)
		s.mu.Lock()
		if s.leaving[b.Container] == done {
			delete(s.leaving, b.Container)
		}
		s.mu.Unlock()
		close(done)
	}()
}

// demolish removes devices, and then gives addresses away: before, somebody else could have them as well.
func (s *Service) demolish(b *sandbox) {
	var errs []error
	if len(b.Ports) > 0 {
		errs = append(errs, s.rules.apply(context.Background()))
	}
	for _, l := range b.links() {
		errs = append(errs, s.o.Devices.Detach(b.Namespace, l))
	}
	if b.Namespace != "" {
		errs = append(errs, s.o.Devices.RemoveNamespace(filepath.Base(b.Namespace)))
	}
	for _, e := range b.Endpoints {
		s.exit(e)
	}
	s.mu.RLock()
	again := s.sandboxes[b.Container]
	s.mu.RUnlock()
	if again == nil {
		if err := os.Remove(s.sandboxFile(b.Container)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		slog.Error("something is left of a container's network", "container", b.Container, "error", err)
	}
}

// left waits until the devices of a container's last run are gone.
func (s *Service) left(ctx context.Context, container string) error {
	s.mu.RLock()
	done := s.leaving[container]
	s.mu.RUnlock()
	if done == nil {
		return nil
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// anyLeaving is closed when one of those that are leaving has left; nil when none is.
func (s *Service) anyLeaving() <-chan struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, done := range s.leaving {
		return done
	}
	return nil
}

// Close waits until what is being removed is gone, and leaves no file of the own namespace. Those of containers stay.
func (s *Service) Close() {
	for {
		done := s.anyLeaving()
		if done == nil {
			break
		}
		<-done
	}
	if err := s.o.Devices.RemoveNamespace(homeFile); err != nil {
		slog.Warn("the file of the engine's own network namespace stays", "error", err)
	}
}

// hostname is what a container calls itself; with the host's network, that is the host's name if none was asked for.
func hostname(c *container.Container) string {
	if c.Config.Hostname == "" && c.HostConfig.NetworkMode.IsHost() {
		name, _ := os.Hostname()
		return name
	}
	return c.Config.Hostname
}

// deepest is how long a chain of containers that share networks may be: longer ones are rings.
const deepest = 32

// share joins another container, which must run, and takes its files over.
func (s *Service) share(c *container.Container, ref string) (*Attachment, error) {
	a := &Attachment{}
	for range deepest {
		other, err := s.o.Records.Get(ref)
		if err != nil {
			return nil, fault.As(errdefs.ErrInternal, fmt.Errorf("joining network namespace of container: %w", err))
		}
		if other.ID == c.ID {
			return nil, fault.Errorf(errdefs.ErrInternal, "cannot join own network namespace")
		}
		if a.Namespace == "" {
			if err := joinable(other, ref); err != nil {
				return nil, err
			}
			a.Namespace = namespace(other.State.Pid)
			a.Name, a.Domain = other.Config.Hostname, other.Config.Domainname
		}
		if ref = other.HostConfig.NetworkMode.ConnectedContainer(); ref == "" {
			dir := s.o.Records.Dir(other.ID)
			a.ResolvConf, a.Hosts, a.Hostname = filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "hosts"), filepath.Join(dir, "hostname")
			return a, nil
		}
	}
	return nil, fault.Errorf(errdefs.ErrInternal, "containers share their networks in a ring")
}

func joinable(other *container.Container, ref string) error {
	if other.State.Status == container.Restarting {
		return fault.Errorf(errdefs.ErrConflict, "cannot join network namespace of container: Container %s is restarting, wait until the container is running", ref)
	}
	if !other.State.Running() {
		return fault.Errorf(errdefs.ErrConflict, "cannot join network namespace of a non running container: container %s is %s", other.Name, other.State.Status)
	}
	return nil
}

func namespace(pid int) string { return filepath.Join("/proc", strconv.Itoa(pid), "ns", "net") }

func modeName(m api.NetworkMode) string {
	if m.IsDefault() || m == "" {
		return network.NetworkBridge
	}
	return string(m)
}

func hasNetwork(c *container.Container) bool {
	return !c.Config.NetworkDisabled && !c.HostConfig.NetworkMode.IsContainer()
}
