package networks

import (
	"context"
	"log/slog"
	"net/netip"

	"github.com/gantry-containers/gantry/engine/bridge"
)

// ensure makes a network's devices what they should be.
func (s *Service) ensure(n *known) error {
	switch {
	case n.ConfigOnly:
	case n.Driver == driverBridge:
		return s.o.Devices.Ensure(bridgeOf(n))
	case n.Driver == bridge.Macvlan, n.Driver == bridge.IPvlan:
		if _, err := s.o.Devices.EnsureParent(n.Device, n.Options[optParent] == ""); err != nil {
			return err
		}
		return s.o.Devices.Probe(n.Driver, n.Device, modeOf(n))
	}
	return nil
}

// bridgeOf is the bridge that a network should have.
func bridgeOf(n *known) bridge.Bridge {
	b := bridge.Bridge{Name: n.Device, MAC: n.MAC, MTU: n.bridge.mtu, IPv6: n.EnableIPv6, Given: n.Given}
	for _, c := range n.IPAM.Config {
		if c.Gateway.IsValid() && (c.Gateway.Is6() || !n.bridge.inhibit) {
			b.Addresses = append(b.Addresses, netip.PrefixFrom(c.Gateway, c.Subnet.Bits()))
		}
	}
	return b
}

// dismantle takes a network's devices away, and gives its addresses back. Those of others stay.
func (s *Service) dismantle(n *known) error {
	if n.ConfigOnly {
		return nil
	}
	var err error
	if !n.Given && n.Device != "" && s.lastOn(n) {
		err = s.o.Devices.Remove(n.Device)
	}
	s.release(n.IPAM.Config)
	return err
}

// lastOn says that no other network has the same device.
func (s *Service) lastOn(n *known) bool {
	for _, other := range s.networks() {
		if other.ID != n.ID && other.Device == n.Device {
			return false
		}
	}
	return true
}

// repair looks after devices that went away, as their names are told.
func (s *Service) repair(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case name := <-s.damaged:
			for _, n := range s.networks() {
				if n.Driver != driverBridge || n.ConfigOnly || name != "" && name != n.Device {
					continue
				}
				if err := s.mend(n); err != nil {
					slog.Error("a bridge that somebody took away cannot be made again", "network", n.Name, "device", n.Device, "error", err)
				}
			}
		}
	}
}

// mend makes a network's bridge again when it is gone, and leads the containers' links back to it.
func (s *Service) mend(n *known) error {
	if err := s.ensure(n); err != nil {
		return err
	}
	var links []bridge.Link
	s.mu.RLock()
	for _, e := range s.members[n.ID] {
		links = append(links, e.Link)
	}
	gone := s.byID(n.ID) == nil
	s.mu.RUnlock()
	if gone {
		return s.o.Devices.Remove(n.Device) // it was removed while it was made
	}
	return s.o.Devices.Enslave(links...)
}

// byID is the network of an id, or nil; the caller holds the lock.
func (s *Service) byID(id string) *known {
	for _, n := range s.all {
		if n.ID == id {
			return n
		}
	}
	return nil
}
