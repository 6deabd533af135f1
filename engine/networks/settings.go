package networks

import (
	"maps"
	"slices"
	"strconv"

	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/gantry-containers/gantry/engine/container"
)

// Settings is what inspect tells.
func (s *Service) Settings(c *container.Container) *api.NetworkSettings {
	out := &api.NetworkSettings{Ports: network.PortMap{}, Networks: map[string]*network.EndpointSettings{}}
	if !hasNetwork(c) {
		return out
	}
	b := s.get(c.ID)
	if b != nil {
		out.SandboxID, out.SandboxKey = b.ID, b.Namespace
		if b.Host {
			out.SandboxKey = s.o.Devices.Path(homeFile)
		}
		out.Ports = b.portMap(c)
	}
	endpoints := c.Endpoints
	if len(endpoints) == 0 && !c.Started {
		endpoints = map[string]*network.EndpointSettings{modeName(c.HostConfig.NetworkMode): nil}
	}
	for name, asked := range endpoints {
		name = modeName(api.NetworkMode(name))
		e := &network.EndpointSettings{}
		if asked != nil {
			e = asked.Copy()
		}
		n, err := s.find(name)
		if err == nil {
			name = n.Name
		}
		if err == nil && c.Started {
			s.became(c, n, b, e)
		}
		out.Networks[name] = e
	}
	return out
}

// became adds what a network gave to a container. What was asked for does not show any more when it has run.
func (s *Service) became(c *container.Container, n *known, b *sandbox, e *network.EndpointSettings) {
	e.NetworkID, e.MacAddress = n.ID, nil
	if !IsPredefined(n.Name) {
		e.DNSNames = dnsNames(c, e.Aliases)
	}
	var is *endpoint
	if b != nil {
		is = b.on(n.ID)
	}
	if is == nil {
		return
	}
	e.EndpointID, e.MacAddress = is.ID, network.HardwareAddr(slices.Clone(is.Link.MAC))
	e.Gateway, e.IPv6Gateway = is.Gateway4, is.Gateway6
	if is.IPv4.IsValid() {
		e.IPAddress, e.IPPrefixLen = is.IPv4.Addr(), is.IPv4.Bits()
	}
	if is.IPv6.IsValid() {
		e.GlobalIPv6Address, e.GlobalIPv6PrefixLen = is.IPv6.Addr(), is.IPv6.Bits()
	}
}

// portMap are the ports of a container on a bridge: with where they are published, or that they are not.
func (b *sandbox) portMap(c *container.Container) network.PortMap {
	out := network.PortMap{}
	for _, e := range b.Endpoints {
		if e.Driver != driverBridge {
			continue
		}
		for p := range c.Config.ExposedPorts {
			out[p] = nil
		}
		for p := range maps.Keys(c.HostConfig.PortBindings) {
			out[p] = nil
		}
	}
	for _, p := range b.Ports {
		port, ok := network.PortFrom(p.Container.Port(), network.IPProtocol(p.Protocol))
		if ok {
			out[port] = append(out[port], network.PortBinding{HostIP: p.Host.Addr(), HostPort: strconv.Itoa(int(p.Host.Port()))})
		}
	}
	return out
}

// DesiredMAC is the address that was asked for on a container's main network.
func (s *Service) DesiredMAC(c *container.Container) network.HardwareAddr {
	if e := c.Endpoints[modeName(c.HostConfig.NetworkMode)]; e != nil {
		return e.MacAddress
	}
	return nil
}
