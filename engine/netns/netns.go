// Package netns opens the files of network namespaces.
package netns

import "golang.org/x/sys/unix"

// Open opens the namespace at a path. The path may be a link to /proc/PID/ns/net, and another process may have the number
// by now: with an inode, it is the namespace that has this one, or none (ENOENT, as for a process that is not there).
func Open(path string, inode uint64) (fd int, err error) {
	fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil || inode == 0 {
		return fd, err
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && st.Ino != inode {
		err = unix.ENOENT
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
