package firewall

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The kernel looks at the rules once per flow. A client that goes on sending datagrams keeps its flow, so after a port has
// moved to another container they would go to the old one for ever: such flows are forgotten. TCP connections end by
// themselves.

// flowEnd is where the datagrams of a flow go.
type flowEnd struct {
	protocol string
	to       netip.AddrPort
}

// flows remembers where published ports led.
type flows struct{ led map[flowEnd]netip.AddrPort }

// follow forgets the flows to containers that published ports do not lead to any more.
func (f *flows) follow(r Rules) error {
	leads := map[flowEnd]netip.AddrPort{}
	for _, n := range r.Networks {
		for _, p := range n.Ports {
			if p.Protocol != "tcp" && p.Host.Port() != 0 {
				leads[flowEnd{p.Protocol, p.Host}] = p.Container
			}
		}
	}
	gone := staleFlows{}
	for at, to := range f.led {
		if leads[at] != to {
			gone[flowEnd{at.protocol, netip.AddrPortFrom(to.Addr().Unmap(), to.Port())}] = true
		}
	}
	f.led = leads
	if len(gone) == 0 {
		return nil
	}
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, gone)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return fmt.Errorf("forgetting flows to ports that are not published any more: %w", err)
		}
	}
	return nil
}

// staleFlows has the ends of flows to forget.
type staleFlows map[flowEnd]bool

// MatchConntrackFlow says whether to forget a flow: one that was sent on to where no port leads now.
func (s staleFlows) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	from, ok := netip.AddrFromSlice(f.Reverse.SrcIP)
	if !ok || f.Reverse.SrcIP.Equal(f.Forward.DstIP) {
		return false
	}
	for name, number := range protocols {
		if number == f.Forward.Protocol {
			return s[flowEnd{name, netip.AddrPortFrom(from.Unmap(), f.Reverse.SrcPort)}]
		}
	}
	return false
}
