// Package procfs is the runtime's one way to files of /proc that it must not be
// deceived about: a label, a mapping or a sysctl that is written to another file than
// the one named is the root of CVE-2019-16884, CVE-2019-19921 and CVE-2025-52881.
//
// It serves the parent side. What the container's own process does to its /proc are
// steps of package launch.
package procfs

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

const (
	// rootIno is the inode number of procfs' root, PROC_ROOT_INO of include/linux/proc_fs.h.
	rootIno = 1
	// resolve refuses every way out of the file system: links, "..", and mounts on top of
	// its files, openat2(2).
	resolve = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV
	// maxTries bounds the repetitions of an openat2 that met a concurrent rename (EAGAIN).
	maxTries = 64
)

// ErrNotProc tells that what is mounted on /proc is not the root of a procfs.
var ErrNotProc = errors.New("is not the root of a procfs")

// FS is a verified procfs of the caller's pid namespace.
type FS struct {
	fd int
}

// Open makes a procfs mount that nobody else has, so nothing can be mounted over its
// files. Where that is not allowed (EPERM: a user namespace that doesn't own its pid
// namespace or has its /proc partly covered; EACCES or ENOSYS: a security policy), it
// takes the host's /proc, having verified it; then a covered file is refused, not bypassed.
func Open() (*FS, error) {
	fd, err := openPrivate()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOSYS) {
		fd, err = openHost("/proc")
	}
	if err != nil {
		return nil, err
	}
	return &FS{fd}, nil
}

// openPrivate returns the root of a new mount that is attached nowhere.
func openPrivate() (fd int, err error) {
	ctx, err := unix.Fsopen("proc", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsopen proc: %w", err)
	}
	defer unix.Close(ctx)
	if err = unix.FsconfigCreate(ctx); err != nil {
		return -1, fmt.Errorf("fsconfig proc: %w", err)
	}
	const attr = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	if fd, err = unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, attr); err != nil {
		return -1, fmt.Errorf("fsmount proc: %w", err)
	}
	return fd, nil
}

// openHost opens a mounted procfs and verifies that it is one, and its root.
func openHost(path string) (fd int, err error) {
	fd, err = unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", path, err)
	}
	var fs unix.Statfs_t
	var st unix.Stat_t
	err = unix.Fstatfs(fd, &fs)
	if err == nil {
		err = unix.Fstat(fd, &st)
	}
	if err == nil && (fs.Type != unix.PROC_SUPER_MAGIC || st.Ino != rootIno) {
		err = ErrNotProc
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("%s: %w", path, err)
	}
	return fd, nil
}

// FD is the descriptor of the procfs' root, close-on-exec, to be used with *at calls. It
// belongs to f.
func (f *FS) FD() int { return f.fd }

// Close gives the procfs up. A second call does nothing.
func (f *FS) Close() error {
	if f.fd < 0 {
		return nil
	}
	err := unix.Close(f.fd)
	f.fd = -1
	return err
}

// Open opens a file by its path below /proc, such as "sys/kernel/pid_max"; flags are those
// of open(2), O_CLOEXEC is added. A path with a link in it, also "self" and the magic links
// below PID/ns and PID/fd, is refused with ELOOP; one that leaves procfs or is covered by
// a mount, with EXDEV.
func (f *FS) Open(path string, flags int) (fd int, err error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: resolve}
	for range maxTries {
		if fd, err = unix.Openat2(f.fd, path, &how); err != unix.EAGAIN {
			break
		}
	}
	switch err {
	case nil:
		return fd, nil
	case unix.EXDEV:
		return -1, fmt.Errorf("open /proc/%s: it is covered by a mount or leaves procfs: %w", path, err)
	}
	return -1, fmt.Errorf("open /proc/%s: %w", path, err)
}

// ReadFile returns a whole file, such as "1234/cgroup".
func (f *FS) ReadFile(path string) ([]byte, error) {
	fd, err := f.Open(path, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	buf := make([]byte, 0, 4096) // procfs reports no sizes
	for {
		n, err := unix.Read(fd, buf[len(buf):cap(buf)])
		if err != nil {
			return nil, fmt.Errorf("read /proc/%s: %w", path, err)
		}
		if n == 0 {
			return buf, nil
		}
		if buf = buf[:len(buf)+n]; len(buf) == cap(buf) {
			buf = append(make([]byte, 0, 4*cap(buf)), buf...)
		}
	}
}

// WriteFile writes data to a file, such as "1234/uid_map", in one write(2), as the kernel
// demands of most files of procfs. Below sys/net and sys/kernel the kernel picks the
// namespace of the thread that opens the file.
func (f *FS) WriteFile(path string, data []byte) error {
	fd, err := f.Open(path, unix.O_WRONLY)
	if err != nil {
		return err
	}
	n, err := unix.Write(fd, data)
	if err == nil && n < len(data) {
		err = io.ErrShortWrite
	}
	if closeErr := unix.Close(fd); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("write /proc/%s: %w", path, err)
	}
	return nil
}
