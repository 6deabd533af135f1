package cgroup

import (
	"errors"
	"strconv"

	"golang.org/x/sys/unix"
)

// ErrNotUnified says that the container has no cgroup in the v2 hierarchy.
var ErrNotUnified = errors.New("container has no cgroup v2 cgroup")

// JoinFDs opens cgroup.procs in the named hierarchies, in their order, for a child
// to write "0" and so to move itself. A hierarchy that Create left out has -1. The
// caller closes the descriptors; on error none is open.
func (s *Set) JoinFDs(hierarchies []string) ([]int, error) {
	fds := make([]int, 0, len(hierarchies))
	for _, hierarchy := range hierarchies {
		g := s.named(hierarchy)
		if g == nil {
			fds = append(fds, -1)
			continue
		}
		fd, err := open(g.dir+"/"+g.joinFile(), unix.O_WRONLY)
		if err != nil {
			closeAll(fds)
			return nil, err
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

// joinFile is where a process with a single thread moves itself. In v1 it is tasks, which moves the thread that
// writes "0": the kernel then need not keep all processes from forking meanwhile, for which it first waits 10 to 15 ms
// (cgroup_procs_write_start in kernel/cgroup/cgroup.c). cgroup v2 has no such file for it.
func (g *group) joinFile() string {
	if g.hierarchy == "" {
		return "cgroup.procs"
	}
	return "tasks"
}

// DirFD opens the container's v2 cgroup for CLONE_INTO_CGROUP, clone(2). The
// caller closes it. ErrNotUnified when there is none.
func (s *Set) DirFD() (int, error) {
	g := s.v2()
	if g == nil {
		return -1, ErrNotUnified
	}
	return open(g.dir, unix.O_PATH|unix.O_DIRECTORY)
}

// AddProcess moves a process into every cgroup of the container.
func (s *Set) AddProcess(pid int) error {
	for i := range s.groups {
		if err := writeFile(s.groups[i].dir, "cgroup.procs", strconv.Itoa(pid)); err != nil {
			return err
		}
	}
	return nil
}
