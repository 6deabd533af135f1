package ipam

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/engine/fault"
)

// What can be wrong, in moby's words.
var (
	ErrOverlap   = fault.Errorf(errdefs.ErrPermissionDenied, "invalid pool request: Pool overlaps with other one on this address space")
	ErrExhausted = fault.Errorf(errdefs.ErrInvalidArgument, "all predefined address pools have been fully subnetted")
	ErrBadSize   = fault.Errorf(errdefs.ErrInvalidArgument, "invalid address pool")
	ErrInUse     = fault.Errorf(errdefs.ErrPermissionDenied, "Address already in use")
	ErrFull      = fault.Errorf(errdefs.ErrUnavailable, "no available addresses on this pool")
	ErrOutside   = fault.Errorf(errdefs.ErrInvalidArgument, "requested address is out of range")
)

// Pool is where subnets of a size (the length of their prefix) are cut from.
type Pool struct {
	Base netip.Prefix
	Size int
}

// Defaults are the pools of who configures none: moby's, and 10.0.0.0/8 after them, so that 31 networks are not the end.
func Defaults() []Pool {
	var list []Pool
	for _, p := range []struct {
		base string
		size int
	}{
		{"172.17.0.0/16", 16},
		{"172.18.0.0/16", 16},
		{"172.19.0.0/16", 16},
		{"172.20.0.0/14", 16},
		{"172.24.0.0/14", 16},
		{"172.28.0.0/14", 16},
		{"192.168.0.0/16", 20},
		{"10.0.0.0/8", 24},
	} {
		list = append(list, Pool{netip.MustParsePrefix(p.base), p.size})
	}
	return list
}

// Space is all addresses of one machine, of both families.
type Space struct {
	mu    sync.Mutex
	pools []Pool
	// subnets are those given, in their order.
	subnets []*subnet
}

// New is a space with nothing given. Pools are used in their order.
func New(pools []Pool) *Space { return &Space{pools: pools} }

// Claim takes a subnet that somebody asks for. Two may have the same one when each has a range of its own; an invalid
// range stands for the whole.
func (s *Space) Claim(p, part netip.Prefix) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !part.IsValid() {
		for _, other := range s.subnets {
			if other.prefix.Overlaps(p) {
				return ErrOverlap
			}
		}
		s.add(p, part)
		return nil
	}
	known := s.find(p)
	if known == nil {
		s.add(p, part)
		return nil
	}
	if slices.Contains(known.parts, part) {
		return ErrOverlap
	}
	known.parts = append(known.parts, part)
	return nil
}

// Choose takes a free subnet from the pools. Bits is the wanted size, or 0 for that of the pool; taken are networks that
// others on the machine use.
func (s *Space) Choose(v6 bool, bits int, taken []netip.Prefix) (netip.Prefix, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fits := false
	for _, pool := range s.pools {
		if pool.Base.Addr().Is6() != v6 {
			continue
		}
		if bits != 0 {
			if pool.Base.Bits() > bits || bits > pool.Base.Addr().BitLen() {
				continue
			}
			pool.Size = bits
		}
		fits = true
		if p, ok := s.firstFree(pool, taken); ok {
			s.add(p, netip.Prefix{})
			return p, nil
		}
	}
	if !fits {
		return netip.Prefix{}, ErrBadSize
	}
	return netip.Prefix{}, ErrExhausted
}

// firstFree is the first subnet of a pool that overlaps nothing.
func (s *Space) firstFree(pool Pool, taken []netip.Prefix) (netip.Prefix, bool) {
	p := netip.PrefixFrom(pool.Base.Masked().Addr(), pool.Size)
	for p.IsValid() && pool.Base.Overlaps(p) {
		in := s.inWay(p, taken)
		if !in.IsValid() {
			return p, true
		}
		// The next one begins behind whatever ends later: the candidate, or what is in its way.
		end := lastAddr(p)
		if e := lastAddr(in); end.Less(e) {
			end = e
		}
		next := end.Next()
		if !next.IsValid() {
			break
		}
		p = netip.PrefixFrom(next, pool.Size)
	}
	return netip.Prefix{}, false
}

// inWay is something that overlaps a subnet; the zero prefix when nothing does.
func (s *Space) inWay(p netip.Prefix, taken []netip.Prefix) netip.Prefix {
	for _, other := range s.subnets {
		if other.prefix.Overlaps(p) {
			return other.prefix
		}
	}
	for _, other := range taken {
		if other.Overlaps(p) {
			return other
		}
	}
	return netip.Prefix{}
}

// Release gives a subnet back, with all its addresses when nobody else has a range of it.
func (s *Space) Release(p, part netip.Prefix) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, known := s.search(p)
	if !known {
		return
	}
	n := s.subnets[i]
	if at := slices.Index(n.parts, part); at >= 0 {
		n.parts = slices.Delete(n.parts, at, at+1)
	}
	if len(n.parts) == 0 {
		s.subnets = slices.Delete(s.subnets, i, i+1)
	}
}

// Take takes an address that somebody asks for.
func (s *Space) Take(p netip.Prefix, a netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.find(p)
	if n == nil || !p.Contains(a) {
		return ErrOutside
	}
	return n.take(a)
}

// Any takes the first free address of a subnet, or of a range of it.
func (s *Space) Any(p, part netip.Prefix) (netip.Addr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.find(p)
	if n == nil {
		return netip.Addr{}, ErrOutside
	}
	return n.any(part)
}

// Give gives an address back. It can be repeated.
func (s *Space) Give(p netip.Prefix, a netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.find(p); n != nil {
		n.give(a)
	}
}

// Status counts a subnet's addresses that are in use (those that nobody may have are), and those of the range that can
// still be given.
func (s *Space) Status(p, part netip.Prefix) (used, free uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.find(p); n != nil {
		return n.count(part)
	}
	return 0, 0
}

func (s *Space) find(p netip.Prefix) *subnet {
	if i, ok := s.search(p); ok {
		return s.subnets[i]
	}
	return nil
}

func (s *Space) search(p netip.Prefix) (int, bool) {
	return slices.BinarySearchFunc(s.subnets, p, func(n *subnet, p netip.Prefix) int { return n.prefix.Compare(p) })
}

func (s *Space) add(p, part netip.Prefix) {
	i, _ := s.search(p)
	s.subnets = slices.Insert(s.subnets, i, newSubnet(p, part))
}

// lastAddr is the last address of a network.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
