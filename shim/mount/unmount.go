package mount

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/mountinfo"
)

// busyWait is how long a mount that somebody uses is waited for before it is detached. What uses it is about to end,
// and only a file system that has really gone can be mounted elsewhere, or its device be removed.
const busyWait = time.Second

// UnmountAll unmounts everything at and below target, the last first; nothing there is no error.
func UnmountAll(target string) error {
	busy, err := unmountTop(target)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return nil
	case err == nil && !busy && !occupied(target):
		return nil
	case err == nil:
		err = unmountTree(target)
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", target, err)
	}
	return nil
}

// Detach takes what is mounted at target, with what is mounted on it, out of this mount namespace at once. Other
// namespaces keep what they have of it, and it stays for who uses it.
func Detach(target string) error {
	for {
		switch err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err {
		case nil:
		case unix.EINVAL:
			return nil
		default:
			return fmt.Errorf("detach %s: %w", target, err)
		}
	}
}

// unmountTop unmounts what is mounted at target until that is no mount point, or one with something on it or in use.
func unmountTop(target string) (busy bool, err error) {
	for {
		switch err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW); err {
		case nil:
		case unix.EINVAL:
			return false, nil
		case unix.EBUSY:
			return true, nil
		default:
			return false, err
		}
	}
}

// occupied tells whether there can be mounts below a directory: there are none in an empty one, as a bundle's rootfs
// is in the end. It saves the reading of all the machine's mounts.
func occupied(dir string) bool {
	d, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP)
	}
	defer d.Close()
	_, err = d.Readdirnames(1)
	return err != io.EOF
}

// unmountTree unmounts by the kernel's list, again and again, since a mount can be hidden below another one.
func unmountTree(target string) error {
	root, err := realPath(target)
	if err != nil {
		return err
	}
	flags := 0
	deadline := time.Now().Add(busyWait)
	for pause := time.Millisecond; ; {
		points, err := pointsIn(root)
		if err != nil || len(points) == 0 {
			return err
		}
		some, err := unmountEach(points, flags)
		switch {
		case some:
		case flags != 0:
			return err
		case time.Now().After(deadline):
			flags = unix.MNT_DETACH
		default:
			time.Sleep(pause)
			pause = min(2*pause, 50*time.Millisecond)
		}
	}
}

// unmountEach tries all, the last first, and tells whether one of them went. The error is of one that did not.
func unmountEach(points []string, flags int) (some bool, err error) {
	err = unix.EBUSY
	for _, p := range slices.Backward(points) {
		if !straight(p) {
			continue
		}
		if e := unix.Unmount(p, flags|unix.UMOUNT_NOFOLLOW); e == nil {
			some = true
		} else {
			err = fmt.Errorf("%s: %w", p, e)
		}
	}
	return some, err
}

// straight tells that no link is in the way: the list's paths have none, but an image's file system that has been
// mounted over such a path may have, and lead to the host's mounts.
func straight(path string) bool {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS}
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &how)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// realPath is the directory's path as the kernel lists it.
func realPath(dir string) (string, error) {
	fd, err := place{root: dir}.open()
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return os.Readlink(fdName(fd))
}

// pointsIn lists the mount points at and below a directory, in the kernel's order.
func pointsIn(dir string) (points []string, err error) {
	err = mountinfo.Each(mountinfo.Self, func(m *mountinfo.Mount) bool {
		if p := mountinfo.Path(m.Point); within(p, dir) {
			points = append(points, p)
		}
		return false
	})
	return points, err
}

// within tells whether a path is the directory's or one below it.
func within(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, dir)
	return ok && (rest == "" || rest[0] == '/' || dir == "/")
}
