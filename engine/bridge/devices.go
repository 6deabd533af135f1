package bridge

import (
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Devices are those of one network namespace, the engine's.
type Devices struct {
	// h is one socket for all that is asked of the kernel: opening one each time would cost more than the question.
	h    *netlink.Handle
	home *os.File
	// settings are home's.
	settings settings
	// dir has a file for each network namespace.
	dir string

	mu     sync.Mutex
	spare  *os.File
	making bool
	closed bool
	// lent are the inodes of namespaces whose files are links to processes, by path.
	lent map[string]uint64
}

// Open works in the network namespace of its caller, and keeps those that it makes as files in a folder.
func Open(dir string) (*Devices, error) {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("netlink: %w", err), home.Close())
	}
	own, err := openSettings()
	if err != nil {
		h.Close()
		return nil, errors.Join(err, home.Close())
	}
	d := &Devices{h: h, home: home, settings: own, dir: dir, lent: map[string]uint64{}}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // as /run/netns: who joins must get there
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Close leaves all devices and namespaces as they are.
func (d *Devices) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	d.h.Close()
	err := errors.Join(d.home.Close(), d.settings.close())
	if d.spare != nil {
		err = errors.Join(err, d.spare.Close())
		d.spare = nil
	}
	return err
}

// lookup is nil when there is no such device.
func (d *Devices) lookup(name string) (netlink.Link, error) {
	l, err := d.h.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil, nil //nolint:nilnil // that there is none is an answer
	}
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", name, err)
	}
	return l, nil
}

// Exists says whether there is a device of a name.
func (d *Devices) Exists(name string) (bool, error) {
	l, err := d.lookup(name)
	return l != nil, err
}

// Remove removes a device of the engine's namespace. It can be repeated.
func (d *Devices) Remove(name string) error {
	l, err := d.lookup(name)
	if l == nil {
		return err
	}
	if err := d.h.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove device %s: %w", name, err)
	}
	return nil
}

// ours are the names that links into containers have in the engine's namespace.
var ours = regexp.MustCompile(`^veth[0-9a-f]{7}$`)

// RemoveStrays removes links on bridges of which nobody knows.
func (d *Devices) RemoveStrays(bridges, known map[string]bool) error {
	all, err := whole(d.h.LinkList)
	if err != nil {
		return fmt.Errorf("list devices: %w", err)
	}
	masters := map[int]bool{}
	for _, l := range all {
		if bridges[l.Attrs().Name] {
			masters[l.Attrs().Index] = true
		}
	}
	var errs []error
	for _, l := range all {
		a := l.Attrs()
		if l.Type() == "veth" && masters[a.MasterIndex] && ours.MatchString(a.Name) && !known[a.Name] {
			errs = append(errs, d.Remove(a.Name))
		}
	}
	return errors.Join(errs...)
}

// addr is an address as netlink has it. It can be used at once: nobody else has it, so nobody is asked for it.
func addr(ip net.IP, bits, of int) *netlink.Addr {
	a := &netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: net.CIDRMask(bits, of)}}
	if of == 8*net.IPv6len {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}
