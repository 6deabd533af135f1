package plan

import (
	"path"
	"strconv"
	"strings"

	"github.com/gantry-containers/gantry/libcontainer/gvariant"
	"github.com/gantry-containers/gantry/libcontainer/host"
)

// Driver says who makes the container's cgroups.
type Driver string

// The drivers, named as crun's --cgroup-manager names them.
const (
	DriverFiles   Driver = ""         // the runtime makes directories
	DriverSystemd Driver = "systemd"  // systemd makes a transient scope
	DriverNone    Driver = "disabled" // nobody: the container stays in the caller's cgroups
)

// Unit is the transient scope that systemd makes for a container, systemd.scope(5).
type Unit struct {
	Name  string // "runc-ID.scope"
	Slice string // "a-b.slice"
	// User says that the user's own service manager makes it, not the system's.
	User bool
}

// Path is the unit's cgroup below that of its service manager: each dash in a slice's name
// is a level, systemd.slice(5).
func (u *Unit) Path() string {
	var full strings.Builder
	if u.Slice != rootSlice {
		name := strings.TrimSuffix(u.Slice, sliceSuffix)
		for i := range name {
			if name[i] == '-' {
				full.WriteString("/" + name[:i] + sliceSuffix)
			}
		}
		full.WriteString("/" + u.Slice)
	}
	return full.String() + "/" + u.Name
}

const (
	sliceSuffix = ".slice"
	scopeSuffix = ".scope"
	rootSlice   = "-.slice"
	// maxUnitName is UNIT_NAME_MAX of systemd, which counts the NUL.
	maxUnitName = 255
	// unitCharacters may be in a unit's name, systemd.unit(5).
	unitCharacters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ:-_.\\@"
)

// unitFor reads cgroupsPath as runc's systemd driver does: "SLICE:PREFIX:NAME" is
// PREFIX-NAME.scope in SLICE, nothing is runc-ID.scope in the default slice.
func unitFor(cgroupsPath, id string, user bool) (*Unit, error) {
	u := &Unit{Name: "runc-" + id + scopeSuffix, Slice: "system.slice", User: user}
	if user {
		u.Slice = "user.slice"
	}
	if cgroupsPath != "" {
		parts := strings.Split(cgroupsPath, ":")
		if len(parts) != 3 {
			return nil, &Problem{cgroupsPathField, `expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got ` +
				strconv.Quote(cgroupsPath) + " instead"}
		}
		if parts[0] != "" {
			u.Slice = parts[0]
		}
		if parts[2] == "" {
			return nil, &Problem{cgroupsPathField, strconv.Quote(cgroupsPath) + " has no name after the prefix"}
		}
		if strings.HasSuffix(parts[2], sliceSuffix) {
			return nil, &Problem{cgroupsPathField, parts[2] + " is a slice: it holds units, not processes"}
		}
		u.Name = parts[1] + "-" + parts[2] + scopeSuffix
	}
	if !isUnitName(u.Name) {
		return nil, &Problem{cgroupsPathField, strconv.Quote(u.Name) + " is not a valid unit name"}
	}
	if !isSlice(u.Slice) {
		return nil, &Problem{cgroupsPathField, "invalid slice name: " + u.Slice}
	}
	return u, nil
}

func isUnitName(name string) bool {
	return len(name) <= maxUnitName && strings.Trim(name, unitCharacters) == ""
}

// isSlice reports whether a name is that of a slice: no level of it is empty.
func isSlice(name string) bool {
	base, ok := strings.CutSuffix(name, sliceSuffix)
	if !ok || !isUnitName(name) || base == "" || strings.ContainsAny(base, "@") {
		return false
	}
	return name == rootSlice || !strings.HasPrefix(base, "-") && !strings.HasSuffix(base, "-") && !strings.Contains(base, "--")
}

// unitCgroups are the cgroups that a scope has beside those that systemd makes: on v1 it
// makes some of the hierarchies only. None on v2.
func unitCgroups(u *Unit, facts *host.Facts) ([]Cgroup, error) {
	switch {
	case facts.Cgroup.Mode == host.CgroupNone:
		return nil, &Problem{cgroupsPathField, "no cgroup hierarchy is mounted"}
	case facts.Cgroup.Mode == host.CgroupV2:
		return nil, nil
	case u.User:
		return nil, &Problem{cgroupsPathField, "a user's service manager needs cgroup v2"}
	}
	cgroups := make([]Cgroup, 0, len(facts.Cgroup.Hierarchies))
	for i := range facts.Cgroup.Hierarchies {
		h := &facts.Cgroup.Hierarchies[i]
		if !h.Named && !h.Unified() {
			cgroups = append(cgroups, Cgroup{Hierarchy: h.Name, Mount: h.Mount, Path: path.Clean(u.Path())})
		}
	}
	return cgroups, nil
}

// scope adds the making of the scope: the child is there, and waits.
func (c *compiler) scope(writes []resourceWrite, rules []DeviceRule) {
	list := propertyList{
		{Name: "Description", Value: gvariant.String("container " + c.ID)},
		{Name: "Slice", Value: gvariant.String(c.unit.Slice)},
		{Name: "Delegate", Value: gvariant.Bool(true)},
		{Name: "DefaultDependencies", Value: gvariant.Bool(false)},
		// Forgotten as soon as its last process is gone, however that ended.
		{Name: "CollectMode", Value: gvariant.String("inactive-or-failed")},
	}
	a := &CreateScope{Unit: *c.unit}
	accounts := "IOAccounting"
	if c.Facts.Cgroup.Mode != host.CgroupV2 {
		accounts, a.Devices = "BlockIOAccounting", rules
	} else {
		list.set("DevicePolicy", gvariant.String("auto"))
	}
	for _, name := range []string{"CPUAccounting", "MemoryAccounting", "TasksAccounting", accounts} {
		list.set(name, gvariant.Bool(true))
	}
	plain := make([]WriteCgroup, len(writes))
	for i := range writes {
		plain[i] = writes[i].Write
	}
	for _, p := range append(Properties(plain), c.properties...) {
		list.put(p)
	}
	a.Properties = list
	c.add(Runtime, cgroupsPathField, a)
}

// enterUnitCgroups joins the hierarchies that systemd does not know, on v1.
func (c *compiler) enterUnitCgroups() {
	names := make([]string, len(c.groups))
	for i := range c.groups {
		names[i] = c.groups[i].Hierarchy
	}
	c.joinCgroups(names, false)
}
