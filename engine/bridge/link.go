package bridge

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Link is a device in a container, and what holds it outside.
type Link struct {
	// Host is the name of the end that is a port of Bridge; empty where there is no bridge.
	Host, Bridge string
	// Kind is macvlan or ipvlan for a device on top of Parent, with a mode; empty for a link to a bridge.
	Kind, Parent, Mode string
	// Name is that in the container.
	Name string
	// MAC is nil for the parent's.
	MAC net.HardwareAddr
	MTU int
	// Addresses come with the size of their networks.
	Addresses []netip.Prefix
	// IPv6 says that the device has it at all: one without an address of ours must not make itself one.
	IPv6 bool
	// Isolated says that other ports of the bridge are not reached by it; Hairpin, that itself is.
	Isolated, Hairpin bool
	// Settings are files below /proc/sys/net of the container's namespace, with their content.
	Settings map[string]string
}

// Gateway is a default route by way of a link.
type Gateway struct {
	Link string
	// Via is a router; invalid for none.
	Via netip.Addr
}

// Routes are the default routes of both families.
type Routes struct{ IPv4, IPv6 Gateway }

// HostName makes a name for the end of a link that stays outside.
func HostName() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // it never fails
	return "veth" + hex.EncodeToString(b[:])[:7]
}

// MAC makes an address that nobody was sold.
func MAC() net.HardwareAddr {
	b := make(net.HardwareAddr, 6)
	_, _ = rand.Read(b) // it never fails
	b[0] = b[0]&0xfe | 0x02
	return b
}

// Attach brings links into a namespace, all with one visit there, and sets the default routes. A failure leaves none.
func (d *Devices) Attach(namespace string, routes Routes, links ...Link) (err error) {
	ns, err := d.open(namespace)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ns.Close()) }()
	made := 0
	defer func() {
		if err == nil {
			return
		}
		for _, l := range links[:made] {
			err = errors.Join(err, d.Detach(namespace, l))
		}
	}()
	for _, l := range links {
		if err := d.join(l, netlink.NsFd(ns.Fd())); err != nil {
			return err
		}
		made++
	}
	inside, err := openSettings()
	if err != nil {
		return err
	}
	// The end of a mount waits for all processors.
	defer func() { go inside.close() }() //nolint:errcheck // nothing was written to it
	return d.within(namespace, func(h *netlink.Handle) error {
		index := map[string]int{}
		for _, l := range links {
			if index[l.Name], err = configure(h, inside, l); err != nil {
				return fmt.Errorf("interface %s: %w", l.Name, err)
			}
		}
		return errors.Join(route(h, index, routes.IPv4, netlink.FAMILY_V4), route(h, index, routes.IPv6, netlink.FAMILY_V6))
	})
}

// join makes a link with its one end in a namespace, where it has its name at once.
func (d *Devices) join(l Link, ns netlink.NsFd) error {
	attrs := netlink.NewLinkAttrs()
	attrs.MTU = l.MTU
	if l.Kind != "" {
		return d.onParent(l, attrs, ns)
	}
	master, err := d.lookup(l.Bridge)
	if err != nil {
		return err
	}
	if master == nil {
		return fmt.Errorf("adding interface %s to bridge %s failed: could not find bridge %s: %w", l.Host, l.Bridge, l.Bridge, errMissing)
	}
	// The kernel tells the neighbours about the container when its end goes up, and nobody hears it before ours is up.
	attrs.Name = l.Host
	attrs.HardwareAddr = MAC()
	attrs.MasterIndex = master.Attrs().Index
	v := netlink.NewVeth(attrs)
	v.PeerName, v.PeerHardwareAddr, v.PeerNamespace = l.Name, l.MAC, ns
	if err := d.h.LinkAdd(v); err != nil {
		return errors.Join(fmt.Errorf("adding interface %s to bridge %s failed: %w", l.Host, l.Bridge, err), d.Remove(l.Host))
	}
	if err := d.openPort(v, l); err != nil {
		return errors.Join(fmt.Errorf("port %s of bridge %s: %w", l.Host, l.Bridge, err), d.Remove(l.Host))
	}
	return nil
}

// openPort makes a new port of a bridge what it should be, and then sets it up.
func (d *Devices) openPort(v netlink.Link, l Link) error {
	// A port needs no address, and with many of them the kernel looks at their routes for each device that comes or goes.
	if err := d.settings.withoutIPv6(l.Host); err != nil {
		return err
	}
	if l.Isolated {
		if err := d.h.LinkSetIsolated(v, true); err != nil {
			return fmt.Errorf("isolate: %w", err)
		}
	}
	if l.Hairpin {
		if err := d.h.LinkSetHairpin(v, true); err != nil {
			return fmt.Errorf("hairpin: %w", err)
		}
	}
	if err := d.h.LinkSetUp(v); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	return nil
}

// errMissing is why a bridge is made again.
var errMissing = errors.New("no such network interface")

// IsMissing says that a bridge was not there.
func IsMissing(err error) bool { return errors.Is(err, errMissing) }

// configure is done in the container's namespace.
func configure(h *netlink.Handle, inside settings, l Link) (index int, err error) {
	dev, err := h.LinkByName(l.Name)
	if err != nil {
		return 0, err
	}
	index = dev.Attrs().Index
	off := "1"
	if l.IPv6 {
		off = "0"
	}
	// Neighbours may have the address in mind with another container's MAC.
	for _, s := range []struct{ path, value string }{
		{filepath.Join("ipv6/conf", l.Name, "disable_ipv6"), off},
		{filepath.Join("ipv6/conf", l.Name, "ndisc_notify"), "1"},
		{filepath.Join("ipv4/conf", l.Name, "arp_notify"), "1"},
	} {
		if err := orMissing(inside.write(s.path, s.value)); err != nil {
			return index, err
		}
	}
	for _, p := range l.Addresses {
		if err := h.AddrAdd(dev, addr(p.Addr().AsSlice(), p.Bits(), p.Addr().BitLen())); err != nil {
			return index, fmt.Errorf("address %s: %w", p, err)
		}
	}
	for path, value := range l.Settings {
		if err := inside.write(path, value); err != nil {
			return index, err
		}
	}
	if err := h.LinkSetUp(dev); err != nil {
		return index, fmt.Errorf("set up: %w", err)
	}
	return index, nil
}

// route makes the default route of a family what it should be.
func route(h *netlink.Handle, index map[string]int, g Gateway, family int) error {
	any4 := &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	if family == netlink.FAMILY_V6 {
		any4 = &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	}
	if !g.Via.IsValid() {
		return nil
	}
	i, ok := index[g.Link]
	if !ok {
		dev, err := h.LinkByName(g.Link)
		if err != nil {
			return fmt.Errorf("default route by %s: %w", g.Link, err)
		}
		i = dev.Attrs().Index
	}
	if err := h.RouteReplace(&netlink.Route{LinkIndex: i, Dst: any4, Gw: g.Via.AsSlice()}); err != nil {
		return fmt.Errorf("default route by %s on %s: %w", g.Via, g.Link, err)
	}
	return nil
}

// Route makes the default routes of a namespace what they should be.
func (d *Devices) Route(namespace string, routes Routes) error {
	return d.within(namespace, func(h *netlink.Handle) error {
		for family, g := range map[int]Gateway{netlink.FAMILY_V4: routes.IPv4, netlink.FAMILY_V6: routes.IPv6} {
			if err := dropRoutes(h, family, g); err != nil {
				return err
			}
			if err := route(h, nil, g, family); err != nil {
				return err
			}
		}
		return nil
	})
}

// dropRoutes removes default routes but the right one: another link's would stay beside it.
func dropRoutes(h *netlink.Handle, family int, g Gateway) error {
	routes, err := whole(func() ([]netlink.Route, error) { return h.RouteList(nil, family) })
	if err != nil {
		return fmt.Errorf("routes: %w", err)
	}
	for _, r := range routes {
		if r.Dst != nil && !r.Dst.IP.IsUnspecified() || r.Gw == nil || g.Via.IsValid() && r.Gw.Equal(g.Via.AsSlice()) {
			continue
		}
		if err := h.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("remove the default route by %s: %w", r.Gw, err)
		}
	}
	return nil
}

// Detach removes a link. It can be repeated.
func (d *Devices) Detach(namespace string, l Link) error {
	if l.Kind == "" {
		return d.Remove(l.Host)
	}
	err := d.within(namespace, func(h *netlink.Handle) error {
		dev, err := h.LinkByName(l.Name)
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			return nil
		}
		if err != nil {
			return err
		}
		return h.LinkDel(dev)
	})
	if errors.Is(err, os.ErrNotExist) {
		return nil // it went with its namespace
	}
	return err
}

// Enslave makes existing ends ports of a bridge that was made again.
func (d *Devices) Enslave(links ...Link) error {
	var errs []error
	for _, l := range links {
		if l.Kind != "" {
			continue
		}
		port, err := d.lookup(l.Host)
		if port == nil {
			errs = append(errs, err)
			continue
		}
		master, err := d.lookup(l.Bridge)
		if master == nil {
			errs = append(errs, err)
			continue
		}
		if port.Attrs().MasterIndex == master.Attrs().Index {
			continue
		}
		err = d.h.LinkSetMaster(port, master)
		if err == nil && l.Isolated {
			err = d.h.LinkSetIsolated(port, true)
		}
		if err == nil && l.Hairpin {
			err = d.h.LinkSetHairpin(port, true)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
