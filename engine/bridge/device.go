package bridge

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/fault"
)

// Bridge is a bridge device as it should be.
type Bridge struct {
	Name string
	// MAC is its address; it keeps it when it is made again, so that containers go on talking to it.
	MAC net.HardwareAddr
	// MTU is 0 for the kernel's.
	MTU int
	// Addresses are the gateways of its networks, with the networks' sizes.
	Addresses []netip.Prefix
	IPv6      bool
	// Given says that somebody else made it: what it has beside stays.
	Given bool
}

// Ensure makes a bridge what it should be, and makes it when it is not there.
func (d *Devices) Ensure(b Bridge) error {
	l, err := d.lookup(b.Name)
	if err != nil {
		return err
	}
	if l == nil {
		if l, err = d.makeBridge(b); err != nil {
			return fmt.Errorf("make bridge %s: %w", b.Name, err)
		}
	}
	if l.Type() != "bridge" {
		return fault.Errorf(errdefs.ErrInvalidArgument, "device %s is a %s, not a bridge", b.Name, l.Type())
	}
	if err := orMissing(d.settings.write(filepath.Join("ipv6/conf", b.Name, "accept_ra"), "0")); err != nil {
		return err
	}
	if b.IPv6 {
		if err := d.settings.write(filepath.Join("ipv6/conf", b.Name, "disable_ipv6"), "0"); err != nil {
			return fmt.Errorf("IPv6 on bridge %s: %w", b.Name, err)
		}
	}
	if b.MTU > 0 && l.Attrs().MTU != b.MTU {
		if err := d.h.LinkSetMTU(l, b.MTU); err != nil {
			return fmt.Errorf("bridge %s: MTU %d: %w", b.Name, b.MTU, err)
		}
	}
	if err := d.address(l, b); err != nil {
		return fmt.Errorf("addresses of bridge %s: %w", b.Name, err)
	}
	if l.Attrs().Flags&net.FlagUp != 0 {
		return nil
	}
	if err := d.h.LinkSetUp(l); err != nil {
		return fmt.Errorf("set bridge %s up: %w", b.Name, err)
	}
	return nil
}

func (d *Devices) makeBridge(b Bridge) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = b.Name, b.MAC
	l := &netlink.Bridge{LinkAttrs: attrs}
	if err := d.h.LinkAdd(l); err != nil {
		return nil, err
	}
	if b.IPv6 {
		return l, nil
	}
	if err := d.settings.withoutIPv6(b.Name); err != nil {
		return nil, errors.Join(err, d.Remove(b.Name))
	}
	return l, nil
}

// address gives a bridge the addresses that it should have, and takes others away.
func (d *Devices) address(l netlink.Link, b Bridge) error {
	has, err := whole(func() ([]netlink.Addr, error) { return d.h.AddrList(l, netlink.FAMILY_ALL) })
	if err != nil {
		return err
	}
	wanted := slices.Clone(b.Addresses)
	for _, a := range has {
		p := prefix(a.IPNet)
		if i := slices.Index(wanted, p); i >= 0 {
			wanted = slices.Delete(wanted, i, i+1)
			continue
		}
		if b.Given || p.Addr().IsLinkLocalUnicast() {
			continue
		}
		if err := d.h.AddrDel(l, &a); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	for _, p := range wanted {
		if err := d.h.AddrAdd(l, addr(p.Addr().AsSlice(), p.Bits(), p.Addr().BitLen())); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	return nil
}

func prefix(n *net.IPNet) netip.Prefix {
	a, _ := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), bits)
}

// Addresses are what a device has, and nothing when it is not there.
func (d *Devices) Addresses(name string) ([]netip.Prefix, error) {
	l, err := d.lookup(name)
	if l == nil {
		return nil, err
	}
	has, err := whole(func() ([]netlink.Addr, error) { return d.h.AddrList(l, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("addresses of %s: %w", name, err)
	}
	var list []netip.Prefix
	for _, a := range has {
		list = append(list, prefix(a.IPNet))
	}
	return list, nil
}

// Networks are those that the machine reaches without a router: a network of ours must not be one of them.
func (d *Devices) Networks() ([]netip.Prefix, error) {
	routes, err := whole(func() ([]netlink.Route, error) { return d.h.RouteList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return nil, fmt.Errorf("routes: %w", err)
	}
	var list []netip.Prefix
	for _, r := range routes {
		if r.Scope == netlink.SCOPE_LINK && r.Dst != nil && !r.Dst.IP.IsUnspecified() {
			list = append(list, prefix(r.Dst))
		}
	}
	return list, nil
}
