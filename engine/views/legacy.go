package views

import (
	"net/netip"
	"slices"

	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/storage"
)

// The parts of inspect that had more fields before API 1.52.
type (
	legacyInspect struct {
		*api.InspectResponse
		Config          *legacyConfig
		NetworkSettings any
	}
	legacyConfig struct {
		*api.Config
		MacAddress network.HardwareAddr `json:",omitempty"`
	}
	// legacyNetworks shows the default bridge's endpoint as if it were the only one.
	legacyNetworks struct {
		*api.NetworkSettings
		EndpointID          string
		Gateway             netip.Addr
		GlobalIPv6Address   netip.Addr
		GlobalIPv6PrefixLen int
		IPAddress           netip.Addr
		IPPrefixLen         int
		IPv6Gateway         netip.Addr
		MacAddress          network.HardwareAddr
	}
)

// ForVersion is what an API version tells of an inspect answer, which it may change.
func (s *Service) ForVersion(in *api.InspectResponse, before func(version string) bool) any {
	if before("1.45") {
		shortAliases(in)
	}
	if before("1.48") {
		in.ImageManifestDescriptor = nil
	}
	if before("1.56") && in.HostConfig != nil {
		in.HostConfig.Umask = nil
	}
	if !before("1.52") {
		return in
	}
	in.GraphDriver, in.Storage = &storage.DriverData{Name: in.Driver}, nil
	out := &legacyInspect{InspectResponse: in, Config: &legacyConfig{Config: in.Config}, NetworkSettings: in.NetworkSettings}
	if s.DesiredMAC != nil {
		if c, err := s.Records.Get(in.ID); err == nil {
			out.Config.MacAddress = s.DesiredMAC(c)
		}
	}
	if ep := in.NetworkSettings.Networks["bridge"]; ep != nil {
		out.NetworkSettings = &legacyNetworks{
			NetworkSettings: in.NetworkSettings, EndpointID: ep.EndpointID, Gateway: ep.Gateway,
			GlobalIPv6Address: ep.GlobalIPv6Address, GlobalIPv6PrefixLen: ep.GlobalIPv6PrefixLen,
			IPAddress: ep.IPAddress, IPPrefixLen: ep.IPPrefixLen, IPv6Gateway: ep.IPv6Gateway, MacAddress: ep.MacAddress,
		}
	}
	return out
}

// shortAliases adds the names that each endpoint had among its aliases.
func shortAliases(in *api.InspectResponse) {
	for name, ep := range in.NetworkSettings.Networks {
		if !api.NetworkMode(name).IsUserDefined() {
			continue
		}
		for _, alias := range []string{in.ID[:12], in.Config.Hostname} {
			if !slices.Contains(ep.Aliases, alias) {
				ep.Aliases = append(ep.Aliases, alias)
			}
		}
	}
}
