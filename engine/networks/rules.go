package networks

import (
	"context"
	"net/netip"
	"slices"
	"sync"

	"github.com/moby/moby/api/types/network"

	"github.com/gantry-containers/gantry/engine/firewall"
)

// ruler brings the rules to the packet filter. Who comes while they are being written shares the next writing: a hundred
// starts at once cost two.
type ruler struct {
	filter Filter
	rules  func() firewall.Rules

	mu     sync.Mutex
	turn   *sync.Cond
	asked  uint64
	done   uint64
	busy   bool
	result error
}

func newRuler(f Filter, rules func() firewall.Rules) *ruler {
	r := &ruler{filter: f, rules: rules}
	r.turn = sync.NewCond(&r.mu)
	return r
}

// apply returns when rules are written that have all that was true when it was called.
func (r *ruler) apply(ctx context.Context) error {
	if r.filter == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	mine := r.asked
	for r.done < mine {
		if r.busy {
			r.turn.Wait()
			continue
		}
		r.busy = true
		upTo := r.asked
		r.mu.Unlock()
		// It is done for others as well, who have more patience.
		err := r.filter.Apply(context.WithoutCancel(ctx), r.rules())
		r.mu.Lock()
		r.busy, r.done, r.result = false, upTo, err
		r.turn.Broadcast()
	}
	return r.result
}

// Reapply writes all rules again, when somebody took them away.
func (s *Service) Reapply(ctx context.Context) error { return s.rules.apply(ctx) }

// filterRules is what the filter has to know.
func (s *Service) filterRules() firewall.Rules {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := firewall.Rules{Forwarding: s.forwarding, Networks: make([]firewall.Network, 0, len(s.all))}
	for _, n := range s.all {
		if n.Driver != driverBridge || n.ConfigOnly || n.Device == "" {
			continue
		}
		f := firewall.Network{ID: n.ID, Bridge: n.Device, Internal: n.Internal, Isolated: !n.bridge.icc}
		for _, c := range n.IPAM.Config {
			family := familyRules(n, c)
			if c.Subnet.Addr().Is4() {
				f.IPv4 = family
			} else {
				f.IPv6 = family
			}
		}
		f.Ports = s.portsOn(n.ID)
		all.Networks = append(all.Networks, f)
	}
	return all
}

// portsOn are the published ports that lead to a network, sorted. They are made again when one of its members has become
// another, which is so for one network of maybe hundreds. The caller holds the lock for writing.
func (s *Service) portsOn(id string) []firewall.Port {
	if list, ok := s.published[id]; ok {
		return list
	}
	var list []firewall.Port
	for container := range s.members[id] {
		if b := s.sandboxes[container]; len(b.Ports) > 0 {
			list = append(list, b.portsOn(id)...)
		}
	}
	slices.SortFunc(list, firewall.ComparePorts)
	s.published[id] = list
	return list
}

func familyRules(n *known, c network.IPAMConfig) *firewall.Family {
	f := &firewall.Family{Subnet: c.Subnet, Gateway: c.Gateway, Masquerade: n.bridge.masquerade && !n.Internal, Mode: n.bridge.mode4, Source: n.bridge.host4}
	if c.Subnet.Addr().Is6() {
		f.Mode, f.Source = n.bridge.mode6, n.bridge.host6
	}
	return f
}

// portsOn are the published ports that lead to a container's address on a network.
func (b *sandbox) portsOn(id string) (list []firewall.Port) {
	e := b.on(id)
	for _, p := range b.Ports {
		if has(e.IPv4, p.Container.Addr()) || has(e.IPv6, p.Container.Addr()) {
			list = append(list, firewall.Port{Protocol: p.Protocol, Host: p.Host, Container: p.Container})
		}
	}
	return list
}

func has(p netip.Prefix, a netip.Addr) bool { return p.IsValid() && p.Addr() == a }
