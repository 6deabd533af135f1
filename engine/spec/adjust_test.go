package spec_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"

	"github.com/gantry-containers/gantry/engine/spec"
)

// adjustment is a request of an API version, and what is made of it: refused, or changed.
type adjustment struct {
	name, version string
	change        func(*api.CreateRequest)
	body          string
	refused       string
	warning       string
	want          func(*api.CreateRequest)
}

func (a adjustment) request() *api.CreateRequest {
	req := &api.CreateRequest{Config: &api.Config{}, HostConfig: &api.HostConfig{}, NetworkingConfig: &network.NetworkingConfig{}}
	a.change(req)
	return req
}

func mounted(m mount.Mount) func(*api.CreateRequest) {
	return func(r *api.CreateRequest) { r.HostConfig.Mounts = []mount.Mount{m} }
}

func joinNetwork(change func(*api.CreateRequest)) func(*api.CreateRequest) {
	return func(r *api.CreateRequest) {
		r.HostConfig.NetworkMode = "container:x"
		change(r)
	}
}

func endpoints(all map[string]*network.EndpointSettings) func(*api.CreateRequest) {
	return func(r *api.CreateRequest) { r.NetworkingConfig.EndpointsConfig = all }
}

func sysctl(name string) func(*api.CreateRequest) {
	return func(r *api.CreateRequest) { r.HostConfig.Sysctls = map[string]string{name: "1"} }
}

const (
	mac        = `{"MacAddress":"02:00:00:00:00:01"}`
	macWarning = "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
)

var adjustments = []adjustment{
	{name: "no config", version: "1.56", change: func(r *api.CreateRequest) { r.Config = nil }, refused: "config cannot be empty in order to create a container"},
	{name: "network of nobody", version: "1.56", change: func(r *api.CreateRequest) { r.HostConfig.NetworkMode = "container:" }, refused: "invalid network mode: invalid container format container:<name|id>"},
	{name: "join and hostname", version: "1.56", change: joinNetwork(func(r *api.CreateRequest) { r.Hostname = "x" }), refused: "conflicting options: hostname and the network mode"},
	{name: "join and links", version: "1.56", change: joinNetwork(func(r *api.CreateRequest) { r.HostConfig.Links = []string{"x"} }), refused: "conflicting options: container type network can't be used with links. This would result in undefined behavior"},
	{name: "join and dns", version: "1.56", change: joinNetwork(func(r *api.CreateRequest) { r.HostConfig.DNS = []netip.Addr{netip.MustParseAddr("1.1.1.1")} }), refused: "conflicting options: dns and the network mode"},
	{name: "join and hosts", version: "1.56", change: joinNetwork(func(r *api.CreateRequest) { r.HostConfig.ExtraHosts = []string{"x:1.1.1.1"} }), refused: "conflicting options: custom host-to-IP mapping and the network mode"},
	{name: "join and publish", version: "1.56", change: joinNetwork(func(r *api.CreateRequest) { r.HostConfig.PublishAllPorts = true }), refused: "conflicting options: port publishing and the container type network mode"},
	{name: "join and expose", version: "1.56", change: joinNetwork(func(r *api.CreateRequest) { r.ExposedPorts = network.PortSet{network.MustParsePort("1/tcp"): {}} }), refused: "conflicting options: port exposing and the container type network mode"},
	{name: "uts and hostname", version: "1.56", change: func(r *api.CreateRequest) { r.HostConfig.UTSMode, r.Hostname = "host", "x" }, refused: "conflicting options: hostname and the UTS mode"},
	{name: "host and links", version: "1.56", change: func(r *api.CreateRequest) { r.HostConfig.NetworkMode, r.HostConfig.Links = "host", []string{"x"} }, refused: "conflicting options: host type networking can't be used with links. This would result in undefined behavior"},
	{name: "isolation", version: "1.56", change: func(r *api.CreateRequest) { r.HostConfig.Isolation = "process" }, refused: "invalid isolation (process): linux only supports 'default'"},
	{name: "bandwidth", version: "1.56", change: func(r *api.CreateRequest) { r.HostConfig.IOMaximumBandwidth = 1 }, refused: "invalid option: QoS maximum bandwidth configuration is not supported on linux"},
	{name: "io", version: "1.56", change: func(r *api.CreateRequest) { r.HostConfig.IOMaximumIOps = 1 }, refused: "invalid option: QoS maximum IOPs configuration is not supported on linux"},
	{name: "shares", version: "1.56", change: func(r *api.CreateRequest) { r.HostConfig.CPUShares = -1 }, refused: "invalid CPU shares (-1): value must be a positive integer"},
	{name: "options of another type", version: "1.42", change: mounted(mount.Mount{Type: "bind", Source: "/", Target: "/x", TmpfsOptions: &mount.TmpfsOptions{}}), refused: `TmpfsOptions must not be specified on mount type "bind"`},
	{name: "rro is young", version: "1.43", change: mounted(mount.Mount{Type: "bind", Source: "/", Target: "/x", BindOptions: &mount.BindOptions{ReadOnlyForceRecursive: true}}), refused: "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer"},
	{name: "subpath is young", version: "1.44", change: mounted(mount.Mount{Type: "volume", Source: "v", Target: "/x", VolumeOptions: &mount.VolumeOptions{Subpath: "a"}}), refused: "VolumeOptions.Subpath needs API v1.45 or newer"},
	{name: "image is young", version: "1.47", change: mounted(mount.Mount{Type: "image", Source: "v", Target: "/x"}), refused: `Mount type "Image" needs API v1.48 or newer`},
	{name: "many networks are young", version: "1.43", change: endpoints(map[string]*network.EndpointSettings{"b": {}, "a": {}}), refused: "Container cannot be created with multiple network endpoints: a, b"},
	{name: "sysctl of an interface", version: "1.48", change: sysctl("net.ipv4.conf.eth0.forwarding"), refused: `interface specific sysctl setting "net.ipv4.conf.eth0.forwarding" must be supplied using driver option 'com.docker.network.endpoint.sysctls'`},
	{name: "sysctl of another interface", version: "1.46", change: sysctl("net.ipv4.conf.eth1.forwarding"), refused: `unable to determine network endpoint for sysctl net.ipv4.conf.eth1.forwarding, use driver option 'com.docker.network.endpoint.sysctls' to set per-interface sysctls`},
	{name: "alias on the default network", version: "1.56", change: endpoints(map[string]*network.EndpointSettings{"bridge": {IPAMConfig: &network.EndpointIPAMConfig{LinkLocalIPs: []netip.Addr{netip.MustParseAddr("0.0.0.0")}}, Aliases: []string{"x"}}}), refused: "invalid config for network bridge: invalid endpoint settings:\n* network-scoped aliases are only supported for user-defined networks\n* invalid link-local IP address: 0.0.0.0"},
	{name: "address in a network without any", version: "1.56", change: endpoints(map[string]*network.EndpointSettings{"none": {IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: netip.MustParseAddr("1.2.3.4")}}}), refused: "invalid config for network none: invalid endpoint settings:\n* user-specified IP address is supported on user-defined networks only\n* no configured subnet contains IP address 1.2.3.4"},
	{name: "addresses", version: "1.56", change: endpoints(map[string]*network.EndpointSettings{"n": {IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: netip.MustParseAddr("::1")}, DriverOpts: map[string]string{"com.docker.network.endpoint.sysctls": "x"}}}), refused: "invalid config for network n: invalid endpoint settings:\n* invalid IPv4 address: ::1\n* unrecognised network interface sysctl 'x'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'"},

	{name: "an old client", version: "1.39", change: func(r *api.CreateRequest) {
		mounted(mount.Mount{Type: "bind", Source: "/", Target: "/x", BindOptions: &mount.BindOptions{NonRecursive: true, CreateMountpoint: true}})(r)
		r.HostConfig.ConsoleSize, r.HostConfig.Annotations, r.HostConfig.Umask = [2]uint{1, 2}, map[string]string{"a": "b"}, new(uint32)
		r.Healthcheck = &api.HealthConfig{StartInterval: 5}
		r.HostConfig.PidsLimit = new(int64(-1))
		endpoints(map[string]*network.EndpointSettings{"default": {GwPriority: 5, MacAddress: network.HardwareAddr{1, 2}}})(r)
	}, want: func(r *api.CreateRequest) {
		mounted(mount.Mount{Type: "bind", Source: "/", Target: "/x", BindOptions: &mount.BindOptions{}})(r)
		r.HostConfig.IpcMode, r.HostConfig.CgroupnsMode = "shareable", "host"
		r.Healthcheck = &api.HealthConfig{}
		endpoints(map[string]*network.EndpointSettings{"bridge": {}})(r)
	}},
	{name: "a new client", version: "1.56", change: func(r *api.CreateRequest) { r.HostConfig.Umask = new(uint32(7)) }, want: func(r *api.CreateRequest) { r.HostConfig.Umask = new(uint32(7)) }},
	{name: "address of the container, old", version: "1.43", body: mac, change: func(*api.CreateRequest) {}, want: endpoints(map[string]*network.EndpointSettings{"bridge": {MacAddress: network.HardwareAddr{2, 0, 0, 0, 0, 1}}})},
	{name: "address of the container", version: "1.51", body: mac, warning: macWarning, change: func(*api.CreateRequest) {}, want: endpoints(map[string]*network.EndpointSettings{"bridge": {MacAddress: network.HardwareAddr{2, 0, 0, 0, 0, 1}}})},
	{name: "address of the container, gone", version: "1.52", body: mac, change: func(*api.CreateRequest) {}, want: func(*api.CreateRequest) {}},
	{name: "two addresses", version: "1.44", body: mac, change: endpoints(map[string]*network.EndpointSettings{"bridge": {MacAddress: network.HardwareAddr{1, 2, 3, 4, 5, 6}}}), refused: "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty"},
	{name: "address without a network", version: "1.43", body: mac, change: func(r *api.CreateRequest) { r.HostConfig.NetworkMode = "none" }, refused: "conflicting options: mac-address and the network mode"},
	{name: "exact capabilities", version: "1.40", body: `{"HostConfig":{"Capabilities":["CAP_CHOWN"]}}`, change: func(*api.CreateRequest) {}, refused: "the HostConfig.Capabilities field is not supported by this daemon; use CapAdd and CapDrop to set capabilities"},
	{name: "exact capabilities, unknown", version: "1.41", body: `{"HostConfig":{"Capabilities":["CAP_CHOWN"]}}`, change: func(*api.CreateRequest) {}, want: func(r *api.CreateRequest) { r.HostConfig.CgroupnsMode = "" }},
	{
		name: "sysctl of the first interface", version: "1.47", change: sysctl("net.ipv4.conf.eth0.forwarding"),
		warning: `Migrated sysctl "net.ipv4.conf.eth0.forwarding" to DriverOpts{"com.docker.network.endpoint.sysctls":"net.ipv4.conf.IFNAME.forwarding=1"}.`,
		want:    endpoints(map[string]*network.EndpointSettings{"bridge": {DriverOpts: map[string]string{"com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.forwarding=1"}}}),
	},
	{
		name: "a port without a binding", version: "1.52",
		change: func(r *api.CreateRequest) {
			r.HostConfig.PortBindings = network.PortMap{network.MustParsePort("1/tcp"): nil}
		},
		warning: "Following container port(s) have an empty list of port-bindings: 1/tcp. Such bindings will be discarded in a future version.",
		want: func(r *api.CreateRequest) {
			r.HostConfig.PortBindings = network.PortMap{network.MustParsePort("1/tcp"): {{}}}
		},
	},
	{
		name: "a driver for all volumes", version: "1.48",
		change: func(r *api.CreateRequest) {
			r.HostConfig.VolumeDriver = "local"
			mounted(mount.Mount{Type: "volume", Target: "/x"})(r)
		},
		warning: "WARNING: the container-wide volume-driver configuration is ignored for volumes specified via 'mount'. Use '--mount type=volume,volume-driver=...' instead",
		want: func(r *api.CreateRequest) {
			r.HostConfig.VolumeDriver = "local"
			mounted(mount.Mount{Type: "volume", Target: "/x"})(r)
		},
	},
}

func TestAdjust(t *testing.T) {
	for _, tt := range adjustments {
		t.Run(tt.name, func(t *testing.T) {
			req := tt.request()
			got, err := spec.Adjust(tt.version, req, []byte(tt.body), aMachine())
			if err == nil {
				err = spec.CheckNetworking(req.NetworkingConfig, networksOf)
			}
			if tt.refused != "" {
				if err == nil || err.Error() != tt.refused {
					t.Errorf("got %v, want %s", err, tt.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			tt.compare(t, req, got)
		})
	}
}

func (a adjustment) compare(t *testing.T, req *api.CreateRequest, got spec.Adjusted) {
	t.Helper()
	want := &api.CreateRequest{
		Config: &api.Config{}, HostConfig: &api.HostConfig{NetworkMode: "bridge"},
		NetworkingConfig: &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{}},
	}
	a.want(want)
	if d := cmp.Diff(want, req, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, network.Port{})); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	var warnings []string
	if a.warning != "" {
		warnings = []string{a.warning}
	}
	if d := cmp.Diff(warnings, got.Warnings); d != "" {
		t.Errorf("warnings: -want +got\n%s", d)
	}
	if old := a.version < "1.44"; got.ReadOnlyNonRecursive != old {
		t.Errorf("read-only is not recursive: %v, want %v", got.ReadOnlyNonRecursive, old)
	}
}

func TestAdjustRealtime(t *testing.T) {
	req := func() *api.CreateRequest {
		return &api.CreateRequest{Config: &api.Config{}, HostConfig: &api.HostConfig{Resources: api.Resources{CPURealtimePeriod: 5, CPURealtimeRuntime: 6}}}
	}
	f := aMachine()
	if _, err := spec.Adjust("1.56", req(), nil, f); err == nil || err.Error() != "cpu real-time runtime cannot be higher than cpu real-time period" {
		t.Error(err)
	}
	f.Controllers = nil
	if _, err := spec.Adjust("1.56", req(), nil, f); err == nil || err.Error() != "kernel does not support CPU real-time scheduler" {
		t.Error(err)
	}
}

// networksOf has all addresses in networks that are not there yet, and none in those that have no subnets.
func networksOf(name string, _ netip.Addr) bool {
	return name != network.NetworkHost && name != network.NetworkNone
}
