package networks

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gantry-containers/gantry/engine/bridge"
	"github.com/gantry-containers/gantry/engine/netkeeper"
)

// sandbox is the network stack of one run of a container. It does not change: a changed copy is put in its place.
type sandbox struct {
	// ID is of this run; Container is whose it is.
	ID, Container string
	// Step says that it is a build's step's, which is no container of the engine, and is the namespace's file as the
	// builder has it.
	Step string `json:",omitempty"`
	// Namespace is the file of its network namespace; empty when it has none of its own.
	Namespace string
	// Inode is that of the namespace, when the file is a link to a process in it; 0 when the namespace is mounted there.
	Inode uint64 `json:",omitempty"`
	// Host says that it is the host's.
	Host bool
	// Endpoints are its places on networks, in the order in which they were made.
	Endpoints []*endpoint
	// Ports are published.
	Ports []netkeeper.Port
	// Told says that its connects were told: then its disconnects are.
	Told bool
}

// endpoint is a place on a network.
type endpoint struct {
	ID string
	// Container is the container's name at that time.
	Container string
	// Network, Name and Driver are the network's.
	Network, Name, Driver string
	// Internal says that nobody outside is reached by it, Routed that its addresses are known outside.
	Internal bool
	IPv4     netip.Prefix
	IPv6     netip.Prefix
	// Gateway4 and Gateway6 are the ways out; invalid for none.
	Gateway4, Gateway6 netip.Addr
	Priority           int
	// Names are what others on the network know it by; none where names are not answered.
	Names []string
	// Links are further names that it gives to others: "container:alias".
	Links []string
	Link  bridge.Link
}

// get is the sandbox of a container, or nil.
func (s *Service) get(container string) *sandbox {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.sandboxes[container]
}

// put makes a sandbox the one of its container, in memory and on disk. It need not outlive the machine.
func (s *Service) put(b *sandbox) error {
	s.mu.Lock()
	old := s.sandboxes[b.Container]
	s.sandboxes[b.Container] = b
	s.leave(old)
	for _, e := range b.Endpoints {
		if s.members[e.Network] == nil {
			s.members[e.Network] = map[string]*endpoint{}
		}
		s.members[e.Network][b.Container] = e
		delete(s.published, e.Network)
	}
	s.mu.Unlock()
	return writeJSON(s.sandboxFile(b.Container), b, false)
}

// leave takes a sandbox's endpoints from the networks' lists; the caller holds the lock.
func (s *Service) leave(b *sandbox) {
	if b == nil {
		return
	}
	for _, e := range b.Endpoints {
		delete(s.published, e.Network)
		delete(s.members[e.Network], b.Container)
		if len(s.members[e.Network]) == 0 {
			delete(s.members, e.Network)
		}
	}
}

// take removes a container's sandbox from the list; nil when it has none.
func (s *Service) take(container string) *sandbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.sandboxes[container]
	delete(s.sandboxes, container)
	s.leave(b)
	return b
}

func (s *Service) sandboxFile(container string) string {
	return filepath.Join(s.sandboxDir(), container+suffix)
}

// loadSandboxes adopts what the last engine made, and takes away what belongs to nobody.
func (s *Service) loadSandboxes(ctx context.Context) error {
	entries, err := os.ReadDir(s.sandboxDir())
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(s.sandboxDir(), e.Name())
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var box sandbox
		if err := json.Unmarshal(b, &box); err != nil || strings.HasPrefix(e.Name(), ".") {
			// One that was not written whole has made nothing yet.
			if err := os.Remove(path); err != nil {
				return err
			}
			continue
		}
		s.adopt(&box)
	}
	s.loadFlat()
	return s.removeStrays(ctx)
}

// loadFlat notes containers that run without a file: the machine's network is theirs, or none.
func (s *Service) loadFlat() {
	for _, c := range s.o.Records.List() {
		if !c.State.Running() || !hasNetwork(c) || s.get(c.ID) != nil {
			continue
		}
		slog.Warn("nothing is known of the network of a running container", "container", c.ID)
	}
}

// adopt goes on with a sandbox.
func (s *Service) adopt(b *sandbox) {
	if b.Inode != 0 {
		s.o.Devices.Lent(b.Namespace, b.Inode)
	}
	for _, e := range b.Endpoints {
		for _, a := range []netip.Prefix{e.IPv4, e.IPv6} {
			if !a.IsValid() {
				continue
			}
			if err := s.space.Take(a.Masked(), a.Addr()); err != nil {
				slog.Error("an address of a container is not its own", "container", b.Container, "network", e.Name, "address", a, "error", err)
			}
		}
	}
	s.ports.claim(b.Container, b.Ports)
	if err := s.put(b); err != nil {
		slog.Error("the network of a container is not written down", "container", b.Container, "error", err)
	}
}

// removeStrays takes away links and namespaces of which nothing is known.
func (s *Service) removeStrays(context.Context) error {
	bridges, hosts, files := map[string]bool{}, map[string]bool{}, map[string]bool{homeFile: true}
	for _, n := range s.networks() {
		if n.Driver == driverBridge && n.Device != "" {
			bridges[n.Device] = true
		}
	}
	s.mu.RLock()
	for _, b := range s.sandboxes {
		files[filepath.Base(b.Namespace)] = true
		for _, e := range b.Endpoints {
			hosts[e.Link.Host] = true
		}
	}
	s.mu.RUnlock()
	namespaces, err := s.o.Devices.Namespaces()
	if err != nil {
		return err
	}
	errs := []error{s.o.Devices.RemoveStrays(bridges, hosts)}
	for _, name := range namespaces {
		if !files[name] {
			errs = append(errs, s.o.Devices.RemoveNamespace(name))
		}
	}
	return errors.Join(errs...)
}

// Sweep gives the networks of containers back that do not run, when it is known which do: an engine that is killed in
// the middle of a start leaves them. Steps of builds are not asked for: LeaveSteps.
func (s *Service) Sweep(ctx context.Context) {
	list := s.which(func(b *sandbox) bool { return b.Step == "" })
	for _, b := range list {
		s.sweep(ctx, b)
	}
	// Who holds the ports and answers for the names may have been away as well.
	for _, b := range list {
		if s.get(b.Container) == b {
			s.hold(ctx, b)
			s.answer(ctx, b)
		}
	}
	if err := s.disown(ctx); err != nil {
		slog.Error("ports or names of containers that are gone may be left", "error", err)
	}
}

// which are the sandboxes of which something is true.
func (s *Service) which(is func(*sandbox) bool) (list []*sandbox) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, b := range s.sandboxes {
		if is(b) {
			list = append(list, b)
		}
	}
	return list
}

// disown gives back what is held for containers that are gone.
func (s *Service) disown(ctx context.Context) error {
	if s.o.Owners == nil {
		return nil
	}
	owners, err := s.o.Owners(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range owners {
		unlock := s.o.Records.Lock(id)
		if s.get(id) == nil {
			errs = append(errs, s.o.Publisher.Unpublish(ctx, id), s.o.Names.Forget(ctx, id))
		}
		unlock()
	}
	return errors.Join(errs...)
}

func (s *Service) sweep(ctx context.Context, b *sandbox) {
	unlock := s.o.Records.Lock(b.Container)
	defer unlock()
	c, err := s.o.Records.Get(b.Container)
	if now := s.get(b.Container); now == nil || now.ID != b.ID || err == nil && c.State.Running() {
		return
	}
	s.free(ctx, s.take(b.Container))
}

// ways are the default routes of a sandbox: the endpoint of the highest priority that leads out, by family.
func (b *sandbox) ways() (routes bridge.Routes, four, six *endpoint) {
	for _, e := range b.ordered() {
		if four == nil && e.Gateway4.IsValid() {
			four = e
			routes.IPv4 = bridge.Gateway{Link: e.Link.Name, Via: e.Gateway4}
		}
		if six == nil && e.Gateway6.IsValid() && e.IPv6.IsValid() {
			six = e
			routes.IPv6 = bridge.Gateway{Link: e.Link.Name, Via: e.Gateway6}
		}
	}
	return routes, four, six
}

// ordered are the endpoints, those that rather are the way out first.
func (b *sandbox) ordered() []*endpoint {
	list := slices.Clone(b.Endpoints)
	slices.SortStableFunc(list, func(a, b *endpoint) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(truthAs(a.Internal), truthAs(b.Internal)),
			cmp.Compare(b.gateways(), a.gateways()), cmp.Compare(a.Name, b.Name))
	})
	return list
}

func (e *endpoint) gateways() int {
	return truthAs(e.Gateway4.IsValid()) + truthAs(e.Gateway6.IsValid())
}

func truthAs(is bool) int {
	if is {
		return 1
	}
	return 0
}

// on is its place on a network, or nil.
func (b *sandbox) on(id string) *endpoint {
	for _, e := range b.Endpoints {
		if e.Network == id {
			return e
		}
	}
	return nil
}

// links are those of all endpoints that have one.
func (b *sandbox) links() (list []bridge.Link) {
	for _, e := range b.Endpoints {
		if e.Link.Name != "" {
			list = append(list, e.Link)
		}
	}
	return list
}
