package plan

import "strings"

// OpenSources opens the sources of bind mounts in the runtime's mount namespace, and maps the
// owners of their files: a process that joined a container does not see them. It reads
// symlinks that are to be made anew.
type OpenSources struct {
	Sources []Source // by index in config.json's mounts; an empty Path where none is needed
	// Propagation is what the mounts would have as the mount namespace's own copies.
	Propagation Propagation
}

// Source is a bind mount's source.
type Source struct {
	Path      string
	Recursive bool
	NoFollow  bool // a symlink is the source itself
	// Link asks for the text of a symlink: it is made anew instead of a mount. Another kind
	// of file is opened as ever, unless LinkOnly leaves that to the child.
	Link, LinkOnly bool
	IDMap          *IDMap // nil leaves the owners as they are
}

// IDMap changes the owners of a mount's files, mount_setattr(2) MOUNT_ATTR_IDMAP: with the
// mappings, of ids in the file system to ids of the host, or as a user namespace does.
type IDMap struct {
	UIDs, GIDs []IDMapping
	UserNS     string // path of the user namespace; "" where there are mappings
	Recursive  bool
}

func (a *OpenSources) String() string {
	var b strings.Builder
	b.WriteString("open the sources of bind mounts")
	for i := range a.Sources {
		if s := &a.Sources[i]; s.Link {
			b.WriteString("; read the symlink " + s.Path + ", if it is one")
		} else if s.IDMap != nil {
			b.WriteString("; map the owners of " + s.Path + s.IDMap.String())
		}
	}
	return b.String()
}

// String renders the mapping for a plan.
func (m *IDMap) String() string {
	s := ""
	if m.Recursive {
		s = " and all below"
	}
	if m.UserNS != "" {
		return s + " as user:" + m.UserNS + " does"
	}
	line := func(m *IDMapping) string { return "(" + m.String() + ")" }
	return s + ": uid " + join(m.UIDs, line) + ", gid " + join(m.GIDs, line)
}
