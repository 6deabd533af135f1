package bridge

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Path is where the network namespace of a name is.
func (d *Devices) Path(name string) string { return filepath.Join(d.dir, name) }

// NewNamespace makes a network namespace with loopback up, and binds it to a file. One is always made in advance: it
// takes the kernel longer than all the rest of a container's network.
func (d *Devices) NewNamespace(name string) (path string, err error) {
	d.mu.Lock()
	ns := d.spare
	d.spare = nil
	d.mu.Unlock()
	if ns == nil {
		if ns, err = d.makeNamespace(); err != nil {
			return "", err
		}
	}
	d.refill()
	defer func() { err = errors.Join(err, ns.Close()) }()
	return d.Path(name), d.bind(ns, d.Path(name))
}

// KeepNamespace binds the namespace of a container, which its runtime has made, to a file, and sets its loopback up. The
// engine's own is refused: what is meant for the container would be done to the host.
func (d *Devices) KeepNamespace(name, path string) (err error) {
	ns, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ns.Close()) }()
	home, err := d.home.Stat()
	if err != nil {
		return err
	}
	st, err := ns.Stat()
	if err != nil {
		return err
	}
	if os.SameFile(home, st) {
		return fmt.Errorf("%s: the runtime has made no network namespace for the container", path)
	}
	if err := d.bind(ns, d.Path(name)); err != nil {
		return err
	}
	if err := d.within(d.Path(name), loopbackUp); err != nil {
		return errors.Join(err, d.RemoveNamespace(name))
	}
	return nil
}

// BindHome gives the engine's own namespace a file.
func (d *Devices) BindHome(name string) error {
	if path := d.Path(name); !d.Lives(path) {
		return d.bind(d.home, path)
	}
	return nil
}

// Lives says that a file is a namespace: of one that was taken away there is an empty file, or none.
func (d *Devices) Lives(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}

func (d *Devices) bind(ns *os.File, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", ns.Fd()), path, "", unix.MS_BIND, ""); err != nil {
		return errors.Join(&os.PathError{Op: "bind a network namespace to", Path: path, Err: err}, os.Remove(path))
	}
	return nil
}

// refill makes the spare one, beside what is going on.
func (d *Devices) refill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.making || d.spare != nil {
		return
	}
	d.making = true
	go func() {
		ns, err := d.makeNamespace()
		d.mu.Lock()
		defer d.mu.Unlock()
		d.making = false
		switch {
		case err != nil:
			slog.Warn("no network namespace can be made in advance", "error", err)
		case d.closed:
			_ = ns.Close() // nobody has it
		default:
			d.spare = ns
		}
	}()
}

func (d *Devices) makeNamespace() (ns *os.File, err error) {
	err = d.onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		if ns, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		return onNewHandle(loopbackUp)
	})
	if err != nil && ns != nil {
		return nil, errors.Join(err, ns.Close())
	}
	return ns, err
}

// loopback is the index that the kernel gives to the first device of each namespace.
const loopback = 1

func loopbackUp(h *netlink.Handle) error {
	return h.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: loopback}})
}

// RemoveNamespace takes the file away; the namespace ends with its last process. It can be repeated.
func (d *Devices) RemoveNamespace(name string) error {
	path := d.Path(name)
	if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "unmount", Path: path, Err: err}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.lent, path)
	return nil
}

// Namespaces are the names of those that have a file.
func (d *Devices) Namespaces() ([]string, error) {
	entries, err := os.ReadDir(d.dir)
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list, err
}

// within does something in a namespace, with a netlink socket of it.
func (d *Devices) within(path string, do func(*netlink.Handle) error) (err error) {
	ns, err := d.open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ns.Close()) }()
	return d.onThread(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return &os.PathError{Op: "join the network namespace", Path: path, Err: err}
		}
		return onNewHandle(do)
	})
}

func onNewHandle(do func(*netlink.Handle) error) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer h.Close()
	return do(h)
}

// onThread does something on a thread that may leave the engine's network namespace. A thread that cannot come back ends.
func (d *Devices) onThread(do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := do()
		if unix.Setns(int(d.home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}
