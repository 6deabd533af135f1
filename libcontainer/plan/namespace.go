package plan

import (
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

// namespaces is linux.namespaces, sorted into new and joined ones.
type namespaces struct {
	created []string
	joined  []Namespace
}

func collectNamespaces(list []specs.LinuxNamespace) namespaces {
	var ns namespaces
	for _, n := range list {
		if n.Path == "" {
			ns.created = append(ns.created, string(n.Type))
		} else {
			ns.joined = append(ns.joined, Namespace{Type: string(n.Type), Path: n.Path})
		}
	}
	return ns
}

func (ns *namespaces) isNew(kind string) bool { return slices.Contains(ns.created, kind) }

func (ns *namespaces) isJoined(kind string) bool {
	return slices.ContainsFunc(ns.joined, func(n Namespace) bool { return n.Type == kind })
}

// pathOf is where the namespace of that kind is joined; "" for a new one or none.
func (ns *namespaces) pathOf(kind string) string {
	for _, n := range ns.joined {
		if n.Type == kind {
			return n.Path
		}
	}
	return ""
}

func (ns *namespaces) has(kind string) bool { return ns.isNew(kind) || ns.isJoined(kind) }

// user reports whether the container has a user namespace other than the runtime's.
func (ns *namespaces) user() bool { return ns.has("user") }

// needsFork reports whether one process can't enter them all: a joined pid namespace
// and a new time namespace take effect in children only, a new user namespace would
// lose the right to join others, a joined one must own what is made new.
func (ns *namespaces) needsFork() bool {
	return ns.isJoined("pid") || ns.isNew("time") ||
		ns.isNew("user") && len(ns.joined) > 0 ||
		ns.isJoined("user") && len(ns.created) > 0
}

// without returns the list without the kinds.
func without(list []string, kinds ...string) []string {
	var rest []string
	for _, t := range list {
		if !slices.Contains(kinds, t) {
			rest = append(rest, t)
		}
	}
	return rest
}

// birth makes the child and puts it into cgroups and namespaces.
func (c *compiler) birth() {
	c.openSources()
	if c.ns.user() && c.Facts.UID == 0 {
		c.ownStdio(c.proc, c.linux.UIDMappings)
	}
	created := c.ns.created
	if c.lateCgroupNS() {
		created = without(created, "cgroup")
	}
	if c.ns.needsFork() {
		c.birthInTwo(created)
	} else {
		c.birthInOne(created)
	}
	c.add(Child, "process", &ResetCPUAffinity{})
	if c.lateCgroupNS() {
		c.add(Child, "linux.namespaces", &Unshare{New: []string{"cgroup"}})
	}
}

// lateCgroupNS reports whether the cgroup namespace is made last: its root is where the
// process stands in every hierarchy at that moment, so on cgroup v1 it comes after joining
// them, with systemd after the scope was made.
func (c *compiler) lateCgroupNS() bool {
	return (c.Facts.Cgroup.Mode != host.CgroupV2 || c.unit != nil) && c.ns.isNew("cgroup")
}

// birthInOne makes all namespaces with the child itself.
func (c *compiler) birthInOne(created []string) {
	c.clone(created)
	unprivileged := c.Facts.UID != 0 && c.ns.isJoined("user")
	if !unprivileged {
		c.add(Child, "root", &SealExe{})
	}
	c.enterCgroups()
	if len(c.ns.joined) > 0 {
		c.add(Child, "linux.namespaces", &JoinNamespaces{Namespaces: joinOrder(c.ns.joined, c.Facts.UID), KeepGroups: KeepsGroups(c.Spec.Annotations)})
	}
	if unprivileged {
		c.add(Child, "root", &SealExe{})
	}
	c.oomScore()
	c.ownIDs()
	c.add(Child, "process", &Undumpable{})
}

// birthInTwo lets a first process join and make what only its child will have.
func (c *compiler) birthInTwo(created []string) {
	c.clone(nil)
	privileged := c.Facts.UID == 0
	if privileged {
		c.add(Child, "root", &SealExe{})
	}
	c.enterCgroups()
	if len(c.ns.joined) > 0 {
		c.add(Child, "linux.namespaces", &JoinNamespaces{Namespaces: joinOrder(c.ns.joined, c.Facts.UID), KeepGroups: KeepsGroups(c.Spec.Annotations)})
	}
	if c.ns.isNew("user") {
		c.add(Child, "linux.namespaces", &Unshare{New: []string{"user"}})
	}
	if !privileged {
		c.add(Child, "root", &SealExe{})
	}
	c.newTime()
	c.oomScore()
	c.ownIDs()
	c.add(Child, "process", &Undumpable{})
	c.add(Child, "linux.namespaces", &Fork{New: without(created, "user", "time")})
}

// newTime makes the time namespace, in the container's user namespace but before the process
// becomes root there: that makes its files in /proc those of the machine's root.
func (c *compiler) newTime() {
	if !c.ns.isNew("time") {
		return
	}
	c.add(Child, "linux.namespaces", &Unshare{New: []string{"time"}})
	if len(c.linux.TimeOffsets) > 0 {
		c.add(Child, "linux.timeOffsets", &SetTimeOffsets{Offsets: timeOffsets(c.linux.TimeOffsets)})
	}
}

func (c *compiler) clone(created []string) {
	c.add(Runtime, "linux.namespaces", &Clone{New: created, IntoCgroup: c.bornInCgroup() || c.bornInTracking(), MayFail: c.bornInTracking()})
	c.add(Child, "process", &CloseFDs{Preserve: c.PreserveFDs})
}

// bornInCgroup reports whether the child needs not join its cgroup: there is only the v2
// one, and it exists for sure.
func (c *compiler) bornInCgroup() bool {
	return c.Facts.Cgroup.Mode == host.CgroupV2 && !c.OptionalCgroups && c.Driver == DriverFiles
}

// bornInTracking reports whether the child need not join the v2 cgroup that stands beside those of v1.
func (c *compiler) bornInTracking() bool {
	return tracksUnified(&c.Facts.Cgroup) && !c.OptionalCgroups && c.Driver == DriverFiles
}

func tracksUnified(f *host.Cgroup) bool { return f.Mode == host.CgroupHybrid && f.Hierarchy("") != nil }

// joinOrder puts the user namespace last for a privileged runtime, which may enter
// all the others as it is, and first for any other, which gets its rights from it.
func joinOrder(joined []Namespace, uid uint32) []Namespace {
	var user, rest []Namespace
	for _, n := range joined {
		if n.Type == "user" {
			user = append(user, n)
		} else {
			rest = append(rest, n)
		}
	}
	if uid == 0 {
		return append(rest, user...)
	}
	return append(user, rest...)
}

// ownIDs makes the child root of its user namespace.
func (c *compiler) ownIDs() {
	if !c.ns.user() {
		return
	}
	if c.ns.isNew("user") {
		c.add(Runtime, "linux.uidMappings", &WriteIDMaps{
			UIDs: idMappings(c.linux.UIDMappings), GIDs: idMappings(c.linux.GIDMappings),
			Helpers:       c.Facts.UID != 0 && !c.singleOwnID(),
			DenySetgroups: c.denySetgroups(),
		})
	}
	c.keyring()
	c.add(Child, "linux.uidMappings", &BecomeRoot{KeepGroups: c.keepGroups()})
}

// singleOwnID reports whether the maps name nothing but the runtime's own ids, which
// any user may map alone.
func (c *compiler) singleOwnID() bool {
	u, g := c.linux.UIDMappings, c.linux.GIDMappings
	return len(u) == 1 && u[0].Size == 1 && u[0].HostID == c.Facts.UID &&
		len(g) == 1 && g[0].Size == 1 && g[0].HostID == c.Facts.GID
}

// denySetgroups reports whether setgroups(2) is given up: the gid map is written without
// privilege, for which the kernel demands that, user_namespaces(7), or it was for the map
// of the runtime's own user namespace.
func (c *compiler) denySetgroups() bool {
	return c.Facts.NoSetgroups || c.ns.isNew("user") && c.Facts.UID != 0 && c.singleOwnID()
}

// keepGroups reports whether the process has the runtime's groups, because it must or may.
func (c *compiler) keepGroups() bool { return c.denySetgroups() || KeepsGroups(c.Spec.Annotations) }

func (c *compiler) oomScore() {
	if c.proc.OOMScoreAdj == nil {
		return
	}
	actor := Child
	if c.ns.user() {
		actor = Runtime // lowering it needs a right over the initial user namespace
	}
	c.add(actor, "process.oomScoreAdj", &SetOOMScore{Score: *c.proc.OOMScoreAdj})
}

func idMappings(list []specs.LinuxIDMapping) []IDMapping {
	m := make([]IDMapping, len(list))
	for i, x := range list {
		m[i] = IDMapping{ContainerID: x.ContainerID, HostID: x.HostID, Size: x.Size}
	}
	return m
}

func timeOffsets(m map[string]specs.LinuxTimeOffset) []TimeOffset {
	var list []TimeOffset
	for _, clock := range []string{"monotonic", "boottime"} {
		if o, ok := m[clock]; ok {
			list = append(list, TimeOffset{Clock: clock, Secs: o.Secs, Nanosec: o.Nanosecs})
		}
	}
	return list
}

// enterCgroups joins the cgroups that must be left for no reason later: all but
// memory's, so that the launch itself is not charged to the container.
func (c *compiler) enterCgroups() {
	if c.unit != nil {
		c.limits()
		c.enterUnitCgroups()
		return
	}
	if c.bornInCgroup() || c.Driver == DriverNone {
		return
	}
	late := c.lateCgroups()
	var early, tracking []string
	for i := range c.Facts.Cgroup.Hierarchies {
		h := &c.Facts.Cgroup.Hierarchies[i]
		switch {
		case h.Unified() && c.bornInTracking():
		case h.Named || h.Unified():
			tracking = append(tracking, h.Name)
		case !slices.Contains(late, h.Name):
			early = append(early, h.Name)
		}
	}
	c.joinCgroups(early, false)
	c.joinCgroups(tracking, true)
}

func (c *compiler) joinCgroups(hierarchies []string, mayFail bool) {
	if len(hierarchies) > 0 {
		c.add(Child, "linux.cgroupsPath", &JoinCgroups{Hierarchies: hierarchies, MayFail: mayFail})
	}
}

// lateCgroups are the hierarchies to join after the launch's own memory was used: the
// container's limit may be smaller than that. With a cgroup namespace of its own the
// container must be in all cgroups before the namespace is made.
func (c *compiler) lateCgroups() []string {
	if c.Facts.Cgroup.Mode == host.CgroupV2 || c.ns.isNew("cgroup") || c.Driver != DriverFiles {
		return nil
	}
	if h := c.Facts.Cgroup.Find("memory"); h != nil && !h.Unified() {
		return []string{h.Name}
	}
	return nil
}
