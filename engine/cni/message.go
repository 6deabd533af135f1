package cni

import (
	"net/netip"

	"github.com/gantry-containers/gantry/engine/networks"
)

// request is what the plug-in asks of the engine, in CNI's words.
type request struct {
	Command string
	// Step is CNI's container id; Namespace a file.
	Step, Namespace, Device string
}

// answer has a result only for ADD.
type answer struct {
	Error  string  `json:",omitempty"`
	Result *result `json:",omitempty"`
}

// result is a success of ADD, as CNI 1.0 wants it; the oldest versions have the same fields when there are no addresses.
type result struct {
	Version    string      `json:"cniVersion"`
	Interfaces []device    `json:"interfaces,omitempty"`
	IPs        []ipAddress `json:"ips,omitempty"`
	Routes     []route     `json:"routes,omitempty"`
}

type device struct {
	Name string `json:"name"`
	MAC  string `json:"mac,omitempty"`
	// Sandbox is the namespace's file.
	Sandbox string `json:"sandbox,omitempty"`
}

type ipAddress struct {
	Address netip.Prefix `json:"address"`
	Gateway *netip.Addr  `json:"gateway,omitempty"`
	// Interface is an index of the result's: there is only one.
	Interface int `json:"interface"`
}

type route struct {
	To  netip.Prefix `json:"dst"`
	Via netip.Addr   `json:"gw"`
}

// resultOf does not tell the end outside, whose bytes BuildKit would count: it is another one for each build.
func resultOf(p *networks.Place, namespace string) *result {
	r := &result{Interfaces: []device{{Name: p.Device, MAC: p.MAC.String(), Sandbox: namespace}}}
	for _, f := range []struct {
		address netip.Prefix
		gateway netip.Addr
		all     netip.Addr
	}{
		{p.IPv4, p.Gateway4, netip.IPv4Unspecified()},
		{p.IPv6, p.Gateway6, netip.IPv6Unspecified()},
	} {
		if !f.address.IsValid() {
			continue
		}
		ip := ipAddress{Address: f.address}
		if f.gateway.IsValid() {
			ip.Gateway = &f.gateway
			r.Routes = append(r.Routes, route{To: netip.PrefixFrom(f.all, 0), Via: f.gateway})
		}
		r.IPs = append(r.IPs, ip)
	}
	return r
}
