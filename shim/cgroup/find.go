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

// hierarchies lists those of a mountinfo file, in its order.
func hierarchies(mounts string) (list []hierarchy, err error) {
	err = mountinfo.Each(mounts, func(m *mountinfo.Mount) {
		h := hierarchy{root: mountinfo.Path(m.Root), point: mountinfo.Path(m.Point)}
		switch string(m.Type) {
		case "cgroup":
			h.controllers = strings.Split(string(m.Super), ",")
		case "cgroup2":
		default:
			return
		}
		list = append(list, h)
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

// find reads a process's cgroup file, cgroups(7): lines of hierarchy:controllers:path.
func find(cgroups, mounts string) (*Cgroup, error) {
	text, err := os.ReadFile(cgroups)
	if err != nil {
		return nil, err
	}
	mounted, err := hierarchies(mounts)
	if err != nil {
		return nil, err
	}
	c := &Cgroup{}
	unified := ""
	for line := range bytes.Lines(text) {
		_, rest, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), ":")
		names, name, ok := strings.Cut(rest, ":")
		if !ok {
			continue
		}
		name = strings.TrimSuffix(name, " (deleted)") // so that the error is that it has gone
		for controller := range strings.SplitSeq(names, ",") {
			dir := lookup(mounted, controller, name)
			if dir == "" {
				continue
			}
			if controller == "" {
				unified = dir
			} else if i := slices.Index(counted, controller); i >= 0 {
				c.controllers = append(c.controllers, v1Dir{counted[i], dir})
			}
		}
	}
	if len(c.controllers) == 0 {
		if c.unified = unified; unified == "" {
			return nil, fmt.Errorf("%s: in no mounted hierarchy: %w", cgroups, fs.ErrNotExist)
		}
	}
	return c, nil
}

// lookup is the directory of a cgroup by the first mount that shows it.
func lookup(mounted []hierarchy, controller, name string) string {
	for i := range mounted {
		if !mounted[i].has(controller) {
			continue
		}
		if dir := mounted[i].dir(name); dir != "" {
			return dir
		}
	}
	return ""
}
