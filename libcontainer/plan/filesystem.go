package plan

import (
	"path"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// filesystem makes a file system, fills it where that is asked for, and puts it in place.
func (c *compiler) filesystem(i int, m *specs.Mount, o *mountOptions, noSymlinks bool) {
	field, dest := index("mounts", i), path.Clean("/"+m.Destination)
	// By attribute there is no label here: it would be set by name.
	data, _ := c.mountLabel(m.Type, strings.Join(o.data, ","))
	c.add(Child, field, &MakeFilesystem{
		Index: i, Destination: dest, Type: m.Type, Source: sourceName(m), Flags: o.flags, Data: data,
		Copied: o.copyUp, NoSymlinks: noSymlinks,
	})
	if o.copyUp {
		c.add(Runtime, field+".options", &CopyUp{
			Destination: dest, Charged: c.charged(), UserNS: c.ns.user(), UserNSPath: c.ns.pathOf("user"), KeepOwner: hasOwner(o.data),
		})
	}
	c.add(Child, field, &AttachFilesystem{Destination: dest, Flags: o.flags})
}

// charged are the hierarchies whose cgroup of the container limits memory.
func (c *compiler) charged() []string {
	if h := c.Facts.Cgroup.Find("memory"); h != nil && c.hasCgroups {
		return []string{h.Name}
	}
	return nil
}

// hasOwner reports whether a tmpfs is given an owner by its options, tmpfs(5).
func hasOwner(data []string) bool {
	for _, s := range data {
		if strings.HasPrefix(s, "uid=") || strings.HasPrefix(s, "gid=") {
			return true
		}
	}
	return false
}
