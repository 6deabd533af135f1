package plan

import (
	"path"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

// checkMount refuses what one mount asks for and this kernel can't do.
func (c *compiler) checkMount(i int, m *specs.Mount, o *mountOptions) {
	if !c.Facts.Lacks(host.NoSymFollow) { // the youngest of them
		return
	}
	field, setattr := index("mounts", i), !c.Facts.Lacks(host.MountSetattr)
	for j, s := range m.Options {
		var one mountOptions
		if _, mapped := one.idmapping(s), one.idmapped; mapped && !setattr {
			c.lacks(index(field+".options", j), s, host.MountSetattr)
		}
		one.attribute(s)
		plain, recursive := one.flags.Set|one.flags.Clear, one.flags.RecSet|one.flags.RecClear
		switch {
		case recursive != 0 && !setattr:
			c.lacks(index(field+".options", j), s, host.MountSetattr)
		case setattr && (recursive&NoSymFollow != 0 || plain&NoSymFollow != 0 && isBind(m, o)):
			c.lacks(index(field+".options", j), s, host.NoSymFollow)
		}
	}
	if len(m.UIDMappings) > 0 && !setattr {
		c.lacks(field+".uidMappings", "an id-mapped mount", host.MountSetattr)
	}
}

// lacks notes that the kernel is too old for a value.
func (c *compiler) lacks(field, value string, x host.Feature) {
	c.fail(field, value+": "+x.Needed()+", this is Linux "+
		strconv.Itoa(c.Facts.Kernel.Major)+"."+strconv.Itoa(c.Facts.Kernel.Minor))
}

// protectCgroupfs makes the host's cgroups read-only that a bind brought along, one by one.
func (c *compiler) protectCgroupfs(i int, m *specs.Mount, dest string) {
	source := path.Clean(m.Source)
	for j := range c.Facts.Cgroup.Hierarchies {
		rest, below := strings.CutPrefix(c.Facts.Cgroup.Hierarchies[j].Mount, source+"/")
		if below {
			c.add(Child, index("mounts", i), &BindMount{
				Index: i, Destination: path.Join(dest, rest), Flags: MountFlags{Set: ReadOnly}, Remount: true,
			})
		}
	}
}
