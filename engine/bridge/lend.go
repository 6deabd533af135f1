package bridge

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/netns"
)

// Lend makes a namespace's file a link to the namespace of a process in it, and tells the namespace's inode. A file that
// the namespace is mounted on is for the time before there is a process: a thousand such mounts would be copied into the
// mount namespace of every further container (docs/decisions/0047-brief-rootfs.md). With an error all is as before.
func (d *Devices) Lend(name string, pid int) (inode uint64, err error) {
	path, link := d.Path(name), fmt.Sprintf("/proc/%d/ns/net", pid)
	bound, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	ns, err := os.Open(link)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, ns.Close()) }()
	its, err := ns.Stat()
	if err != nil {
		return 0, err
	}
	if !os.SameFile(bound, its) {
		return 0, fmt.Errorf("%s: is not the network namespace of %s", link, path)
	}
	next := path + ".link"
	if err := os.Symlink(link, next); err != nil {
		return 0, err
	}
	if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return 0, errors.Join(&os.PathError{Op: "unmount", Path: path, Err: err}, os.Remove(next))
	}
	if err := os.Rename(next, path); err != nil {
		return 0, errors.Join(err, os.Remove(next), d.bind(ns, path))
	}
	inode = its.Sys().(*syscall.Stat_t).Ino
	d.Lent(path, inode)
	return inode, nil
}

// Lent says which namespace is at a path since an engine before: whoever opens it finds that one, or none.
func (d *Devices) Lent(path string, inode uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lent[path] = inode
}

// open opens a namespace. Of one that is lent it is the same or none.
func (d *Devices) open(path string) (*os.File, error) {
	d.mu.Lock()
	inode := d.lent[path]
	d.mu.Unlock()
	fd, err := netns.Open(path, inode)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}
