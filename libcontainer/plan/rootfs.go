package plan

import (
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

// root makes the rootfs a mount of its own in a mount namespace that leaks nothing
// to the host, unless a shared propagation asks for it.
func (c *compiler) root() {
	field := "linux.rootfsPropagation"
	p := propagationOption(c.linux.RootfsPropagation)
	switch p.Base() {
	case Shared:
		c.add(Child, field, &SetPropagation{Path: "/", Propagation: p})
		if c.RootfsMount != "" {
			c.add(Child, field, &SetPropagation{Path: c.RootfsMount, Propagation: Private})
		}
	case Private, Unbindable:
		c.add(Child, field, &SetPropagation{Path: "/", Propagation: RecPrivate})
	default:
		c.add(Child, field, &SetPropagation{Path: "/", Propagation: RecSlave})
	}
	c.add(Child, "root.path", &MakeRoot{Rootfs: c.Rootfs})
	if c.Facts.Lacks(host.MountSetattr) {
		c.add(Child, "mounts", &AttributesByRemount{})
	}
	if c.deadNodes {
		c.add(Child, devicesField, &KillDeviceNodes{})
	}
	if p.Base() == Shared {
		// pivot_root(2) refuses a shared root; it becomes shared again in enterRoot.
		c.add(Child, field, &SetPropagation{Path: c.Rootfs, Propagation: Private})
	}
}

// mounts mounts config.json's mounts, in order.
func (c *compiler) mounts() {
	for i := range c.Spec.Mounts {
		c.mount(i, &c.Spec.Mounts[i])
	}
	if c.proc.Cwd != "/" && c.proc.Cwd != "" {
		c.add(Child, "process.cwd", &MakeDir{Path: path.Clean(c.proc.Cwd)})
	}
}

// mountsOnHost mounts them where the host sees them, for lack of a mount namespace, as runc
// does. They outlive the container; one `umount -R` of the rootfs takes them away.
func (c *compiler) mountsOnHost() {
	if len(c.Spec.Mounts) > 0 {
		c.add(Child, "root.path", &MakeRoot{Rootfs: c.Rootfs})
		c.mounts()
		c.devices()
	}
}

func isBind(m *specs.Mount, o *mountOptions) bool { return o.bind || m.Type == "bind" }

func (c *compiler) mount(i int, m *specs.Mount) {
	field := index("mounts", i)
	o := c.options[i]
	c.checkMount(i, m, &o)
	dest := path.Clean("/" + m.Destination)
	if dest == "/dev" && o.flags.Set&ReadOnly != 0 && !isBind(m, &o) {
		o.flags.Set &^= ReadOnly // until devices has made its nodes
		c.readonlyDev = i
	}
	switch {
	case o.remount:
		c.add(Child, field, &BindMount{Index: i, Destination: dest, Flags: o.flags, Remount: true})
	case isBind(m, &o):
		c.bind(i, m, dest, &o)
	case m.Type == "cgroup" || m.Type == "cgroup2":
		c.cgroupMount(i, dest, o.flags)
	case o.copyUp && m.Type == "tmpfs":
		c.filesystem(i, m, &o, false)
	default:
		data, byAttribute := c.mountLabel(m.Type, strings.Join(o.data, ","))
		c.add(Child, field, &Mount{
			Index: i, Destination: dest, Type: m.Type, Source: sourceName(m), Flags: o.flags, Data: data,
		})
		if byAttribute {
			c.add(Child, "linux.mountLabel", &LabelMount{Destination: dest, Label: c.linux.MountLabel})
		}
	}
}

func (c *compiler) bind(i int, m *specs.Mount, dest string, o *mountOptions) {
	old, shares := c.Facts.Lacks(host.MountSetattr), c.sharesCgroupfs(m.Source, o)
	if shares && !old {
		o.flags.RecSet |= ReadOnly
	}
	source := c.hostPath(m.Source)
	c.add(Child, index("mounts", i), &BindMount{
		Index: i, Destination: dest, Source: source, SourceInRoot: c.inRoot(source),
		ByRuntime: c.ns.user() && c.Facts.UID == 0, IDMap: c.idMap(i, m, o), Recursive: o.recursive, Flags: o.flags,
		SourceNoFollow: o.sourceNoFollow, TargetNoFollow: o.targetNoFollow, CopySymlink: o.copySymlink,
	})
	if shares && old {
		c.protectCgroupfs(i, m, dest)
	}
}

// sharesCgroupfs reports whether a bind brings the host's cgroups along. In a user namespace
// they may belong to the container's root: where /sys is asked for read-only, so are they
// (CVE-2023-25809).
func (c *compiler) sharesCgroupfs(source string, o *mountOptions) bool {
	below := strings.HasPrefix(path.Clean(source)+"/", "/sys/")
	return below && o.recursive && o.flags.Set&ReadOnly != 0 && (c.ns.user() || c.Facts.UserNS)
}

// sourceName is what /proc/mounts will show as the device.
func sourceName(m *specs.Mount) string {
	if m.Source == "" {
		return m.Type
	}
	return m.Source
}

func (c *compiler) cgroupMount(i int, dest string, flags MountFlags) {
	if c.Driver == DriverNone || (c.ns.user() || c.Facts.UserNS) && !c.ns.has("cgroup") {
		flags.Set |= ReadOnly // more than the container's own cgroup is in sight (CVE-2023-25809)
	}
	a := &CgroupMount{Index: i, Destination: dest, Flags: flags, Label: c.linux.MountLabel}
	groups := c.shownCgroups()
	if c.Facts.Cgroup.Mode == host.CgroupV2 {
		if len(groups) > 0 && c.ns.isNew("cgroup") {
			a.Fallback = groups[0].Dir()
		} else if len(groups) > 0 {
			a.Fallback = groups[0].Mount
		}
	} else {
		for _, g := range groups {
			if g.Hierarchy != "" {
				a.Cgroups = append(a.Cgroups, g)
			}
		}
	}
	c.add(Child, index("mounts", i), a)
}

// shownCgroups are those that the container is to see.
func (c *compiler) shownCgroups() []Cgroup {
	if c.OptionalCgroups || c.Driver == DriverNone {
		// What will be made is not known; what is there for sure is the caller's own place.
		return ownCgroups(c.Facts)
	}
	if c.unit == nil || c.unit.User && c.ns.isNew("cgroup") { // where a user's manager is nobody knows yet
		return c.groups
	}
	groups := slices.Clip(c.groups)
	for i := range c.Facts.Cgroup.Hierarchies {
		if h := &c.Facts.Cgroup.Hierarchies[i]; h.Named || h.Unified() {
			groups = append(groups, Cgroup{Hierarchy: h.Name, Mount: h.Mount, Path: c.unit.Path()})
		}
	}
	return groups
}

// ownCgroups are the cgroups that the runtime itself is in.
func ownCgroups(f *host.Facts) []Cgroup {
	var groups []Cgroup
	for i := range f.Cgroup.Hierarchies {
		h := &f.Cgroup.Hierarchies[i]
		groups = append(groups, Cgroup{Hierarchy: h.Name, Mount: h.Mount, Path: h.Own})
	}
	return groups
}

// hostPath makes a path of the host absolute: relative ones start at the bundle.
func (c *compiler) hostPath(p string) string {
	if path.IsAbs(p) {
		return p
	}
	return path.Join(c.Bundle, p)
}

// paths hides and protects paths of the kernel's file systems, last so that no mount
// covers them. A path that is named again is covered once, as in runc.
func (c *compiler) paths() {
	for i, p := range c.linux.MaskedPaths {
		if p = path.Clean("/" + p); !namedBefore(c.linux.MaskedPaths[:i], p) {
			c.add(Child, index("linux.maskedPaths", i), &MaskPath{Path: p, Label: c.linux.MountLabel})
		}
	}
	for i, p := range c.linux.ReadonlyPaths {
		if p = path.Clean("/" + p); !namedBefore(c.linux.ReadonlyPaths[:i], p) {
			c.add(Child, index("linux.readonlyPaths", i), &ReadonlyPath{Path: p})
		}
	}
	if c.Spec.Root.Readonly {
		c.add(Child, "root.readonly", &ReadonlyRoot{})
	}
}

// namedBefore reports whether a clean path is in a list of others.
func namedBefore(list []string, p string) bool {
	return slices.ContainsFunc(list, func(q string) bool { return path.Clean("/"+q) == p })
}

func (c *compiler) enterRoot() {
	c.add(Child, "root.path", &PivotRoot{Move: c.NoPivot})
	if p := propagationOption(c.linux.RootfsPropagation); p.Base() == Shared || p.Base() == Unbindable {
		c.add(Child, "linux.rootfsPropagation", &SetPropagation{Path: "/", Propagation: p})
	}
}

// sysctls writes kernel parameters of the container's namespaces.
func (c *compiler) sysctls() {
	for _, key := range sortedKeys(c.linux.Sysctl) {
		c.add(Child, "linux.sysctl["+key+"]", &SetSysctl{Path: sysctlPath(key), Value: c.linux.Sysctl[key]})
	}
}

// sysctlPath turns a key into a path, by sysctl(8): the first separator found, "." or
// "/", is the one that parts the components, and the other one stands for it inside them.
func sysctlPath(key string) string {
	i := strings.IndexAny(key, "./")
	if i < 0 || key[i] == '/' {
		return key
	}
	swap := func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}
	return strings.Map(swap, key)
}
