package spec

import (
	"fmt"
	"net/netip"
	"strings"

	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// CheckNetworking looks at the endpoints that a create asks for. Within says which addresses are a network's own, and
// says yes for networks that are not there yet. Addresses are brought to their usual form.
func CheckNetworking(nc *network.NetworkingConfig, within func(name string, a netip.Addr) bool) error {
	if nc == nil {
		return nil
	}
	var faults []string
	for _, name := range sortedKeys(nc.EndpointsConfig) {
		ep := nc.EndpointsConfig[name]
		if ep == nil {
			faults = append(faults, fmt.Sprintf("invalid config for network %s: EndpointsConfig is nil", name))
			continue
		}
		if f := checkEndpoint(name, ep, func(a netip.Addr) bool { return within(name, a) }); len(f) > 0 {
			faults = append(faults, fmt.Sprintf("invalid config for network %s: invalid endpoint settings:\n%s", name, list(f)))
		}
	}
	if len(faults) > 0 {
		return invalid("%s", list(faults))
	}
	return nil
}

// list writes one fault as it is, and several with stars, as Docker does.
func list(faults []string) string {
	if len(faults) == 1 {
		return strings.TrimSpace(faults[0])
	}
	indented := make([]string, len(faults))
	for i, f := range faults {
		indented[i] = strings.ReplaceAll(f, "\n", "\n\t")
	}
	return "* " + strings.Join(indented, "\n* ")
}

// CheckEndpoint looks at what is asked for on one network.
func CheckEndpoint(name string, ep *network.EndpointSettings, within func(netip.Addr) bool) error {
	if faults := checkEndpoint(name, ep, within); len(faults) > 0 {
		return invalid("invalid endpoint settings:\n%s", list(faults))
	}
	return nil
}

func checkEndpoint(name string, ep *network.EndpointSettings, within func(netip.Addr) bool) (faults []string) {
	ipam := ep.IPAMConfig
	if ipam == nil {
		ipam = &network.EndpointIPAMConfig{}
	}
	if !api.NetworkMode(name).IsUserDefined() {
		if ipam.IPv4Address.IsValid() || ipam.IPv6Address.IsValid() {
			faults = append(faults, "user-specified IP address is supported on user-defined networks only")
		}
		if len(ep.Aliases) > 0 {
			faults = append(faults, "network-scoped aliases are only supported for user-defined networks")
		}
	}
	faults = append(faults, checkAddresses(ipam)...)
	for _, a := range []netip.Addr{ipam.IPv4Address, ipam.IPv6Address} {
		if a.IsValid() && !within(a) {
			faults = append(faults, fmt.Sprintf("no configured subnet contains IP address %s", a))
		}
	}
	if all, ok := ep.DriverOpts[endpointSysctls]; ok {
		for s := range strings.SplitSeq(all, ",") {
			p := strings.SplitN(s, ".", 5)
			if len(p) != 5 || p[1] != "ipv4" && p[1] != "ipv6" && p[1] != "mpls" || p[3] != "IFNAME" && p[3] != "ifname" {
				faults = append(faults, fmt.Sprintf("unrecognised network interface sysctl '%s'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'", s))
			}
		}
	}
	return faults
}

func checkAddresses(ipam *network.EndpointIPAMConfig) (faults []string) {
	v4, v6 := ipam.IPv4Address, ipam.IPv6Address
	if v4.IsValid() && (!v4.Is4() && !v4.Is4In6() || v4.IsUnspecified()) {
		faults = append(faults, fmt.Sprintf("invalid IPv4 address: %s", v4))
	}
	if v6.IsValid() && (!v6.Is6() || v6.Is4In6() || v6.IsUnspecified() || v6.Zone() != "") {
		faults = append(faults, fmt.Sprintf("invalid IPv6 address: %s", v6))
	}
	for _, a := range ipam.LinkLocalIPs {
		if !a.IsValid() || a.IsUnspecified() {
			faults = append(faults, fmt.Sprintf("invalid link-local IP address: %s", a))
		}
	}
	ipam.IPv4Address, ipam.IPv6Address = v4.Unmap(), v6.Unmap()
	for i, a := range ipam.LinkLocalIPs {
		ipam.LinkLocalIPs[i] = a.Unmap()
	}
	return faults
}
