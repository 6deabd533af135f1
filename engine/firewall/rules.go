// Package firewall writes the packet filter rules of bridge networks: who may reach whom, masquerading, published ports.
//
// Rules say what shall hold, a Backend makes it hold: Apply replaces everything that earlier ones wrote, Watch tells
// when somebody else has changed it. Nothing that was not published is reachable from outside a network.
package firewall

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
)

// Rules are everything that the filter has to say, for all networks at once. Two equal Rules give the same tables, in
// whatever order they came.
type Rules struct {
	Networks []Network
	// Forwarding are the families whose forwarding Forward has turned on: in them the host forwards for our networks and
	// for nobody else.
	Forwarding Families
}

// Families are address families.
type Families struct {
	IPv4, IPv6 bool
}

// Network is a bridge network as the filter sees it.
type Network struct {
	// ID is the network's.
	ID string
	// Bridge is the name of the device.
	Bridge string
	// IPv4 and IPv6 say what is done for a family; nil when the network does not have it.
	IPv4, IPv6 *Family
	// Internal networks reach nobody, and nobody outside reaches them.
	Internal bool
	// Isolated says that containers on it do not reach one another, but by published ports (com.docker.network.bridge.enable_icc=false).
	Isolated bool
	// Ports are those that containers on it publish.
	Ports []Port
}

// Gateway modes.
const (
	// ModeNAT is the default: reachable only at published ports, by an address of the host.
	ModeNAT = "nat"
	// ModeUnprotected is NAT, and every port is reachable by who has a route to the container.
	ModeUnprotected = "nat-unprotected"
	// ModeRouted has no NAT: published ports are reachable at the container's own address.
	ModeRouted = "routed"
	// ModeIsolated is for internal networks whose bridge has no address of the host.
	ModeIsolated = "isolated"
)

// Family is one address family of a network.
type Family struct {
	Subnet  netip.Prefix
	Gateway netip.Addr
	// Masquerade hides the containers' addresses behind the host's; Source is the address to use, invalid for that of
	// the device on which a packet leaves.
	Masquerade bool
	Source     netip.Addr
	// Mode is the gateway mode: nat, nat-unprotected, routed or isolated (empty: nat).
	Mode string
}

// Port is a published port. Traffic to Host is sent to Container, and Container is reachable at that port from outside.
type Port struct {
	// Protocol is tcp, udp or sctp.
	Protocol string
	// Host is where it is published; an unspecified address stands for all of its family, port 0 for nowhere on the host
	// (the container's own address in a routed network). What comes from the network's own bridge, from a loopback
	// address or by the other family is left to the process that listens there.
	Host netip.AddrPort
	// Container is where it goes.
	Container netip.AddrPort
}

// Backend is a packet filter.
type Backend interface {
	// Apply makes the filter say exactly this, atomically per address family: no packet sees half of it.
	Apply(context.Context, Rules) error
	// Watch calls lost when somebody else has flushed or changed what the last Apply wrote, until ctx ends. It never calls it
	// twice at once; lost may Apply.
	Watch(ctx context.Context, lost func()) error
	// Remove takes away all that Apply has ever written.
	Remove(context.Context) error
}

// Open gives the packet filter of that name: nftables (also for the empty name) or iptables.
func Open(name string) (Backend, error) {
	switch name {
	case "", "nftables":
		return openNftables()
	case "iptables":
		return openIptables()
	}
	return nil, fmt.Errorf("firewall-backend %q: must be nftables or iptables", name)
}

// view is one family of all networks.
type view struct {
	ip6      bool
	networks []familyNetwork
	// ours says that only our networks are forwarded for.
	ours bool
}

// familyNetwork is a network in one family.
type familyNetwork struct {
	Network
	Family
}

// of gives one family of the rules, in an order that does not depend on theirs.
func (r Rules) of(ip6 bool) (view, error) {
	v := view{ip6: ip6, ours: r.Forwarding.IPv4}
	if ip6 {
		v.ours = r.Forwarding.IPv6
	}
	for _, n := range r.Networks {
		f := n.IPv4
		if ip6 {
			f = n.IPv6
		}
		if f == nil {
			continue
		}
		if n.Bridge == "" || len(n.Bridge) > 15 {
			return v, fmt.Errorf("network %s: bridge name %q: must have 1 to 15 characters", n.ID, n.Bridge)
		}
		if !f.Subnet.IsValid() || f.Subnet.Addr().Is4() == ip6 {
			return v, fmt.Errorf("network %s: subnet %s is not of its family", n.ID, f.Subnet)
		}
		fn := familyNetwork{Network: n, Family: *f}
		fn.Ports = nil
		for _, p := range n.Ports {
			if protocols[p.Protocol] == 0 {
				return v, fmt.Errorf("network %s: port %s: protocol %q: must be tcp, udp or sctp", n.ID, p.Host, p.Protocol)
			}
			if p.Container.IsValid() && p.Container.Addr().Unmap().Is6() == ip6 {
				fn.Ports = append(fn.Ports, p)
			}
		}
		slices.SortFunc(fn.Ports, ComparePorts)
		v.networks = append(v.networks, fn)
	}
	slices.SortFunc(v.networks, func(a, b familyNetwork) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Bridge, b.Bridge))
	})
	return v, nil
}

// used says whether the family needs any rule.
func (v view) used() bool { return v.ours || len(v.networks) > 0 }

// ComparePorts is an order of ports. A network whose ports are in it costs Apply less.
func ComparePorts(a, b Port) int {
	return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), a.Host.Compare(b.Host), a.Container.Compare(b.Container))
}

// closed says that the network speaks to nobody in this family.
func (n familyNetwork) closed() bool { return n.Internal || n.Mode == ModeIsolated }

// translated are the ports that the kernel sends from the host's address to the container.
func (n familyNetwork) translated() []Port {
	if n.closed() || n.Mode == ModeRouted {
		return nil
	}
	var ports []Port
	for _, p := range n.Ports {
		if p.Host.Port() != 0 && p.Host.Addr().Unmap().Is4() == p.Container.Addr().Unmap().Is4() && !p.Host.Addr().IsLoopback() {
			ports = append(ports, p)
		}
	}
	return ports
}
