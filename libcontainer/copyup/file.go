package copyup

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// file copies a regular file. It is opened by its O_PATH descriptor, which stands for what
// was looked at: by its name a FIFO or a device could have taken its place.
func (e *entry) file() error {
	src, err := unix.Open("/proc/self/fd/"+strconv.Itoa(e.fd), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return failed("open", e.path, err)
	}
	defer unix.Close(src)
	dst, err := unix.Openat(e.dst, e.name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return failed("create", e.path, err)
	}
	defer unix.Close(dst)
	if err := data(src, dst, int64(e.st.Size)); err != nil {
		return failed("copy", e.path, err)
	}
	return e.attributes(src, dst)
}

// data copies size bytes and leaves holes, so that a file without content costs nothing
// however long it is.
func data(src, dst int, size int64) error {
	for at := int64(0); at < size; {
		start, err := unix.Seek(src, at, unix.SEEK_DATA)
		if err == unix.ENXIO { // a hole to the end
			break
		}
		end := size
		if err == nil {
			end, err = unix.Seek(src, start, unix.SEEK_HOLE)
		}
		if err == unix.EINVAL { // a file system that knows no holes
			start, end, err = at, size, nil
		}
		if err != nil {
			return err
		}
		if end = min(end, size); start >= end {
			break
		}
		done, err := span(src, dst, start, end)
		if err != nil || !done {
			return err
		}
		at = end
	}
	return unix.Ftruncate(dst, size)
}

// span copies the bytes of a range; not done means that the file has become shorter.
func span(src, dst int, start, end int64) (done bool, err error) {
	buf := make([]byte, min(end-start, 1<<17))
	for start < end {
		n, err := unix.Pread(src, buf[:min(int64(len(buf)), end-start)], start)
		if err != nil || n == 0 {
			return false, err
		}
		for off := 0; off < n; {
			m, err := unix.Pwrite(dst, buf[off:n], start+int64(off))
			if err != nil {
				return false, err
			}
			off += m
		}
		start += int64(n)
	}
	return true, nil
}

// symlink copies a symlink, whatever it says.
func (e *entry) symlink() error {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(e.fd, "", buf)
	if err != nil {
		return failed("readlink", e.path, err)
	}
	if err := unix.Symlinkat(string(buf[:n]), e.dst, e.name); err != nil {
		return failed("symlink", e.path, err)
	}
	if err := unix.Fchownat(e.dst, e.name, int(e.st.Uid), int(e.st.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil && err != unix.EINVAL {
		return failed("chown", e.path, err)
	}
	return e.times()
}

// node makes a FIFO, a socket or a device node.
func (e *entry) node() error {
	kind := e.st.Mode & unix.S_IFMT
	err := unix.Mknodat(e.dst, e.name, uint32(kind)|0o600, int(unix.Mkdev(e.st.Rdev_major, e.st.Rdev_minor)))
	if err == unix.EPERM && (kind == unix.S_IFCHR || kind == unix.S_IFBLK) {
		return nil
	}
	if err != nil {
		return failed("mknod", e.path, err)
	}
	mode := uint32(e.st.Mode) & 0o7777
	if err := unix.Fchownat(e.dst, e.name, int(e.st.Uid), int(e.st.Gid), unix.AT_SYMLINK_NOFOLLOW); err == unix.EINVAL {
		mode &= 0o777
	} else if err != nil {
		return failed("chown", e.path, err)
	}
	if err := unix.Fchmodat(e.dst, e.name, mode, 0); err != nil { // no symlink: it was just made, where nobody else is
		return failed("chmod", e.path, err)
	}
	return e.times()
}

// attributes gives the copy of a file or directory its owner, extended attributes, mode and
// times. An owner that the user namespace does not map (EINVAL) is lost, and with it the
// bits that would lend the new one's rights.
func (e *entry) attributes(src, dst int) error {
	mode := uint32(e.st.Mode) & 0o7777
	if err := unix.Fchown(dst, int(e.st.Uid), int(e.st.Gid)); err == unix.EINVAL {
		mode &= 0o1777
	} else if err != nil {
		return failed("chown", e.path, err)
	}
	if err := unix.Fchmod(dst, mode); err != nil {
		return failed("chmod", e.path, err)
	}
	if src >= 0 {
		if err := copyXattrs(src, dst); err != nil {
			return failed("setxattr", e.path, err)
		}
	}
	return e.times()
}

func (e *entry) times() error {
	times := []unix.Timespec{
		{Sec: e.st.Atime.Sec, Nsec: int64(e.st.Atime.Nsec)},
		{Sec: e.st.Mtime.Sec, Nsec: int64(e.st.Mtime.Nsec)},
	}
	if err := unix.UtimesNanoAt(e.dst, e.name, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return failed("utimensat", e.path, err)
	}
	return nil
}

// maxXattrs bounds what is read of a file's attributes, as the kernel does, xattr(7).
const maxXattrs = 1 << 16

// copyXattrs copies capabilities, access control lists and the user's attributes, where the
// new file system takes them. Labels are the security module's own business.
func copyXattrs(src, dst int) error {
	size, err := unix.Flistxattr(src, nil)
	if err != nil || size <= 0 {
		return nil // a file system without attributes
	}
	list := make([]byte, maxXattrs)
	if size, err = unix.Flistxattr(src, list); err != nil {
		return nil
	}
	value := make([]byte, maxXattrs)
	for name := range strings.SplitSeq(string(list[:size]), "\x00") {
		if !copied(name) {
			continue
		}
		n, err := unix.Fgetxattr(src, name, value)
		if err != nil {
			continue // gone, or not ours to read
		}
		switch err := unix.Fsetxattr(dst, name, value[:n], 0); err {
		case nil, unix.EOPNOTSUPP, unix.EPERM, unix.EINVAL:
		default:
			return err
		}
	}
	return nil
}

// copied reports whether an extended attribute goes with the file.
func copied(name string) bool {
	return strings.HasPrefix(name, "user.") || name == "security.capability" ||
		name == "system.posix_acl_access" || name == "system.posix_acl_default"
}
