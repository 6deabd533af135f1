package spec

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"

	"github.com/gantry-containers/gantry/engine/host"
)

// endpointSysctls is the driver option of an endpoint that holds sysctls of its interface.
const endpointSysctls = "com.docker.network.endpoint.sysctls"

// Adjusted is what Adjust found that no field of a request can hold.
type Adjusted struct {
	Warnings []string
	// ReadOnlyNonRecursive says that read-only binds of the client do not reach mounts below them: so it was before API
	// 1.44.
	ReadOnlyNonRecursive bool
}

// Adjust is the first step of a create: it completes the parts of a request, refuses what no version allows, and makes
// of it what a client of an API version ("1.41") means by it. The body, which may be nil, is looked through for fields
// that the types have no more.
func Adjust(version string, req *api.CreateRequest, body []byte, f host.Facts) (Adjusted, error) {
	if err := completeParts(req); err != nil {
		return Adjusted{}, err
	}
	if err := checkRequest(req, f); err != nil {
		return Adjusted{}, err
	}
	hc, nc := req.HostConfig, req.NetworkingConfig
	defaultNetwork(hc, nc)
	a := Adjusted{ReadOnlyNonRecursive: before(version, "1.44")}
	adjustDefaults(version, hc, f)
	if err := adjustMounts(version, hc.Mounts); err != nil {
		return Adjusted{}, err
	}
	dropYounger(version, req)
	if before(version, "1.44") && len(nc.EndpointsConfig) > 1 {
		return Adjusted{}, invalid("Container cannot be created with multiple network endpoints: %s", strings.Join(sortedKeys(nc.EndpointsConfig), ", "))
	}
	for _, step := range []func() (string, error){
		func() (string, error) { return volumeDriver(version, hc), nil },
		func() (string, error) { return legacy(version, body, hc, nc) },
		func() (string, error) { return interfaceSysctls(version, hc, nc) },
		func() (string, error) { return emptyPorts(version, hc), nil },
	} {
		warning, err := step()
		if err != nil {
			return Adjusted{}, err
		}
		if warning != "" {
			a.Warnings = append(a.Warnings, warning)
		}
	}
	if hc.PidsLimit != nil && *hc.PidsLimit <= 0 {
		hc.PidsLimit = nil // Zero and below are for no limit.
	}
	return a, nil
}

// before says that an API version is older than another one.
func before(version, than string) bool { return minor(version) < minor(than) }

// minor is the part of a version that tells: all begin with "1.".
func minor(version string) int {
	_, m, _ := strings.Cut(version, ".")
	n, _ := strconv.Atoi(m)
	return n
}

// completeParts makes the parts of a request that are missing.
func completeParts(req *api.CreateRequest) error {
	if req.Config == nil {
		return invalid("config cannot be empty in order to create a container")
	}
	if req.Volumes == nil {
		req.Volumes = map[string]struct{}{}
	}
	if req.HostConfig == nil {
		req.HostConfig = &api.HostConfig{}
	}
	if req.HostConfig.PortBindings == nil {
		req.HostConfig.PortBindings = network.PortMap{}
	}
	if req.HostConfig.NetworkMode == "" {
		req.HostConfig.NetworkMode = network.NetworkDefault
	}
	if req.NetworkingConfig == nil {
		req.NetworkingConfig = &network.NetworkingConfig{}
	}
	if req.NetworkingConfig.EndpointsConfig == nil {
		req.NetworkingConfig.EndpointsConfig = map[string]*network.EndpointSettings{}
	}
	return nil
}

// checkRequest says no to parts that contradict each other.
func checkRequest(req *api.CreateRequest, f host.Facts) error {
	c, hc := req.Config, req.HostConfig
	if err := checkJoinedNetwork(c, hc); err != nil {
		return err
	}
	switch {
	case hc.UTSMode.IsHost() && c.Hostname != "":
		return invalid("conflicting options: hostname and the UTS mode")
	case hc.NetworkMode.IsHost() && len(hc.Links) > 0:
		return invalid("conflicting options: host type networking can't be used with links. This would result in undefined behavior")
	case !hc.Isolation.IsValid():
		return invalid("invalid isolation (%s): linux only supports 'default'", hc.Isolation)
	case hc.IOMaximumBandwidth != 0:
		return invalid("invalid option: QoS maximum bandwidth configuration is not supported on linux")
	case hc.IOMaximumIOps != 0:
		return invalid("invalid option: QoS maximum IOPs configuration is not supported on linux")
	case (hc.CPURealtimePeriod != 0 || hc.CPURealtimeRuntime != 0) && !f.Controllers[host.CPURealtime]:
		return invalid("kernel does not support CPU real-time scheduler")
	case hc.CPURealtimePeriod != 0 && hc.CPURealtimeRuntime != 0 && hc.CPURealtimeRuntime > hc.CPURealtimePeriod:
		return invalid("cpu real-time runtime cannot be higher than cpu real-time period")
	case f.Controllers[host.CPUShares] && hc.CPUShares < 0:
		return invalid("invalid CPU shares (%d): value must be a positive integer", hc.CPUShares)
	}
	return nil
}

// checkJoinedNetwork says no to what belongs to a network, when that is another container's.
func checkJoinedNetwork(c *api.Config, hc *api.HostConfig) error {
	if hc.NetworkMode != "container" && !hc.NetworkMode.IsContainer() {
		return nil
	}
	switch {
	case hc.NetworkMode.ConnectedContainer() == "":
		return invalid("invalid network mode: invalid container format container:<name|id>")
	case c.Hostname != "":
		return invalid("conflicting options: hostname and the network mode")
	case len(hc.Links) > 0:
		return invalid("conflicting options: container type network can't be used with links. This would result in undefined behavior")
	case len(hc.DNS) > 0:
		return invalid("conflicting options: dns and the network mode")
	case len(hc.ExtraHosts) > 0:
		return invalid("conflicting options: custom host-to-IP mapping and the network mode")
	case len(hc.PortBindings) > 0 || hc.PublishAllPorts:
		return invalid("conflicting options: port publishing and the container type network mode")
	case len(c.ExposedPorts) > 0:
		return invalid("conflicting options: port exposing and the container type network mode")
	}
	return nil
}

// defaultNetwork says "bridge" for "default", which is what it is on Linux.
func defaultNetwork(hc *api.HostConfig, nc *network.NetworkingConfig) {
	if !hc.NetworkMode.IsDefault() {
		return
	}
	hc.NetworkMode = network.NetworkBridge
	if ep, ok := nc.EndpointsConfig[network.NetworkDefault]; ok {
		nc.EndpointsConfig[network.NetworkBridge] = ep
		delete(nc.EndpointsConfig, network.NetworkDefault)
	}
}

// adjustDefaults gives old clients the defaults of their time.
func adjustDefaults(version string, hc *api.HostConfig, f host.Facts) {
	if before(version, "1.40") && hc.IpcMode.IsEmpty() {
		hc.IpcMode = api.IPCModeShareable
	}
	if before(version, "1.41") && hc.CgroupnsMode.IsEmpty() && !f.CgroupV2 {
		hc.CgroupnsMode = api.CgroupnsModeHost
	}
	if before(version, "1.42") {
		hc.ConsoleSize = [2]uint{}
	}
}

// dropYounger forgets fields that the client's version did not have.
func dropYounger(version string, req *api.CreateRequest) {
	if before(version, "1.43") {
		req.HostConfig.Annotations = nil
	}
	if before(version, "1.44") && req.Healthcheck != nil {
		req.Healthcheck.StartInterval = 0
	}
	if before(version, "1.48") {
		for _, ep := range req.NetworkingConfig.EndpointsConfig {
			if ep != nil {
				ep.GwPriority = 0
			}
		}
	}
	if before(version, "1.56") {
		req.HostConfig.Umask = nil
	}
}

func adjustMounts(version string, all []mount.Mount) error {
	for i := range all {
		m := &all[i]
		if bo := m.BindOptions; bo != nil {
			bo.NonRecursive = bo.NonRecursive && !before(version, "1.40")
			bo.CreateMountpoint = bo.CreateMountpoint && !before(version, "1.42")
		}
		if !before(version, "1.42") {
			for _, o := range []struct {
				of   mount.Type
				name string
				set  bool
			}{
				{mount.TypeVolume, "VolumeOptions", m.VolumeOptions != nil},
				{mount.TypeBind, "BindOptions", m.BindOptions != nil},
				{mount.TypeTmpfs, "TmpfsOptions", m.TmpfsOptions != nil},
			} {
				if o.set && m.Type != o.of {
					return invalid("%s must not be specified on mount type %q", o.name, m.Type)
				}
			}
		}
		switch {
		case before(version, "1.44") && m.Type == mount.TypeBind && m.BindOptions != nil && m.BindOptions.ReadOnlyForceRecursive:
			return invalid("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer")
		case before(version, "1.45") && m.VolumeOptions != nil && m.VolumeOptions.Subpath != "":
			return invalid("VolumeOptions.Subpath needs API v1.45 or newer")
		case before(version, "1.48") && m.Type == mount.TypeImage:
			return invalid(`Mount type "Image" needs API v1.48 or newer`)
		}
	}
	return nil
}

// volumeDriver warns that --volume-driver is not for --mount.
func volumeDriver(version string, hc *api.HostConfig) string {
	if hc.VolumeDriver == "" || before(version, "1.48") {
		return ""
	}
	for _, m := range hc.Mounts {
		own := m.VolumeOptions != nil && m.VolumeOptions.DriverConfig != nil && m.VolumeOptions.DriverConfig.Name != ""
		if m.Type == mount.TypeVolume && !own {
			return "WARNING: the container-wide volume-driver configuration is ignored for volumes specified via 'mount'. Use '--mount type=volume,volume-driver=...' instead"
		}
	}
	return ""
}

// legacy looks for fields that were: an address of the container as a whole, and the exact set of capabilities.
func legacy(version string, body []byte, hc *api.HostConfig, nc *network.NetworkingConfig) (string, error) {
	if !before(version, "1.52") {
		return "", nil
	}
	var old struct {
		MacAddress network.HardwareAddr
		HostConfig struct{ Capabilities []string }
	}
	// What is no such field is none of ours: the request itself was read before.
	_ = json.Unmarshal(body, &old)
	if len(old.HostConfig.Capabilities) > 0 && minor(version) == 40 {
		return "", invalid("the HostConfig.Capabilities field is not supported by this daemon; use CapAdd and CapDrop to set capabilities")
	}
	return macAddress(version, old.MacAddress, hc, nc)
}

// macAddress moves the address of the container to its first network.
func macAddress(version string, mac network.HardwareAddr, hc *api.HostConfig, nc *network.NetworkingConfig) (string, error) {
	own := hc.NetworkMode.IsBridge() || hc.NetworkMode.IsUserDefined()
	if before(version, "1.44") {
		if len(mac) == 0 {
			for _, ep := range nc.EndpointsConfig {
				if ep != nil {
					ep.MacAddress = nil // That field was not there.
				}
			}
			return "", nil
		}
		if !own {
			return "", invalid("conflicting options: mac-address and the network mode")
		}
	}
	if len(mac) == 0 {
		return "", nil
	}
	if own {
		ep, err := endpoint(version, hc.NetworkMode, nc)
		if err != nil {
			return "", fmt.Errorf("unable to migrate container-wide MAC address to a specific network: %w", err)
		}
		if !before(version, "1.44") && len(ep.MacAddress) > 0 && !slices.Equal(ep.MacAddress, mac) {
			return "", invalid("the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty")
		}
		ep.MacAddress = mac
	}
	if before(version, "1.44") {
		return "", nil
	}
	return "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead.", nil
}

// endpoint finds or makes the settings of the network that the mode names.
func endpoint(version string, mode api.NetworkMode, nc *network.NetworkingConfig) (*network.EndpointSettings, error) {
	if len(nc.EndpointsConfig) == 0 {
		ep := &network.EndpointSettings{}
		nc.EndpointsConfig = map[string]*network.EndpointSettings{mode.NetworkName(): ep}
		return ep, nil
	}
	ep, ok := nc.EndpointsConfig[mode.NetworkName()]
	if !ok && before(version, "1.44") {
		// There is only one, and that is meant.
		for _, ep = range nc.EndpointsConfig {
			ok = true
		}
	}
	if !ok {
		return nil, invalid("HostConfig.NetworkMode must match the identity of a network in NetworkSettings.Networks")
	}
	if ep == nil {
		return nil, invalid("invalid config for network %s: EndpointsConfig is nil", mode.NetworkName())
	}
	return ep, nil
}

// interfaceSysctls moves sysctls of the interface eth0 to its endpoint: when they could be set for the container, that
// interface is not there yet.
func interfaceSysctls(version string, hc *api.HostConfig, nc *network.NetworkingConfig) (string, error) {
	if !hc.NetworkMode.IsPrivate() {
		return "", nil
	}
	var ep *network.EndpointSettings
	var moved, settings []string
	for _, k := range sortedKeys(hc.Sysctls) {
		part := strings.SplitN(k, ".", 5)
		if len(part) != 5 || part[0] != "net" || !strings.HasPrefix(part[3], "eth") {
			continue
		}
		if ep == nil {
			if !before(version, "1.48") {
				return "", fmt.Errorf("interface specific sysctl setting %q must be supplied using driver option '%s'", k, endpointSysctls)
			}
			var err error
			if ep, err = endpoint(version, hc.NetworkMode, nc); err != nil {
				return "", fmt.Errorf("unable to find a network for sysctl %s: %w", k, err)
			}
		}
		if part[3] != "eth0" {
			return "", fmt.Errorf("unable to determine network endpoint for sysctl %s, use driver option '%s' to set per-interface sysctls", k, endpointSysctls)
		}
		moved = append(moved, k)
		settings = append(settings, fmt.Sprintf("net.%s.%s.IFNAME.%s=%s", part[1], part[2], part[4], hc.Sysctls[k]))
	}
	if ep == nil {
		return "", nil
	}
	option := strings.Join(settings, ",")
	warning := fmt.Sprintf(`Migrated sysctl %q to DriverOpts{%q:%q}.`, strings.Join(moved, ","), endpointSysctls, option)
	if ep.DriverOpts == nil {
		ep.DriverOpts = map[string]string{}
	}
	if old, ok := ep.DriverOpts[endpointSysctls]; ok {
		option += "," + old // Later ones win: those of the endpoint itself.
	}
	ep.DriverOpts[endpointSysctls] = option
	for _, k := range moved {
		delete(hc.Sysctls, k)
	}
	return warning, nil
}

// emptyPorts makes of a port without a binding one that is bound anywhere.
func emptyPorts(version string, hc *api.HostConfig) string {
	var empty []string
	for port, bindings := range hc.PortBindings {
		if len(bindings) == 0 {
			empty = append(empty, port.String())
			hc.PortBindings[port] = []network.PortBinding{{}}
		}
	}
	if len(empty) == 0 || before(version, "1.52") {
		return ""
	}
	slices.Sort(empty)
	return fmt.Sprintf("Following container port(s) have an empty list of port-bindings: %s. Such bindings will be discarded in a future version.", strings.Join(empty, ", "))
}
