package ipam

import (
	"math"
	"net/netip"
	"slices"
)

// subnet is a given network with its addresses.
type subnet struct {
	prefix netip.Prefix
	// parts are the ranges of those who have it; an invalid one is the whole.
	parts []netip.Prefix
	used  map[netip.Addr]struct{}
	// free is an address of a range below which none is free: looking for one does not begin at the start each time.
	free map[netip.Prefix]netip.Addr
}

func newSubnet(p, part netip.Prefix) *subnet {
	n := &subnet{prefix: p, parts: []netip.Prefix{part}, used: map[netip.Addr]struct{}{}, free: map[netip.Prefix]netip.Addr{}}
	for _, a := range nobodys(p) {
		n.used[a] = struct{}{}
	}
	return n
}

// nobodys are the addresses that no host may have: an IPv4 network's own and its broadcast address, and the routers'
// address of an IPv6 network.
func nobodys(p netip.Prefix) []netip.Addr {
	first := p.Masked().Addr()
	switch {
	case first.Is6():
		return []netip.Addr{first}
	case p.Bits() < 31:
		return []netip.Addr{first, lastAddr(p)}
	}
	return nil
}

func (n *subnet) take(a netip.Addr) error {
	if _, taken := n.used[a]; taken {
		return ErrInUse
	}
	n.used[a] = struct{}{}
	return nil
}

func (n *subnet) give(a netip.Addr) {
	if _, taken := n.used[a]; !taken || slices.Contains(nobodys(n.prefix), a) {
		return
	}
	delete(n.used, a)
	for part, from := range n.free {
		if part.Contains(a) && a.Less(from) {
			n.free[part] = a
		}
	}
}

func (n *subnet) any(part netip.Prefix) (netip.Addr, error) {
	if !part.IsValid() {
		part = n.prefix
	}
	a, ok := n.free[part]
	if !ok {
		a = part.Masked().Addr()
	}
	for ; a.IsValid() && part.Contains(a); a = a.Next() {
		if _, taken := n.used[a]; !taken {
			n.used[a] = struct{}{}
			n.free[part] = a
			return a, nil
		}
	}
	n.free[part] = lastAddr(part)
	return netip.Addr{}, ErrFull
}

// count never overflows: what does not fit is "very many".
func (n *subnet) count(part netip.Prefix) (used, free uint64) {
	if !part.IsValid() {
		part = n.prefix
	}
	var inside uint64
	for a := range n.used {
		if part.Contains(a) {
			inside++
		}
	}
	bits := part.Addr().BitLen() - part.Bits()
	switch {
	case bits < 64:
		free = uint64(1)<<bits - inside
	case bits == 64 && inside > 0:
		free = math.MaxUint64 - inside + 1
	default:
		free = math.MaxUint64
	}
	return uint64(len(n.used)), free
}
