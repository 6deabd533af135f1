package networks

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/network"

	"github.com/gantry-containers/gantry/engine/bridge"
	"github.com/gantry-containers/gantry/engine/ipam"
	"github.com/gantry-containers/gantry/engine/names"
)

// IsPredefined says that a network is always there.
func IsPredefined(name string) bool {
	switch name {
	case network.NetworkBridge, network.NetworkHost, network.NetworkNone, network.NetworkDefault:
		return true
	}
	return false
}

// Disabled is the bridge of who wants none.
const Disabled = "none"

// predefine makes the records of the networks that are always there, when they are missing, and takes that of the
// default bridge away when nobody wants it.
func (s *Service) predefine() error {
	want := []network.Network{
		{Name: network.NetworkBridge, Driver: "bridge"}, {Name: network.NetworkHost, Driver: "host"}, {Name: network.NetworkNone, Driver: "null"},
	}
	for _, w := range want {
		n, err := s.find(w.Name)
		unwanted := w.Driver == "bridge" && s.o.Defaults().Bridge == Disabled
		switch {
		case err == nil && unwanted:
			s.replace(n, nil)
			if err := s.forget(n.ID); err != nil {
				return err
			}
		case err != nil && !unwanted:
			w.ID, w.Created, w.Scope = names.ID(), time.Now().UTC(), "local"
			w.EnableIPv4, w.IPAM, w.Options, w.Labels = true, network.IPAM{Driver: "default"}, map[string]string{}, map[string]string{}
			r := Record{Network: w}
			if err := s.write(&r); err != nil {
				return err
			}
			s.replace(nil, &known{Record: r})
		}
	}
	return nil
}

// replace puts a network in the place of another one: nil for none.
func (s *Service) replace(old, n *known) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Clone(s.all)
	i := slices.Index(all, old)
	switch {
	case i >= 0 && n != nil:
		all[i] = n
	case i >= 0:
		all = slices.Delete(all, i, i+1)
	case n != nil:
		all = append(all, n)
	}
	s.all = all
}

// pools are where networks get their subnets: what was configured, or moby's; and a network of IPv6 that is this
// engine's own.
func (s *Service) pools() ([]ipam.Pool, error) {
	var pools []ipam.Pool
	v6 := false
	for i, p := range s.o.Defaults().Pools {
		if p.Base.Bits() > p.Size || p.Size > p.Base.Addr().BitLen() {
			return nil, fmt.Errorf("default-address-pools[%d]: subnets of size %d do not fit into %s", i, p.Size, p.Base)
		}
		pools = append(pools, ipam.Pool{Base: p.Base.Masked(), Size: p.Size})
		v6 = v6 || p.Base.Addr().Is6()
	}
	slices.SortFunc(pools, func(a, b ipam.Pool) int { return a.Base.Compare(b.Base) })
	if len(pools) == 0 {
		pools = ipam.Defaults()
	}
	if !v6 {
		base, err := s.ownIPv6()
		if err != nil {
			return nil, err
		}
		pools = append(pools, ipam.Pool{Base: base, Size: 64})
	}
	return pools, nil
}

// ownIPv6 is a network after RFC 4193, whose random part is that of an id which stays the same.
func (s *Service) ownIPv6() (netip.Prefix, error) {
	n, err := s.find(network.NetworkHost)
	if err != nil {
		return netip.Prefix{}, err
	}
	b := [16]byte{0: 0xfd}
	if _, err := hex.Decode(b[1:6], []byte(n.ID[:10])); err != nil {
		return netip.Prefix{}, fmt.Errorf("id of network %s: %w", n.Name, err)
	}
	return netip.PrefixFrom(netip.AddrFrom16(b), 48), nil
}

// defaultDevice is the default bridge's when nobody names one.
const defaultDevice = "docker0"

// loadDefault makes the default bridge's network what the engine's settings say.
func (s *Service) loadDefault() error {
	old, err := s.find(network.NetworkBridge)
	if err != nil {
		return nil //nolint:nilerr // nobody wants it
	}
	d := s.o.Defaults()
	n := &known{Record: old.Record}
	n.Device, n.Given = cmp.Or(d.Bridge, defaultDevice), d.Bridge != ""
	n.EnableIPv6 = d.IPv6
	n.Options = map[string]string{
		optDefault: "true", optICC: strconv.FormatBool(d.ICC), optMasquerade: strconv.FormatBool(d.IPMasq),
		optBind: cmp.Or(d.PublishIP, "0.0.0.0"), optName: n.Device, optMTU: strconv.Itoa(d.MTU),
	}
	if n.MAC == nil {
		n.MAC = bridge.MAC()
	}
	if n.bridge, err = readOptions(n.Options); err != nil {
		return err
	}
	has, err := s.o.Devices.Addresses(n.Device)
	if err != nil {
		return err
	}
	var before network.IPAM
	before, n.IPAM.Config = old.IPAM, nil
	v4, err := s.defaultPool(has, before, defaults{4, d.BridgeIP, d.FixedCIDR, auxGateway4, d.Gateway})
	if err != nil {
		return err
	}
	configs := []network.IPAMConfig{v4}
	if d.IPv6 {
		v6, err := s.defaultPool(has, before, defaults{6, d.BridgeIP6, d.FixedCIDR6, auxGateway6, d.Gateway6})
		if err != nil {
			return err
		}
		configs = append(configs, v6)
	}
	if n.IPAM.Config, err = s.allocate(&n.Network, configs, false, false); err != nil {
		return err
	}
	s.replace(old, n)
	return s.write(&n.Record)
}

// defaults are the settings of the default bridge in one family: its address, the range for containers, and another
// router than the bridge, by the name that it has among the auxiliary addresses.
type defaults struct {
	family            int
	ip, part          string
	auxName, auxValue string
}

// defaultPool is what the default bridge asks for in a family: its address is configured, or else what the device has,
// or had when it was last made.
func (s *Service) defaultPool(has []netip.Prefix, before network.IPAM, d defaults) (c network.IPAMConfig, err error) {
	if d.part != "" {
		if c.IPRange, err = netip.ParsePrefix(d.part); err != nil {
			return c, fmt.Errorf("fixed-cidr %s: %w", d.part, err)
		}
		c.IPRange = c.IPRange.Masked()
	}
	own, err := ownAddress(has, c.IPRange, d)
	switch {
	case err != nil:
		return c, err
	case own.IsValid():
		c.Subnet, c.Gateway = own.Masked(), own.Addr()
	case c.IPRange.IsValid():
		c.Subnet = c.IPRange
	default:
		c.Subnet, c.Gateway = s.asBefore(before, d.family)
	}
	if c.IPRange == c.Subnet {
		c.IPRange = netip.Prefix{}
	}
	if d.auxValue == "" {
		return c, nil
	}
	a, err := netip.ParseAddr(d.auxValue)
	if err != nil {
		return c, fmt.Errorf("default-gateway %s: %w", d.auxValue, err)
	}
	c.AuxAddress = map[string]netip.Addr{d.auxName: a}
	return c, nil
}

// ownAddress is the bridge's: configured, or one that the device has and that is in the network of the range.
func ownAddress(has []netip.Prefix, part netip.Prefix, d defaults) (netip.Prefix, error) {
	if d.ip != "" {
		p, err := netip.ParsePrefix(d.ip)
		if err != nil {
			return p, fmt.Errorf("bip %s: %w", d.ip, err)
		}
		return p, nil
	}
	for _, p := range has {
		if familyOf(p.Addr()) == d.family && !p.Addr().IsLinkLocalUnicast() && (!part.IsValid() || p.Contains(part.Addr())) {
			return p, nil
		}
	}
	return netip.Prefix{}, nil
}

// asBefore is the network that the default bridge had, unless somebody has it by now: then it asks for any.
func (s *Service) asBefore(before network.IPAM, family int) (subnet netip.Prefix, gateway netip.Addr) {
	for _, b := range before.Config {
		if familyOf(b.Subnet.Addr()) == family && s.space.Claim(b.Subnet, netip.Prefix{}) == nil {
			s.space.Release(b.Subnet, netip.Prefix{})
			return b.Subnet, b.Gateway
		}
	}
	if family == 6 {
		subnet = netip.PrefixFrom(netip.IPv6Unspecified(), 64)
	}
	return subnet, gateway
}
