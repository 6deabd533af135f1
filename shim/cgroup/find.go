package cgroup

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/gantry-containers/gantry/shim/mountinfo"
)

// counted are the controllers whose statistics are told. Where v1 has none of them, v2 counts, whatever else is
// mounted: a hierarchy of net_cls is common on hosts that are v2's.
var counted = []string{"cpu", "cpuacct", "memory", "pids", "blkio", "hugetlb", "rdma"}

// hierarchy is a mounted one.
type hierarchy struct {
	root, point string
	controllers []string // v1's, or name=NAME; none is v2
}

// hierarchyOf is the hierarchy that a mount shows, if it shows one.
func hierarchyOf(m *mountinfo.Mount) (h hierarchy, ok bool) {
	h = hierarchy{root: mountinfo.Path(m.Root), point: mountinfo.Path(m.Point)}
	switch string(m.Type) {
	case "cgroup":
		h.controllers = strings.Split(string(m.Super), ",")
	case "cgroup2":
	default:
		return h, false
	}
	return h, true
}

// hierarchies lists those of a mountinfo file, in its order.
func hierarchies(mounts string) (list []hierarchy, err error) {
	err = mountinfo.Each(mounts, func(m *mountinfo.Mount) bool {
		if h, ok := hierarchyOf(m); ok {
			list = append(list, h)
		}
		return false
	})
	return list, err
}

// has tells whether it is the hierarchy of a controller of v1, or v2's for "".
func (h *hierarchy) has(controller string) bool {
	if controller == "" {
		return len(h.controllers) == 0
	}
	return slices.Contains(h.controllers, controller)
}

// dir is the directory of a cgroup, or "" where this mount does not show it: it may be a part of the hierarchy only.
func (h *hierarchy) dir(name string) string {
	rest, ok := strings.CutPrefix(name, strings.TrimSuffix(h.root, "/"))
	if !ok || rest != "" && rest[0] != '/' {
		return ""
	}
	return path.Join(h.point, rest)
}

// find reads a process's cgroup file, and of the mounts as many as it takes to find what counts.
func find(cgroups, mounts string) (*Cgroup, error) {
	v1, v2, err := membership(cgroups)
	if err != nil {
		return nil, err
	}
	sought := v1
	if len(v1) == 0 {
		sought = v2
	}
	err = mountinfo.Each(mounts, func(m *mountinfo.Mount) bool {
		if h, ok := hierarchyOf(m); ok {
			place(&h, v1)
			place(&h, v2)
		}
		return !slices.ContainsFunc(sought, func(d member) bool { return d.dir == "" })
	})
	if err != nil {
		return nil, err
	}
	c := &Cgroup{}
	for _, d := range v1 {
		if d.dir != "" {
			c.controllers = append(c.controllers, v1Dir{d.controller, d.dir})
		}
	}
	if len(c.controllers) > 0 {
		return c, nil
	}
	for _, d := range v2 {
		c.unified = d.dir
	}
	if c.unified == "" {
		return nil, fmt.Errorf("%s: in no mounted hierarchy: %w", cgroups, fs.ErrNotExist)
	}
	return c, nil
}

// member is the name of a process's cgroup in the hierarchy of a controller, "" being v2, and its directory once found.
type member struct{ controller, name, dir string }

// membership reads a cgroup file, cgroups(7): lines of hierarchy:controllers:path. It leaves out what is not counted.
func membership(cgroups string) (v1, v2 []member, err error) {
	text, err := os.ReadFile(cgroups)
	if err != nil {
		return nil, nil, err
	}
	for line := range bytes.Lines(text) {
		_, rest, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), ":")
		controllers, name, ok := strings.Cut(rest, ":")
		if !ok {
			continue
		}
		name = strings.TrimSuffix(name, " (deleted)") // so that the error is that it has gone
		if controllers == "" {
			v2 = append(v2, member{name: name})
			continue
		}
		for controller := range strings.SplitSeq(controllers, ",") {
			if slices.Contains(counted, controller) {
				v1 = append(v1, member{controller: controller, name: name})
			}
		}
	}
	return v1, v2, nil
}

// place has the members that a hierarchy is the first to show get their directories.
func place(h *hierarchy, members []member) {
	for i := range members {
		if m := &members[i]; m.dir == "" && h.has(m.controller) {
			m.dir = h.dir(m.name)
		}
	}
}
