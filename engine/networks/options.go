package networks

import (
	"errors"
	"net/netip"
	"strconv"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/engine/fault"
)

// Names of driver options.
const (
	optName       = "com.docker.network.bridge.name"
	optMasquerade = "com.docker.network.bridge.enable_ip_masquerade"
	optMode4      = "com.docker.network.bridge.gateway_mode_ipv4"
	optMode6      = "com.docker.network.bridge.gateway_mode_ipv6"
	optICC        = "com.docker.network.bridge.enable_icc"
	optInhibit    = "com.docker.network.bridge.inhibit_ipv4"
	optBind       = "com.docker.network.bridge.host_binding_ipv4"
	optDefault    = "com.docker.network.bridge.default_bridge"
	optMTU        = "com.docker.network.driver.mtu"
	optIPv4       = "com.docker.network.enable_ipv4"
	optIPv6       = "com.docker.network.enable_ipv6"
	optPrefix     = "com.docker.network.container_iface_prefix"
	optHost4      = "com.docker.network.host_ipv4"
	optHost6      = "com.docker.network.host_ipv6"
	optParent     = "parent"

	optEndpointName    = "com.docker.network.endpoint.ifname"
	optEndpointSysctls = "com.docker.network.endpoint.sysctls"

	auxGateway4 = "DefaultGatewayIPv4"
	auxGateway6 = "DefaultGatewayIPv6"
)

// Gateway modes.
const (
	modeIsolated = "isolated"
	modeRouted   = "routed"
)

// bridgeOptions are the driver options of a bridge network, read.
type bridgeOptions struct {
	name, prefix             string
	mtu                      int
	masquerade, icc, inhibit bool
	mode4, mode6             string
	bind                     netip.Addr
	host4, host6             netip.Addr
	ipv4, ipv6               bool
}

// readOptions reads them; those of others are left alone.
func readOptions(options map[string]string) (bridgeOptions, error) {
	o := bridgeOptions{masquerade: true, icc: true, prefix: "eth"}
	var ignored bool
	fields := []struct {
		key  string
		read func(value string) error
	}{
		{optName, text(&o.name)},
		{optMTU, func(v string) (err error) { o.mtu, err = strconv.Atoi(v); return err }},
		{optIPv4, truth(&o.ipv4)},
		{optIPv6, truth(&o.ipv6)},
		{optMasquerade, truth(&o.masquerade)},
		{optMode4, mode(&o.mode4)},
		{optMode6, mode(&o.mode6)},
		{optICC, truth(&o.icc)},
		{optInhibit, truth(&o.inhibit)},
		{optDefault, truth(&ignored)},
		{optBind, address(&o.bind)},
		{optPrefix, text(&o.prefix)},
		{optHost4, address(&o.host4)},
		{optHost6, address(&o.host6)},
	}
	for _, f := range fields {
		value, given := options[f.key]
		if !given {
			continue
		}
		if err := f.read(value); err != nil {
			return o, fault.Errorf(errdefs.ErrInvalidArgument, "failed to parse %s value: %v (%s)", f.key, value, err)
		}
	}
	if o.mtu < 0 {
		return o, fault.Errorf(errdefs.ErrInvalidArgument, "invalid MTU number: %d", o.mtu)
	}
	return o, nil
}

func text(p *string) func(string) error {
	return func(v string) error { *p = v; return nil }
}

func truth(p *bool) func(string) error {
	return func(v string) (err error) { *p, err = strconv.ParseBool(v); return err }
}

func mode(p *string) func(string) error {
	return func(v string) error {
		switch v {
		case "nat", "nat-unprotected", modeRouted, modeIsolated:
			*p = v
			return nil
		}
		return errors.New("unknown gateway mode " + v)
	}
}

func address(p *netip.Addr) func(string) error {
	return func(v string) error {
		a, err := netip.ParseAddr(v)
		if err != nil {
			return errors.New("nil ip")
		}
		*p = a.Unmap()
		return nil
	}
}
