package plan

import (
	"path"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

const cgroupsPathField = "linux.cgroupsPath"

// cgroupsFor computes the container's cgroup in every hierarchy, config-linux.md
// "Cgroups Path". Clients read statistics straight from these directories, so the
// layout is runc's: an absolute path is taken from the mount point; a relative one,
// or else the id, from where the runtime is (startCgroup).
//
// ".." can't climb: an absolute path stops at the mount point, a relative one at
// its start.
func cgroupsFor(spec *specs.Spec, id string, facts *host.Facts) ([]Cgroup, error) {
	wanted := id
	if spec.Linux != nil && spec.Linux.CgroupsPath != "" {
		wanted = spec.Linux.CgroupsPath
	}
	if strings.ContainsAny(wanted, "\x00\n") {
		return nil, &Problem{cgroupsPathField, "a cgroup path can't have NUL or newline characters"}
	}
	if facts.Cgroup.Mode == host.CgroupNone {
		if CgroupsOptional(spec, facts) {
			return nil, nil
		}
		return nil, &Problem{cgroupsPathField, "no cgroup hierarchy is mounted"}
	}
	below := path.Clean("/" + wanted)
	if below == "/" {
		return nil, &Problem{cgroupsPathField, strconv.Quote(wanted) + " names no cgroup of the container's own"}
	}
	cgroups := make([]Cgroup, 0, len(facts.Cgroup.Hierarchies))
	for i := range facts.Cgroup.Hierarchies {
		h := &facts.Cgroup.Hierarchies[i]
		if h.Named && h.Name != "systemd" {
			continue // runc joins no other named hierarchy
		}
		full := below
		if !strings.HasPrefix(wanted, "/") {
			full = path.Join(startCgroup(h, facts.Cgroup.Mode), below)
		}
		cgroups = append(cgroups, Cgroup{Hierarchy: h.Name, Mount: h.Mount, Path: full})
	}
	return cgroups, nil
}

// startCgroup is where relative cgroup paths begin. In v1 hierarchies it is the
// runtime's own cgroup. In a sole v2 hierarchy it is the parent of that: a cgroup
// with processes, as the runtime's own, can't hand controllers to its children
// (cgroup-v2.rst, "No Internal Process Constraint"). A v2 hierarchy beside v1 ones
// has no controllers to hand on and starts at its root.
func startCgroup(h *host.Hierarchy, mode host.CgroupMode) string {
	own := path.Clean("/" + h.Own)
	switch {
	case !h.Unified():
		return own
	case mode == host.CgroupHybrid:
		return "/"
	default:
		return path.Dir(own)
	}
}

// CgroupsOptional reports whether the container may go on without cgroups: when
// the caller has no rights over them by its nature and config.json names none.
func CgroupsOptional(spec *specs.Spec, facts *host.Facts) bool {
	explicit := spec.Linux != nil && spec.Linux.CgroupsPath != ""
	return (facts.UID != 0 || facts.UserNS) && !explicit
}
