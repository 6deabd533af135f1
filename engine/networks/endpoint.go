package networks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"

	"github.com/gantry-containers/gantry/engine/bridge"
	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/ipam"
	"github.com/gantry-containers/gantry/engine/names"
	"github.com/gantry-containers/gantry/engine/spec"
)

// Within says whether an address is one of a network. What is not there yet may have any.
func (s *Service) Within(name string, a netip.Addr) bool {
	n, err := s.find(name)
	if err != nil {
		return true
	}
	return n.contains(a)
}

// fits says what is wrong with an endpoint on a network.
func (s *Service) fits(n *known, asked *network.EndpointSettings) error {
	return spec.CheckEndpoint(n.Name, asked, func(a netip.Addr) bool {
		return n.contains(a)
	})
}

// contains says whether an address is one of the network's.
func (n *known) contains(a netip.Addr) bool {
	return slices.ContainsFunc(n.IPAM.Config, func(c network.IPAMConfig) bool { return c.Subnet.Contains(a) })
}

// enter makes a place on a network for a container: addresses, and all that is needed to make its devices. With an
// error nothing is taken.
func (s *Service) enter(ctx context.Context, c *container.Container, n *known, asked *network.EndpointSettings, used []*endpoint) (_ *endpoint, err error) {
	if asked == nil {
		asked = &network.EndpointSettings{}
	}
	if n.ConfigOnly {
		return nil, fault.Errorf(errdefs.ErrPermissionDenied, "cannot create endpoint on configuration-only network")
	}
	if err := s.fits(n, asked); err != nil {
		return nil, err
	}
	e := &endpoint{
		ID: names.ID(), Container: c.Name, Network: n.ID, Name: n.Name, Driver: n.Driver, Internal: n.Internal, Priority: asked.GwPriority,
		Links: asked.Links,
	}
	if n.Driver == driverHost || n.Driver == driverNull {
		return e, nil
	}
	if !IsPredefined(n.Name) {
		e.Names = dnsNames(c, asked.Aliases)
	}
	defer func() {
		if err != nil {
			s.exit(e)
		}
	}()
	if err := s.addresses(ctx, c, n, asked, e); err != nil {
		return nil, err
	}
	s.gateways(n, e)
	return e, s.link(n, asked, e, used)
}

// exit gives the addresses of a place back.
func (s *Service) exit(e *endpoint) {
	for _, a := range []netip.Prefix{e.IPv4, e.IPv6} {
		if a.IsValid() {
			s.space.Give(a.Masked(), a.Addr())
		}
	}
}

func (s *Service) addresses(ctx context.Context, c *container.Container, n *known, asked *network.EndpointSettings, e *endpoint) (err error) {
	want := asked.IPAMConfig
	if want == nil {
		want = &network.EndpointIPAMConfig{}
	}
	for _, a := range want.LinkLocalIPs {
		if !a.IsLinkLocalUnicast() {
			return fault.Errorf(errdefs.ErrInvalidArgument, "invalid link local IP address: %v", a)
		}
	}
	if n.EnableIPv4 {
		if e.IPv4, err = s.address(ctx, n, 4, want.IPv4Address); err != nil {
			return err
		}
	}
	if n.EnableIPv6 && !withoutIPv6(c) {
		e.IPv6, err = s.address(ctx, n, 6, want.IPv6Address)
	}
	return err
}

// withoutIPv6 says that a container has none by its own settings.
func withoutIPv6(c *container.Container) bool {
	return c.HostConfig.Sysctls["net.ipv6.conf.all.disable_ipv6"] == "1"
}

// address takes one of a family. What a container that ends still has may be what is missing: that is waited for.
func (s *Service) address(ctx context.Context, n *known, family int, want netip.Addr) (netip.Prefix, error) {
	for {
		leaving := s.anyLeaving()
		p, err := s.tryAddress(n, family, want)
		if !errors.Is(err, ipam.ErrInUse) && !errors.Is(err, ipam.ErrFull) || leaving == nil {
			return p, notFull(err, n, family)
		}
		select {
		case <-leaving:
		case <-ctx.Done():
			return p, ctx.Err()
		}
	}
}

func notFull(err error, n *known, family int) error {
	if errors.Is(err, ipam.ErrFull) {
		return fault.Errorf(errdefs.ErrInternal, "no available IPv%d addresses on this network's address pools: %s (%s)", family, n.Name, n.ID)
	}
	return err
}

func (s *Service) tryAddress(n *known, family int, want netip.Addr) (netip.Prefix, error) {
	err := ipam.ErrFull
	for _, c := range n.IPAM.Config {
		if familyOf(c.Subnet.Addr()) != family || want.IsValid() && !c.Subnet.Contains(want) {
			continue
		}
		a := want
		if want.IsValid() {
			err = s.space.Take(c.Subnet, want)
		} else {
			a, err = s.space.Any(c.Subnet, c.IPRange)
		}
		if err == nil {
			return netip.PrefixFrom(a, c.Subnet.Bits()), nil
		}
		if !errors.Is(err, ipam.ErrFull) || want.IsValid() {
			return netip.Prefix{}, err
		}
	}
	return netip.Prefix{}, err
}

// gateways finds the ways out of a network, if it has any.
func (s *Service) gateways(n *known, e *endpoint) {
	if n.Internal {
		return
	}
	for _, c := range n.IPAM.Config {
		switch {
		case e.IPv4.IsValid() && c.Subnet.Contains(e.IPv4.Addr()):
			e.Gateway4 = c.Gateway
			if a, ok := c.AuxAddress[auxGateway4]; ok && n.Driver == driverBridge {
				e.Gateway4 = a
			}
		case e.IPv6.IsValid() && c.Subnet.Contains(e.IPv6.Addr()):
			e.Gateway6 = c.Gateway
			if a, ok := c.AuxAddress[auxGateway6]; ok && n.Driver == driverBridge {
				e.Gateway6 = a
			}
		}
	}
}

// link decides how the devices will be.
func (s *Service) link(n *known, asked *network.EndpointSettings, e *endpoint, used []*endpoint) error {
	l := &e.Link
	l.MAC = net.HardwareAddr(slices.Clone(asked.MacAddress))
	for _, a := range []netip.Prefix{e.IPv4, e.IPv6} {
		if a.IsValid() {
			l.Addresses = append(l.Addresses, a)
		}
	}
	l.IPv6 = e.IPv6.IsValid()
	if asked.IPAMConfig != nil {
		for _, a := range asked.IPAMConfig.LinkLocalIPs {
			bits := 16 // as RFC 3927 has it
			if a.Is6() {
				bits, l.IPv6 = 64, true
			}
			l.Addresses = append(l.Addresses, netip.PrefixFrom(a, bits))
		}
	}
	prefix := "eth"
	switch n.Driver {
	case driverBridge:
		l.Host, l.Bridge, l.MTU, l.Isolated, l.Hairpin = bridge.HostName(), n.Device, n.bridge.mtu, !n.bridge.icc, !s.o.Defaults().UserlandProxy
		prefix = n.bridge.prefix
	default:
		l.Kind, l.Parent, l.Mode = n.Driver, n.Device, modeOf(n)
	}
	if len(l.MAC) == 0 && l.Kind != bridge.IPvlan {
		l.MAC = bridge.MAC()
	}
	var err error
	if l.Name, err = freeName(prefix, asked.DriverOpts[optEndpointName], used); err != nil {
		return err
	}
	l.Settings = settings(asked.DriverOpts[optEndpointSysctls], l.Name)
	return nil
}

// longestName is what the kernel has room for.
const longestName = 15

// freeName is the name of a device in the container: the one that was asked for, or the first that is free.
func freeName(prefix, want string, used []*endpoint) (string, error) {
	taken := map[string]bool{}
	for _, e := range used {
		taken[e.Link.Name] = true
	}
	if want != "" {
		if taken[want] {
			return "", fault.Errorf(errdefs.ErrInvalidArgument, "error renaming interface %q to %q: file exists", prefix, want)
		}
		if len(want) > longestName || strings.ContainsAny(want, "/: \t\n") {
			return "", fault.Errorf(errdefs.ErrInvalidArgument, "invalid interface name %q", want)
		}
		return want, nil
	}
	for i := 0; ; i++ {
		if name := prefix + strconv.Itoa(i); !taken[name] {
			return name, nil
		}
	}
}

// settings reads what spec.CheckEndpoint has let pass: "net.ipv4.conf.IFNAME.log_martians=1,…".
func settings(text, name string) map[string]string {
	if text == "" {
		return nil
	}
	out := map[string]string{}
	for one := range strings.SplitSeq(text, ",") {
		key, value, _ := strings.Cut(one, "=")
		p := strings.SplitN(key, ".", 5)
		if len(p) == 5 {
			out[filepath.Join(p[1], p[2], name, strings.ReplaceAll(p[4], ".", "/"))] = value
		}
	}
	return out
}

// dnsNames are what others on a network know a container by: its name comes first, and is what reverse questions get.
func dnsNames(c *container.Container, aliases []string) []string {
	all := append([]string{c.Name}, aliases...)
	all = append(all, c.ID[:12], c.Config.Hostname)
	var list []string
	for _, n := range all {
		if n != "" && !slices.Contains(list, n) {
			list = append(list, n)
		}
	}
	return list
}

// failed is how errors of a start begin.
func failed(err error) error { return fmt.Errorf("failed to set up container networking: %w", err) }
