package plan

import (
	"path"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/idmap"
)

// openSources opens sources of bind mounts before the child is made: all of them for a
// process that joins a container, where the host is out of sight. Else it only reads symlinks
// that are to be copied.
func (c *compiler) openSources() {
	sources, found := c.sources(c.everySource)
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
		if !isBind(m, o) || o.remount || !all && !o.copySymlink {
			continue
		}
		if sources == nil {
			sources = make([]Source, len(c.Spec.Mounts))
		}
		s := Source{Path: c.hostPath(m.Source), Recursive: o.recursive, NoFollow: o.sourceNoFollow, Link: o.copySymlink}
		s.LinkOnly = s.Link && !all
		s.IDMap = c.idMap(i, m, o)
		sources[i] = s
	}
	return sources, sources != nil
}

// idMap decides between the mappings of the mount, of its option and of the container; nil
// without any.
func (c *compiler) idMap(i int, m *specs.Mount, o *mountOptions) *IDMap {
	if !o.idmapped && len(m.UIDMappings) == 0 {
		return nil
	}
	a := &IDMap{Recursive: o.idmap.Recursive}
	uids, gids := m.UIDMappings, m.GIDMappings
	if len(uids) == 0 {
		uids, gids = c.linux.UIDMappings, c.linux.GIDMappings
		if o.idmap.Value != "" {
			var err error
			if uids, gids, err = idmap.Parse(o.idmap.Value, uids, gids); err != nil {
				c.fail(index("mounts", i)+".options", err.Error())
			}
		} else if joined := c.ns.pathOf("user"); joined != "" {
			a.UserNS = joined
			return a
		}
	}
	a.UIDs, a.GIDs = idMappings(uids), idMappings(gids)
	return a
}

// inRoot is a host path below the root file system as a path of the container; "" for others.
func (c *compiler) inRoot(p string) string {
	if inside, ok := strings.CutPrefix(path.Clean(p), c.Rootfs+"/"); ok && c.Rootfs != "" {
		return "/" + inside
	}
	return ""
}

// StripRootfs makes destinations that begin with the host's path of the root file system
// paths of the container, as runc takes them.
func StripRootfs(mounts []specs.Mount, rootfs string) {
	for i := range mounts {
		if inside, ok := strings.CutPrefix(path.Clean(mounts[i].Destination), rootfs+"/"); ok {
			mounts[i].Destination = "/" + inside
		}
	}
}
