package bridge

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/fault"
)

// Kinds of devices on top of others.
const (
	Macvlan = "macvlan"
	IPvlan  = "ipvlan"
)

var macvlanModes = map[string]netlink.MacvlanMode{
	"": netlink.MACVLAN_MODE_BRIDGE, "bridge": netlink.MACVLAN_MODE_BRIDGE, "private": netlink.MACVLAN_MODE_PRIVATE,
	"vepa": netlink.MACVLAN_MODE_VEPA, "passthru": netlink.MACVLAN_MODE_PASSTHRU,
}

var ipvlanModes = map[string]netlink.IPVlanMode{
	"": netlink.IPVLAN_MODE_L2, "l2": netlink.IPVLAN_MODE_L2, "l3": netlink.IPVLAN_MODE_L3, "l3s": netlink.IPVLAN_MODE_L3S,
}

// IsMode says whether a kind has a mode.
func IsMode(kind, mode string) bool {
	if kind == IPvlan {
		_, ok := ipvlanModes[mode]
		return ok
	}
	_, ok := macvlanModes[mode]
	return ok
}

// onParent makes a link that sits on another device.
func (d *Devices) onParent(l Link, attrs netlink.LinkAttrs, ns netlink.NsFd) error {
	parent, err := d.lookup(l.Parent)
	if err != nil {
		return err
	}
	if parent == nil {
		return fmt.Errorf("the requested parent interface %s was not found on the Docker host", l.Parent)
	}
	attrs.Name, attrs.ParentIndex, attrs.Namespace, attrs.HardwareAddr = l.Name, parent.Attrs().Index, ns, l.MAC
	return d.unsupported(l.Kind, d.h.LinkAdd(onTop(l, attrs)))
}

func onTop(l Link, attrs netlink.LinkAttrs) netlink.Link {
	if l.Kind == IPvlan {
		return &netlink.IPVlan{LinkAttrs: attrs, Mode: ipvlanModes[l.Mode]}
	}
	return &netlink.Macvlan{LinkAttrs: attrs, Mode: macvlanModes[l.Mode]}
}

// unsupported says it when the kernel does not have a kind of device.
func (d *Devices) unsupported(kind string, err error) error {
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fault.Errorf(errdefs.ErrNotImplemented, "the kernel of this machine has no %s devices", kind)
	}
	if err != nil {
		return fmt.Errorf("failed to create the %s port: %w", kind, err)
	}
	return nil
}

// Probe finds out whether the kernel has a kind of device, by making one on a parent.
func (d *Devices) Probe(kind, parent, mode string) error {
	p, err := d.lookup(parent)
	if p == nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = HostName(), p.Attrs().Index
	l := onTop(Link{Kind: kind, Mode: mode}, attrs)
	if err := d.unsupported(kind, d.h.LinkAdd(l)); err != nil {
		return err
	}
	return d.h.LinkDel(l)
}

// EnsureParent makes the VLAN device that a name as eth0.10 stands for, or a dummy for a network that leads nowhere,
// unless it is there.
func (d *Devices) EnsureParent(name string, dummy bool) (made bool, err error) {
	if there, err := d.Exists(name); there || err != nil {
		return false, err
	}
	if dummy {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		if err := d.unsupported("dummy", d.h.LinkAdd(&netlink.Dummy{LinkAttrs: attrs})); err != nil {
			return false, err
		}
		return true, d.up(name)
	}
	if !strings.Contains(name, ".") {
		return false, fmt.Errorf("invalid subinterface vlan name %s, example formatting is eth0.10", name)
	}
	on, id, err := d.parseVLAN(name)
	if err != nil {
		return false, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = name, on.Attrs().Index
	if err := d.unsupported("vlan", d.h.LinkAdd(&netlink.Vlan{LinkAttrs: attrs, VlanId: id})); err != nil {
		return false, fmt.Errorf("failed to create %s vlan link: %w", name, err)
	}
	return true, d.up(name)
}

func (d *Devices) parseVLAN(name string) (netlink.Link, int, error) {
	parts := strings.Split(name, ".")
	if len(parts) != 2 {
		return nil, 0, fmt.Errorf("required interface name format is: name.vlan_id, ex. eth0.10 for vlan 10, instead received %s", name)
	}
	id, err := strconv.Atoi(parts[1])
	if err != nil {
		return nil, 0, fmt.Errorf("unable to parse a valid vlan id from: %s (ex. eth0.10 for vlan 10)", parts[1])
	}
	on, err := d.lookup(parts[0])
	if err != nil {
		return nil, 0, err
	}
	if on == nil {
		return nil, 0, fmt.Errorf("-o parent interface was not found on the host: %s", parts[0])
	}
	if id < 1 || id > 4094 {
		return nil, 0, fmt.Errorf("vlan id must be between 1-4094, received: %d", id)
	}
	return on, id, nil
}

func (d *Devices) up(name string) error {
	l, err := d.h.LinkByName(name)
	if err == nil {
		err = d.h.LinkSetUp(l)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("set %s up: %w", name, err), d.Remove(name))
	}
	return nil
}
