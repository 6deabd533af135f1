// Package cgroup makes, fills, freezes, kills and removes the cgroups of one
// container, through plain system calls on cgroupfs, cgroups(7).
//
// It acts on what package plan computed and decides nothing by itself: which
// directories, which files and which values are in the plan. It is on the path
// of every container start, so it opens no os.File and formats nothing unless
// something goes wrong.
package cgroup

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/state"
)

// Set is the container's cgroups, one directory in each hierarchy.
type Set struct {
	groups []group
}

// group is the container's directory in one hierarchy.
type group struct {
	hierarchy string // host.Hierarchy.Name, "" for cgroup v2
	dir       string
	// fresh says that Create made the directory: nothing is in it yet.
	fresh bool
}

// FromState gives the cgroups of a container that an earlier command made.
func FromState(paths []state.CgroupPath) *Set {
	s := &Set{groups: make([]group, len(paths))}
	for i := range paths {
		s.groups[i] = group{hierarchy: paths[i].Hierarchy, dir: paths[i].Path}
	}
	return s
}

// Paths are the directories to keep in the container's state.
func (s *Set) Paths() []state.CgroupPath {
	paths := make([]state.CgroupPath, len(s.groups))
	for i := range s.groups {
		paths[i] = state.CgroupPath{Hierarchy: s.groups[i].hierarchy, Path: s.groups[i].dir}
	}
	return paths
}

// Adopt takes in a cgroup that somebody else made for the container: systemd.
func (s *Set) Adopt(c *plan.Cgroup) {
	g := group{hierarchy: c.Hierarchy, dir: c.Dir(), fresh: true}
	s.groups = append(s.groups, g)
	if len(s.groups) == 1 && g.hierarchy == "" {
		enableAll(c.Mount, &s.groups[0])
	}
}

// Gone reports whether the container had cgroups and none of them is left.
func (s *Set) Gone() bool {
	for i := range s.groups {
		if unix.Access(s.groups[i].dir, unix.F_OK) != unix.ENOENT {
			return false
		}
	}
	return len(s.groups) > 0
}

// MountOf finds where the hierarchy is mounted that a cgroup directory is in.
func MountOf(dir string) string {
	for dir != "/" && isCgroup(parentOf(dir)) {
		dir = parentOf(dir)
	}
	return dir
}

// named returns the group of a hierarchy, or nil.
func (s *Set) named(hierarchy string) *group {
	for i := range s.groups {
		if s.groups[i].hierarchy == hierarchy {
			return &s.groups[i]
		}
	}
	return nil
}

// v1 returns the group of the v1 hierarchy with the controller, or nil.
func (s *Set) v1(controller string) *group {
	for i := range s.groups {
		if s.groups[i].controls(controller) {
			return &s.groups[i]
		}
	}
	return nil
}

// v2 returns the group of the unified hierarchy, or nil.
func (s *Set) v2() *group { return s.named("") }

// tracking returns the group whose list of processes stands for the container:
// of v1 the one that guards devices, which is never left out for a container
// that needs guarding. Nil when the container has no cgroup at all.
func (s *Set) tracking() *group {
	for _, controller := range [...]string{"devices", "freezer", "pids", "memory"} {
		if g := s.v1(controller); g != nil {
			return g
		}
	}
	if g := s.v2(); g != nil {
		return g
	}
	if len(s.groups) > 0 {
		return &s.groups[0]
	}
	return nil
}

// auxiliary reports whether a hierarchy only tracks processes, so that the
// container can do without it: the named one of systemd, and the v2 hierarchy
// that stands beside v1 ones.
func auxiliary(c *plan.Cgroup, hierarchies int) bool {
	return c.Hierarchy == "systemd" || c.Hierarchy == "" && hierarchies > 1
}

// controls reports whether the group is in the v1 hierarchy of the controller.
func (g *group) controls(controller string) bool {
	for name := range strings.SplitSeq(g.hierarchy, ",") {
		if name == controller {
			return true
		}
	}
	return false
}

// Dir returns the container's cgroup for a controller, of v1 first, and whether it is the
// v2 one. It is "" without any; the v2 hierarchy beside v1 ones counts for what they lack.
func (s *Set) Dir(controller string) (dir string, unified bool) {
	if g := s.v1(controller); g != nil {
		return g.dir, false
	}
	if g := s.v2(); g != nil && (len(s.groups) == 1 || g.has(controller)) {
		return g.dir, true
	}
	return "", false
}
