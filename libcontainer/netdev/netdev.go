// Package netdev moves network devices of the host into a container's network namespace and,
// if the container does not come to be, back. It speaks rtnetlink(7) over two sockets, the
// host's and one that was made in the container's namespace, and enters neither.
package netdev

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Mover moves devices into one namespace. As long as it is open, the namespace lives on:
// what is in it can be fetched back.
type Mover struct {
	host, inside *conn
	pid          int
	moved        []device
}

// device is one that is under way or has arrived.
type device struct {
	name      string
	temporary string
	before    link
	addresses []address
	after     uint32 // its index in the container; 0 until it is known
}

// Open makes a Mover to the network namespace of a process. netlink is a socket of it, of
// which the Mover keeps a copy.
func Open(pid, netlink int) (*Mover, error) {
	inside, err := unix.FcntlInt(uintptr(netlink), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("dup: %w", err)
	}
	host, err := dial()
	if err != nil {
		_ = unix.Close(inside)
		return nil, err
	}
	return &Mover{host: host, inside: &conn{fd: inside}, pid: pid}, nil
}

// Close lets go of the namespace.
func (m *Mover) Close() {
	_ = unix.Close(m.host.fd)
	_ = unix.Close(m.inside.fd)
}

// Move moves a device, gives it its new name and its lasting addresses, and brings it up.
// On the way it has a name of its own, by which it can be found: that of the host may be
// taken in the container, and the new one may be a template.
func (m *Mover) Move(name, newName string) error {
	d := device{name: name, temporary: "gt" + strconv.Itoa(os.Getpid()) + "n" + strconv.Itoa(len(m.moved))}
	var err error
	if d.before, err = m.host.link(name); err != nil {
		return fmt.Errorf("look up %s on the host: %w", name, err)
	}
	if _, err = m.inside.link(newName); err == nil {
		return fmt.Errorf("the container has a device %s: %w", newName, unix.EEXIST)
	}
	if d.addresses, err = m.host.addresses(d.before.index); err != nil {
		return fmt.Errorf("list the addresses of %s: %w", name, err)
	}
	m.moved = append(m.moved, d)
	if err := m.host.send(d.before.index, unix.IFLA_NET_NS_PID, m.pid, d.temporary); err != nil {
		return fmt.Errorf("move %s: %w", name, err)
	}
	return m.furnish(&m.moved[len(m.moved)-1], newName)
}

// furnish does to a device that has arrived what the container expects.
func (m *Mover) furnish(d *device, newName string) error {
	arrived, err := m.inside.link(d.temporary)
	if err != nil {
		return fmt.Errorf("look up %s in the container: %w", d.name, err)
	}
	d.after = arrived.index
	if err := m.inside.rename(d.after, newName); err != nil {
		return fmt.Errorf("rename %s to %s: %w", d.name, newName, err)
	}
	if arrived, err = m.inside.linkAt(d.after); err != nil { // a template has become a name
		return fmt.Errorf("look up %s in the container: %w", newName, err)
	}
	for i := range d.addresses {
		if a := &d.addresses[i]; a.lasting() {
			if err := m.inside.add(d.after, a, d.name, arrived.name); err != nil {
				return fmt.Errorf("add an address of %s: %w", d.name, err)
			}
		}
	}
	if err := m.inside.setUp(d.after); err != nil {
		return fmt.Errorf("bring up %s: %w", newName, err)
	}
	return nil
}

// Restore takes every device back to the host, with name, addresses and state as before.
func (m *Mover) Restore() error {
	namespace, err := unix.Open("/proc/self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the host's network namespace: %w", err)
	}
	defer unix.Close(namespace)
	var errs []error
	for i := len(m.moved) - 1; i >= 0; i-- {
		if err := m.restore(&m.moved[i], namespace); err != nil {
			errs = append(errs, fmt.Errorf("network device %s: %w", m.moved[i].name, err))
		}
	}
	m.moved = nil
	return errors.Join(errs...)
}

func (m *Mover) restore(d *device, namespace int) error {
	if d.after == 0 {
		if _, err := m.host.link(d.name); err == nil {
			return nil // it never left
		}
		arrived, err := m.inside.link(d.temporary)
		if err == unix.ENODEV { // moved, and not renamed
			arrived, err = m.inside.link(d.name)
		}
		if err != nil {
			return err
		}
		d.after = arrived.index
	}
	if err := m.inside.send(d.after, unix.IFLA_NET_NS_FD, namespace, d.name); err != nil {
		return fmt.Errorf("move back: %w", err)
	}
	back, err := m.host.link(d.name)
	if err != nil {
		return fmt.Errorf("look up on the host: %w", err)
	}
	for i := range d.addresses {
		if err := m.host.add(back.index, &d.addresses[i], d.name, d.name); err != nil && err != unix.EEXIST {
			return fmt.Errorf("add an address: %w", err)
		}
	}
	if d.before.up {
		return m.host.setUp(back.index)
	}
	return nil
}
