package views

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/container"
)

// summary is the list entry of a record, but for what changes without it: there is no status text, and the image's name
// is that of the create.
func (s *Service) summary(c *container.Container, st container.State) *api.Summary {
	health := healthOf(st.Health)
	sum := &api.Summary{
		ID: c.ID, Names: []string{"/" + c.Name}, ImageID: imageID(c), ImageManifestDescriptor: manifest(c),
		Command: command(c), Created: c.Created.Unix(), Ports: []api.PortSummary{},
		State: stateOf(st), Health: &health, Mounts: mountPoints(c),
		NetworkSettings: &api.NetworkSettingsSummary{Networks: map[string]*network.EndpointSettings{}},
	}
	if c.Config != nil {
		sum.Image, sum.Labels = c.Config.Image, c.Config.Labels
	}
	if c.HostConfig != nil {
		sum.HostConfig.NetworkMode = string(c.HostConfig.NetworkMode)
		sum.HostConfig.Annotations = c.HostConfig.Annotations
	}
	if n := s.Networks.Settings(c); n != nil {
		sum.Ports = ports(n.Ports)
		for name, ep := range n.Networks {
			if ep != nil {
				sum.NetworkSettings.Networks[name] = endpointSummary(ep)
			}
		}
	}
	return sum
}

// imageID is Docker's id of the image; empty for a container from nothing.
func imageID(c *container.Container) string { return c.Image.Target.Digest.String() }

// manifest is the variant that the container runs, with its platform; nil when it is not known.
func manifest(c *container.Container) *ocispec.Descriptor {
	if c.Image.Manifest.Digest == "" {
		return nil
	}
	d := c.Image.Manifest
	if d.Platform == nil {
		p := c.Platform
		d.Platform = &p
	}
	return &d
}

// command is what runs, as one line for people: it is not quoted so that a shell could read it.
func command(c *container.Container) string {
	words := append(make([]string, 0, len(c.Args)+1), c.Path)
	for _, a := range c.Args {
		if strings.Contains(a, " ") {
			a = "'" + a + "'"
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}

// ports are those of a container, in the order of their numbers.
func ports(m network.PortMap) []api.PortSummary {
	list := []api.PortSummary{}
	for p, bindings := range m {
		if len(bindings) == 0 {
			list = append(list, api.PortSummary{PrivatePort: p.Num(), Type: string(p.Proto())})
		}
		for _, b := range bindings {
			public, err := strconv.ParseUint(b.HostPort, 10, 16)
			if err != nil {
				continue // Not published yet: only a port that was given can be told.
			}
			list = append(list, api.PortSummary{PrivatePort: p.Num(), PublicPort: uint16(public), Type: string(p.Proto()), IP: b.HostIP})
		}
	}
	slices.SortFunc(list, func(a, b api.PortSummary) int {
		return cmp.Or(cmp.Compare(a.PrivatePort, b.PrivatePort), strings.Compare(a.Type, b.Type), a.IP.Compare(b.IP), cmp.Compare(a.PublicPort, b.PublicPort))
	})
	return list
}

// endpointSummary leaves away what only inspect tells: names, links, options.
func endpointSummary(ep *network.EndpointSettings) *network.EndpointSettings {
	out := &network.EndpointSettings{
		EndpointID: ep.EndpointID, Gateway: ep.Gateway, IPAddress: ep.IPAddress, IPPrefixLen: ep.IPPrefixLen,
		IPv6Gateway: ep.IPv6Gateway, GlobalIPv6Address: ep.GlobalIPv6Address, GlobalIPv6PrefixLen: ep.GlobalIPv6PrefixLen,
		MacAddress: ep.MacAddress, NetworkID: ep.NetworkID, GwPriority: ep.GwPriority,
	}
	if ep.IPAMConfig != nil {
		out.IPAMConfig = &network.EndpointIPAMConfig{IPv4Address: ep.IPAMConfig.IPv4Address, IPv6Address: ep.IPAMConfig.IPv6Address}
	}
	return out
}
