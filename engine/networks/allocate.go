package networks

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"

	"github.com/gantry-containers/gantry/engine/fault"
)

// validateIPAM says what is wrong with addresses that a client asks for, all of it at once.
func validateIPAM(configs []network.IPAMConfig, ipv6 bool) error {
	var faults []string
	for _, c := range configs {
		family := familyOf(c.Subnet.Addr())
		if family == 6 && !ipv6 {
			continue
		}
		if c.Subnet != c.Subnet.Masked() {
			faults = append(faults, fmt.Sprintf("invalid subnet %s: it should be %s", c.Subnet, c.Subnet.Masked()))
		}
		faults = append(faults, rangeFaults(c, family)...)
		if f := outside(c.Gateway, c.Subnet, family); f != "" {
			faults = append(faults, fmt.Sprintf("invalid gateway %s: %s", c.Gateway, f))
		}
		for _, name := range slices.Sorted(maps.Keys(c.AuxAddress)) {
			if f := outside(c.AuxAddress[name], c.Subnet, family); f != "" {
				faults = append(faults, fmt.Sprintf("invalid auxiliary address %s: %s", name, f))
			}
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return fault.Errorf(errdefs.ErrInvalidArgument, "invalid network config:\n%s", stars(faults))
}

// stars writes one fault as it is, and several as a list.
func stars(faults []string) string {
	if len(faults) == 1 {
		return faults[0]
	}
	return "* " + strings.Join(faults, "\n* ")
}

func familyOf(a netip.Addr) int {
	if a.Is6() {
		return 6
	}
	return 4
}

func rangeFaults(c network.IPAMConfig, family int) (faults []string) {
	r := c.IPRange
	if !r.IsValid() {
		return nil
	}
	if familyOf(r.Addr()) != family {
		return []string{fmt.Sprintf("invalid ip-range %s: parent subnet is an IPv%d block", r, family)}
	}
	if r.Bits() < c.Subnet.Bits() {
		faults = append(faults, fmt.Sprintf("invalid ip-range %s: CIDR block is bigger than its parent subnet %s", r, c.Subnet))
	}
	if r != r.Masked() {
		faults = append(faults, fmt.Sprintf("invalid ip-range %s: it should be %s", r, r.Masked()))
	}
	if !c.Subnet.Overlaps(r) {
		faults = append(faults, fmt.Sprintf("invalid ip-range %s: parent subnet %s doesn't contain ip-range", r, c.Subnet))
	}
	return faults
}

func outside(a netip.Addr, subnet netip.Prefix, family int) string {
	switch {
	case !a.IsValid():
	case familyOf(a) != family:
		return fmt.Sprintf("parent subnet is an IPv%d block", family)
	case !subnet.Contains(a):
		return fmt.Sprintf("parent subnet %s doesn't contain this address", subnet)
	}
	return ""
}

// allocate takes what a network asks for, or what is free; IPv4 comes first. Gateways that nobody asked for are left
// out where skip says so. A failure takes nothing.
func (s *Service) allocate(n *network.Network, asked []network.IPAMConfig, skip4, skip6 bool) (out []network.IPAMConfig, err error) {
	defer func() {
		if err != nil {
			s.release(out)
			out = nil
		}
	}()
	for _, family := range []struct {
		number        int
		enabled, skip bool
		any           netip.Prefix
	}{
		{4, n.EnableIPv4, skip4, netip.Prefix{}},
		{6, n.EnableIPv6, skip6, netip.PrefixFrom(netip.IPv6Unspecified(), 0)},
	} {
		if !family.enabled {
			continue
		}
		var own []network.IPAMConfig
		for _, c := range asked {
			if familyOf(c.Subnet.Addr()) == family.number {
				own = append(own, c)
			}
		}
		if len(own) == 0 {
			own = []network.IPAMConfig{{Subnet: family.any}}
		}
		for _, c := range own {
			c, err := s.allocateOne(c, family.skip)
			if err != nil {
				return out, err
			}
			out = append(out, c)
		}
	}
	return out, nil
}

func (s *Service) allocateOne(c network.IPAMConfig, skip bool) (_ network.IPAMConfig, err error) {
	if err := s.subnet(&c); err != nil {
		return c, err
	}
	held := network.IPAMConfig{Subnet: c.Subnet, IPRange: c.IPRange}
	defer func() {
		if err != nil {
			s.release([]network.IPAMConfig{held})
		}
	}()
	switch {
	case c.Gateway.IsValid():
		err = s.space.Take(c.Subnet, c.Gateway)
	case !skip:
		c.Gateway, err = s.space.Any(c.Subnet, c.IPRange)
	}
	if err != nil {
		return c, fault.Errorf(errdefs.ErrInternal, "failed to allocate gateway (%s): %v", gatewayText(c.Gateway), err)
	}
	held.Gateway, held.AuxAddress = c.Gateway, map[string]netip.Addr{}
	for _, name := range slices.Sorted(maps.Keys(c.AuxAddress)) {
		a := c.AuxAddress[name]
		if !c.Subnet.Contains(a) {
			return c, fault.Errorf(errdefs.ErrPermissionDenied, "auxiliary address: (%s:%s) must belong to the master pool: %s", name, a, c.Subnet)
		}
		if err := s.space.Take(c.Subnet, a); err != nil {
			return c, fault.Errorf(errdefs.ErrInternal, "failed to allocate secondary ip address (%s:%s): %v", name, a, err)
		}
		held.AuxAddress[name] = a
	}
	return c, nil
}

func gatewayText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// subnet takes the one that is asked for; an unspecified address asks for one of a size.
func (s *Service) subnet(c *network.IPAMConfig) error {
	if c.Subnet.IsValid() && !c.Subnet.Addr().IsUnspecified() {
		return s.space.Claim(c.Subnet, c.IPRange)
	}
	if c.IPRange.IsValid() {
		return fault.Errorf(errdefs.ErrInternal, "failed to parse pool request for address space %q pool %q subpool %q: invalid address subpool", "LocalDefault", "", c.IPRange)
	}
	taken, err := s.taken()
	if err != nil {
		return err
	}
	c.Subnet, err = s.space.Choose(c.Subnet.Addr().Is6(), max(c.Subnet.Bits(), 0), taken)
	return err
}

// taken are networks that the machine uses otherwise: those that it is in, and its name servers'.
func (s *Service) taken() ([]netip.Prefix, error) {
	list, err := s.o.Devices.Networks()
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(hostResolv)
	if err != nil {
		return list, nil //nolint:nilerr // a machine without one is fine
	}
	for _, a := range parseResolv(b).servers {
		list = append(list, netip.PrefixFrom(a.WithZone(""), a.BitLen()))
	}
	return list, nil
}

// release gives subnets back, with all that was taken of them.
func (s *Service) release(configs []network.IPAMConfig) {
	for _, c := range configs {
		if c.Gateway.IsValid() {
			s.space.Give(c.Subnet, c.Gateway)
		}
		for _, a := range c.AuxAddress {
			s.space.Give(c.Subnet, a)
		}
		s.space.Release(c.Subnet, c.IPRange)
	}
}

// reclaim takes what a network had when the last engine ended. The default bridge asks anew.
func (s *Service) reclaim(n *known) error {
	if len(n.IPAM.Config) == 0 || n.ConfigOnly || n.Name == network.NetworkBridge {
		return nil
	}
	_, err := s.allocate(&n.Network, n.IPAM.Config, true, true)
	return err
}
