package cgroup

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// PIDs lists the container's processes, those in cgroups below its own too, in the
// runtime's pid namespace. No cgroup, or one that is gone, has none.
func (s *Set) PIDs() ([]int, error) {
	g := s.tracking()
	if g == nil {
		return nil, nil
	}
	return appendPIDs(nil, g.dir)
}

// appendPIDs adds the processes of dir and of the cgroups below it.
func appendPIDs(pids []int, dir string) ([]int, error) {
	procs, err := readFile(dir, "cgroup.procs")
	switch {
	case err == nil:
	case gone(err):
		return pids, nil
	case errors.Is(err, unix.EOPNOTSUPP): // a threaded cgroup: its domain lists the process
	default:
		return nil, err
	}
	for line := range strings.FieldsSeq(procs) {
		// 0 is a process that this pid namespace can't see.
		if pid, err := strconv.Atoi(line); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	children, err := subdirs(dir)
	if err != nil {
		if gone(err) {
			return pids, nil
		}
		return nil, err
	}
	for _, child := range children {
		if pids, err = appendPIDs(pids, child); err != nil {
			return nil, err
		}
	}
	return pids, nil
}

// subdirs lists the cgroups directly below dir.
func subdirs(dir string) ([]string, error) {
	fd, err := open(dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	// A directory on cgroupfs has two links and one more for each subdirectory.
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err == nil && st.Nlink == 2 {
		return nil, nil
	}
	var names []string
	var buf [4096]byte
	for {
		n, err := unix.ReadDirent(fd, buf[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, &FileError{Op: "read directory", Path: dir, Err: err}
		}
		if n <= 0 {
			break
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
	dirs := names[:0]
	for _, name := range names {
		path := dir + "/" + name
		if unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			dirs = append(dirs, path)
		}
	}
	return dirs, nil
}
