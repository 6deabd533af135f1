package mount

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// place is where something is mounted: at root, or at a path inside it. Nothing of the tree below root can lead
// out of it by a symbolic link or by "..".
type place struct{ root, sub string }

func (p place) String() string { return filepath.Join(p.root, p.sub) }

// maxTries bounds the repetitions of an openat2 that met a concurrent rename (EAGAIN).
const maxTries = 64

// open opens what is seen at the place now: the topmost mount's root, if it is a mount point.
func (p place) open() (fd int, err error) {
	root, err := unix.Open(p.root, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	sub := strings.Trim(p.sub, "/")
	if err != nil || sub == "" {
		return root, err
	}
	defer unix.Close(root)
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for range maxTries {
		if fd, err = unix.Openat2(root, sub, &how); err != unix.EAGAIN {
			break
		}
	}
	return fd, err
}

// with calls do with a name of what is seen at the place, for a system call of this process.
func (p place) with(do func(name string) error) error {
	fd, err := p.open()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return do(fdName(fd))
}

// pop takes the topmost mount away. It is done while an error is reported, and on descriptors that keep the mount
// busy: thus detached, which the kernel finishes when they are closed.
func (p place) pop() {
	_ = p.with(func(name string) error { return unix.Unmount(name, unix.MNT_DETACH) })
}

// clone is a detached clone of the topmost mount.
func (p place) clone() (fd int, err error) {
	err = p.with(func(name string) error {
		fd, err = cloneTree(name)
		return err
	})
	return fd, err
}

// attach mounts a detached tree there.
func (p place) attach(tree int) error {
	fd, err := p.open()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.MoveMount(tree, "", fd, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return fmt.Errorf("attach a mount: %w", err)
	}
	return nil
}

// fdName is the name of an open file for calls that take a path.
func fdName(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
