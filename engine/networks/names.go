package networks

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/netkeeper"
)

// resolves says that a sandbox has a name server of its own.
func (b *sandbox) resolves() bool {
	for _, e := range b.Endpoints {
		if len(e.Names) > 0 {
			return true
		}
	}
	return false
}

// answer has names answered in a sandbox, and its own names answered to others. A container without runs still.
func (s *Service) answer(ctx context.Context, b *sandbox) {
	if s.o.Names == nil || !b.resolves() {
		return
	}
	if err := s.o.Names.Answer(context.WithoutCancel(ctx), s.question(b)); err != nil {
		slog.Error("names are not answered to a container", "container", b.Container, "error", err)
	}
}

func (s *Service) forgetNames(ctx context.Context, b *sandbox) {
	if s.o.Names == nil || !b.resolves() {
		return
	}
	if err := s.o.Names.Forget(context.WithoutCancel(ctx), b.Container); err != nil {
		slog.Error("names of a container are left", "container", b.Container, "error", err)
	}
}

// question is a sandbox as the name server sees it.
func (s *Service) question(b *sandbox) netkeeper.Sandbox {
	q := netkeeper.Sandbox{ID: b.Container, Namespace: b.Namespace, Inode: b.Inode, Links: s.linkAddresses(b)}
	if _, four, six := b.ways(); four != nil || six != nil {
		q.Upstream = s.upstream(b.Container)
	}
	for _, e := range b.Endpoints {
		if len(e.Names) == 0 {
			continue
		}
		q.Endpoints = append(q.Endpoints, netkeeper.Endpoint{Network: e.Network, NetworkName: e.Name, Names: e.Names, Addresses: e.addresses()})
	}
	return q
}

// upstream are the servers that are asked for others' names: the host's, from the host, or those that the container was
// given, from within it.
func (s *Service) upstream(id string) (list []netkeeper.Upstream) {
	c, err := s.o.Records.Get(id)
	if err != nil {
		return nil
	}
	_, r := hostFile()
	servers := first(c.HostConfig.DNS, s.o.Defaults().DNS)
	inside := len(servers) > 0
	if !inside {
		servers = r.servers
	}
	for _, a := range servers {
		list = append(list, netkeeper.Upstream{Server: netip.AddrPortFrom(a, 53), InNamespace: inside})
	}
	return list
}

// linkAddresses are what a sandbox's own names for others stand for now.
func (s *Service) linkAddresses(b *sandbox) map[string][]netip.Addr {
	out := map[string][]netip.Addr{}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, e := range b.Endpoints {
		for _, l := range e.Links {
			name, alias := container.SplitLink(l)
			for _, other := range s.members[e.Network] {
				if slices.Contains(other.Names, name) {
					out[alias] = append(out[alias], other.addresses()...)
				}
			}
		}
	}
	return out
}

// addresses are those of an endpoint, without the sizes of their networks.
func (e *endpoint) addresses() (list []netip.Addr) {
	for _, a := range []netip.Prefix{e.IPv4, e.IPv6} {
		if a.IsValid() {
			list = append(list, a.Addr())
		}
	}
	return list
}

// answerLinks tells those who have a name of their own for who has just come.
func (s *Service) answerLinks(ctx context.Context, b *sandbox) {
	var list []*sandbox
	s.mu.RLock()
	for _, e := range b.Endpoints {
		for id, other := range s.members[e.Network] {
			for _, l := range other.Links {
				if name, _ := container.SplitLink(l); id != b.Container && slices.Contains(e.Names, name) {
					list = append(list, s.sandboxes[id])
				}
			}
		}
	}
	s.mu.RUnlock()
	for _, other := range list {
		s.answer(ctx, other)
	}
}

// Renamed is told that a container has another name, by which it is found from now on.
func (s *Service) Renamed(ctx context.Context, c *container.Container) {
	b := s.get(c.ID)
	if b == nil {
		return
	}
	renamed := *b
	renamed.Endpoints = nil
	for _, e := range b.Endpoints {
		n := *e
		n.Container = c.Name
		if len(n.Names) > 0 {
			n.Names = append([]string{c.Name}, slices.DeleteFunc(slices.Clone(n.Names[1:]), func(s string) bool { return s == c.Name })...)
		}
		renamed.Endpoints = append(renamed.Endpoints, &n)
	}
	if err := s.put(&renamed); err != nil {
		slog.Error("the new name of a container is not written down", "container", c.ID, "error", err)
	}
	s.answer(ctx, &renamed)
}
