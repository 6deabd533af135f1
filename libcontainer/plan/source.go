package plan

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/idmap"
)

// openSources lets the privileged runtime open what a mapped root may not reach, and the
// sources whose owners are mapped. It reads symlinks that are to be copied.
func (c *compiler) openSources() {
	if !c.ns.has("mount") {
		return
	}
	sources, found := c.sources(c.everySource || c.ns.user() && c.Facts.UID == 0)
	if !found {
		return
	}
	a := &OpenSources{Sources: sources}
	switch propagationOption(c.linux.RootfsPropagation).Base() {
	case Shared:
	case Private, Unbindable:
		a.Propagation = RecPrivate
	default:
		a.Propagation = RecSlave
	}
	c.add(Runtime, "mounts", a)
}

func (c *compiler) sources(all bool) (sources []Source, found bool) {
	for i := range c.Spec.Mounts {
		m, o := &c.Spec.Mounts[i], &c.options[i]
		mapped := o.idmapped || len(m.UIDMappings) > 0
		if !isBind(m, o) || o.remount || !all && !mapped && !o.copySymlink {
			continue
		}
		if sources == nil {
			sources = make([]Source, len(c.Spec.Mounts))
		}
		s := Source{Path: c.hostPath(m.Source), Recursive: o.recursive, NoFollow: o.sourceNoFollow, Link: o.copySymlink}
		s.LinkOnly = s.Link && !all && !mapped
		if mapped {
			s.IDMap = c.idMap(i, m, o)
		}
		sources[i] = s
	}
	return sources, sources != nil
}

// idMap decides between the mappings of the mount, of its option and of the container.
func (c *compiler) idMap(i int, m *specs.Mount, o *mountOptions) *IDMap {
	a := &IDMap{Recursive: o.idmap.Recursive}
	uids, gids := m.UIDMappings, m.GIDMappings
	if len(uids) == 0 {
		uids, gids = c.linux.UIDMappings, c.linux.GIDMappings
		if o.idmap.Value != "" {
			var err error
			if uids, gids, err = idmap.Parse(o.idmap.Value, uids, gids); err != nil {
				c.fail(index("mounts", i)+".options", err.Error())
			}
		} else if path := c.ns.pathOf("user"); path != "" {
			a.UserNS = path
			return a
		}
	}
	a.UIDs, a.GIDs = idMappings(uids), idMappings(gids)
	return a
}
