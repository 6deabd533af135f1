package host

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroupRoot is where every distribution mounts the hierarchies.
const cgroupRoot = "/sys/fs/cgroup"

// membership is one line of /proc/self/cgroup, cgroups(7): "ID:NAMES:PATH".
type membership struct {
	names string // "memory", "cpu,cpuacct", "name=systemd"; "" for v2
	path  string // relative to the root of the cgroup namespace
}

// probeCgroup finds the mount of every hierarchy that the process is a member of. A
// hierarchy that is not mounted is of no use and left out.
func probeCgroup() (Cgroup, error) {
	text, err := readFile("/proc/self/cgroup")
	if errors.Is(err, unix.ENOENT) { // a kernel without cgroups
		return Cgroup{Mode: CgroupNone}, nil
	}
	if err != nil {
		return Cgroup{}, err
	}
	initial, err := inInitialNS("/proc/self/ns/cgroup", cgroupInitIno)
	if err != nil {
		return Cgroup{}, err
	}
	f := finder{initialNS: initial}
	c := Cgroup{Hierarchies: make([]Hierarchy, 0, strings.Count(string(text), "\n"))}
	// v2 is the last line: by then it is known whether it is alone.
	for _, m := range parseMemberships(string(text)) {
		h, ok, err := f.find(m, len(c.Hierarchies) > 0)
		if err != nil {
			return Cgroup{}, err
		}
		if ok {
			c.Hierarchies = append(c.Hierarchies, h)
		}
	}
	c.Mode = mode(c.Hierarchies)
	return c, nil
}

// Placement is the cgroup of a process in one hierarchy.
type Placement struct {
	Hierarchy, Mount, Path string
}

// UnitCgroups tells where systemd has put a process of the unit: in each hierarchy that it
// manages, at a place of its choice.
func UnitCgroups(pid int, unit string, c *Cgroup) ([]Placement, error) {
	file := "/proc/" + strconv.Itoa(pid) + "/cgroup"
	text, err := readFile(file)
	if err != nil {
		return nil, err
	}
	var places []Placement
	for _, m := range parseMemberships(string(text)) {
		for i := range c.Hierarchies {
			h := &c.Hierarchies[i]
			name := strings.TrimPrefix(m.names, "name=")
			if name == h.Name && strings.HasSuffix(m.path, "/"+unit) && (h.Named || h.Unified()) {
				places = append(places, Placement{h.Name, h.Mount, m.path})
			}
		}
	}
	if len(places) == 0 {
		return nil, fmt.Errorf("%s: not in a cgroup of %s", file, unit)
	}
	return places, nil
}

// UnifiedCgroup tells in which v2 cgroup a process is, from the root of the caller's cgroup
// namespace.
func UnifiedCgroup(pid int) (string, error) {
	file := "/proc/" + strconv.Itoa(pid) + "/cgroup"
	text, err := readFile(file)
	if err != nil {
		return "", err
	}
	for _, m := range parseMemberships(string(text)) {
		if m.names == "" {
			return m.path, nil
		}
	}
	return "", fmt.Errorf("%s: no v2 cgroup", file)
}

// parseMemberships splits /proc/self/cgroup and puts the v2 line last. A line that has
// not the known form is skipped: it can only be of a hierarchy yet unknown.
func parseMemberships(text string) []membership {
	var v1, v2 []membership
	for line := range strings.SplitSeq(text, "\n") {
		_, rest, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		names, path, ok := strings.Cut(rest, ":")
		switch {
		case !ok:
		case names == "":
			v2 = append(v2, membership{path: path})
		default:
			v1 = append(v1, membership{names, path})
		}
	}
	return append(v1, v2...)
}

func mode(all []Hierarchy) CgroupMode {
	var v2, controllers bool
	for i := range all {
		if all[i].Unified() {
			v2 = true
		} else if !all[i].Named {
			controllers = true
		}
	}
	switch {
	case v2 && controllers:
		return CgroupHybrid
	case v2:
		return CgroupV2
	case len(all) > 0:
		return CgroupV1
	}
	return CgroupNone
}

// finder finds mounts: first at the usual place, then in /proc/self/mountinfo, which is
// read at most once, since its size grows with the number of containers on the host.
type finder struct {
	initialNS bool // the process is in the initial cgroup namespace
	mounts    []cgroupMount
	read      bool
}

// find returns the hierarchy of m, or false when it isn't mounted. A v2 hierarchy at an
// unusual place beside v1 ones is not searched for: it is someone's private mount (a CNI
// plugin's, say), and the search would cost every start on a pure v1 machine.
func (f *finder) find(m membership, besideV1 bool) (h Hierarchy, ok bool, err error) {
	h = Hierarchy{Name: m.names, Own: m.path}
	h.Name, h.Named = strings.CutPrefix(h.Name, "name=")
	h.Mount, ok = f.usualPlace(&h)
	if !ok && h.Unified() && besideV1 {
		return h, false, nil
	}
	if !ok {
		if h.Mount, h.Own, ok, err = f.search(m); !ok || err != nil {
			return h, false, err
		}
	}
	switch {
	case h.Unified():
		text, err := readFile(h.Mount + "/cgroup.controllers")
		if err != nil {
			return h, false, err
		}
		h.Controllers = strings.Fields(string(text))
	case !h.Named:
		h.Controllers = strings.Split(h.Name, ",")
	}
	return h, true, nil
}

// usualPlace looks below /sys/fs/cgroup without reading the mount table. That is sound
// only if the mount shows the whole hierarchy and the process sees its whole path.
func (f *finder) usualPlace(h *Hierarchy) (mount string, ok bool) {
	if !f.initialNS {
		return "", false
	}
	if !h.Unified() {
		mount = cgroupRoot + "/" + h.Name
		return mount, isCgroup(mount, unix.CGROUP_SUPER_MAGIC) && isHierarchyRoot(mount)
	}
	for _, mount := range []string{cgroupRoot, cgroupRoot + "/unified"} {
		if isCgroup(mount, unix.CGROUP2_SUPER_MAGIC) && isHierarchyRoot(mount) {
			return mount, true
		}
	}
	return "", false
}

// search looks in the mount table. Of several mounts it takes one that contains the
// process' own cgroup, and of those one at the usual place. Where none contains it, the
// mount's root is the closest cgroup that can be named.
func (f *finder) search(m membership) (mount, own string, ok bool, err error) {
	if !f.read {
		text, err := readFile("/proc/self/mountinfo")
		if err != nil {
			return "", "", false, err
		}
		f.mounts, f.read = parseCgroupMounts(string(text)), true
	}
	best := 0
	for i := range f.mounts {
		c := &f.mounts[i]
		if !c.shows(m.names) || !c.visible() {
			continue
		}
		score := 1
		rel, inside := relative(c.root, m.path)
		if inside {
			score += 2
		}
		if strings.HasPrefix(c.point, cgroupRoot) {
			score++
		}
		if score > best {
			best, mount, own = score, c.point, rel
		}
	}
	return mount, own, best > 0, nil
}

// isCgroup reports whether path is in a cgroup file system of the given kind, statfs(2).
func isCgroup(path string, magic int64) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == magic
}

// isHierarchyRoot reports whether path is the root of its hierarchy and not a cgroup
// bound there: kernfs gives its root the inode number 1.
func isHierarchyRoot(path string) bool {
	var st unix.Stat_t
	return unix.Stat(path, &st) == nil && st.Ino == 1
}
