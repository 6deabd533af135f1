package bundle

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// busyWait is how long a mount that is in use is waited for before it is detached, which hides it at once and ends it
// with its last user: only a file system that has really gone can be mounted elsewhere.
const busyWait = time.Second

// unmount unmounts everything below a directory, and follows no link: an image's are in its rootfs.
func unmount(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type() == fs.ModeSymlink {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if clean, err := unmountTop(path); err != nil {
			return err
		} else if clean {
			continue
		}
		if err := unmountAll(path); err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
	return nil
}

// unmountTop unmounts what is mounted at a path, and tells whether there is surely nothing more at it or below. Mostly
// that is all there is, and the reading of all the machine's mounts is saved.
func unmountTop(path string) (clean bool, err error) {
	for {
		var st unix.Statx_t
		err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_TYPE, &st)
		if err == unix.ENOENT {
			return true, nil
		}
		if err != nil { // a dead FUSE server, say
			return false, nil //nolint:nilerr // the kernel's list tells
		}
		if st.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0 {
			return st.Mode&unix.S_IFMT != unix.S_IFDIR || empty(path), nil
		}
		if err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW); err == unix.EBUSY {
			return false, nil
		} else if err != nil {
			return false, &os.PathError{Op: "unmount", Path: path, Err: err}
		}
	}
}

func empty(path string) bool {
	d, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer d.Close()
	_, err = d.Readdirnames(1)
	return err == io.EOF
}

// unmountAll unmounts by the kernel's list, again and again: a mount can hide another one.
func unmountAll(path string) error {
	parent, err := listed(filepath.Dir(path))
	if err != nil {
		return err
	}
	path = filepath.Join(parent, filepath.Base(path))
	flags, deadline := unix.UMOUNT_NOFOLLOW, time.Now().Add(busyWait)
	for pause := time.Millisecond; ; {
		mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(path))
		if err != nil || len(mounts) == 0 {
			return err
		}
		some, err := unmountEach(mounts, flags)
		switch {
		case some:
		case flags&unix.MNT_DETACH != 0:
			return err
		case time.Now().After(deadline):
			flags |= unix.MNT_DETACH
		default:
			time.Sleep(pause)
			pause = min(2*pause, 50*time.Millisecond)
		}
	}
}

// listed is a directory's path as the kernel's list has it.
func listed(dir string) (string, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	return os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
}

// unmountEach tries all, the last first, and tells whether one of them went; the error is that of another.
func unmountEach(mounts []*mountinfo.Info, flags int) (some bool, err error) {
	err = unix.EBUSY
	for _, m := range slices.Backward(mounts) {
		if !straight(m.Mountpoint) {
			continue
		}
		if e := unix.Unmount(m.Mountpoint, flags); e == nil {
			some = true
		} else {
			err = fmt.Errorf("%s: %w", m.Mountpoint, e)
		}
	}
	return some, err
}

// straight tells that no link is in the way of a path of the list: an image's file system that has been mounted over it
// may have some, which lead to the machine's mounts.
func straight(path string) bool {
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}
