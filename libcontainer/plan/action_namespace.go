package plan

import "strings"

// Namespace is one namespace of the container: a new one, or one joined by path.
type Namespace struct {
	Type string // as in config.json: pid, network, mount, ipc, uts, user, cgroup, time
	Path string // "" makes a new one
}

// Clone makes the child with the given new namespaces. Where there is cgroup v2 it is born
// in the container's cgroup: a process that joins one makes the kernel wait for 10 to 15 ms.
type Clone struct {
	New        []string
	IntoCgroup bool
	// MayFail is set where the cgroup only tracks the container, beside those of v1.
	MayFail bool
}

// SealExe protects the runtime's binary from the container: the child unmaps all of
// it and points its exe at a sealed page (docs/decisions/0006).
type SealExe struct{}

// Undumpable keeps other processes from opening the child's descriptors and memory.
type Undumpable struct{}

// CloseFDs closes every descriptor but stdio, those that later steps need, and the
// preserved ones from 3 on.
type CloseFDs struct {
	Preserve int
}

// JoinNamespaces enters existing namespaces, in order.
type JoinNamespaces struct {
	Namespaces []Namespace
	// KeepGroups keeps the runtime's groups in a user namespace.
	KeepGroups bool
}

// JoinContainer enters the namespaces of a running container.
type JoinContainer struct {
	Types []string
	// KeepGroups keeps the runtime's groups in a user namespace.
	KeepGroups bool
}

// Unshare makes new namespaces that Clone could not make.
type Unshare struct {
	New []string
}

// SetTimeOffsets writes the clock offsets of the new time namespace, before any
// process lives in it, time_namespaces(7).
type SetTimeOffsets struct {
	Offsets []TimeOffset
}

// TimeOffset shifts one clock.
type TimeOffset struct {
	Clock   string // monotonic, boottime
	Secs    int64
	Nanosec uint32
}

// Fork makes the process that will be the container's from the one that joined
// namespaces: a pid namespace takes effect in children only, as does a time
// namespace. The first process ends.
type Fork struct {
	New []string
}

// IDMapping is a range of user or group ids, user_namespaces(7).
type IDMapping struct {
	ContainerID, HostID, Size uint32
}

// WriteIDMaps gives the child's user namespace its ids, directly or through
// newuidmap(1) and newgidmap(1).
type WriteIDMaps struct {
	UIDs, GIDs []IDMapping
	// Helpers says that the user may not write the maps alone.
	Helpers bool
	// DenySetgroups is needed to write a gid map without privilege.
	DenySetgroups bool
}

// BecomeRoot takes ids 0 of the user namespace, which owns everything that follows.
type BecomeRoot struct {
	// KeepGroups is set where setgroups(2) is denied, or the groups are wanted.
	KeepGroups bool
}

func (a *Clone) String() string {
	s := "clone a child"
	if len(a.New) > 0 {
		s += " with new namespaces " + strings.Join(a.New, " ")
	}
	if a.IntoCgroup {
		s += ", in the container's cgroup"
	}
	if a.MayFail {
		s += " of v2, if possible"
	}
	return s
}
func (*SealExe) String() string    { return "unmap the runtime's binary and seal exe" }
func (*Undumpable) String() string { return "set not dumpable" }
func (a *CloseFDs) String() string {
	return "close descriptors, keep " + count(a.Preserve) + " from 3 on"
}

func (a *JoinNamespaces) String() string {
	return "join namespaces " + join(a.Namespaces, func(n *Namespace) string { return n.Type + ":" + n.Path })
}

func (a *JoinContainer) String() string {
	return "join the container's namespaces " + strings.Join(a.Types, " ")
}
func (a *Unshare) String() string { return "make new namespaces " + strings.Join(a.New, " ") }
func (a *SetTimeOffsets) String() string {
	return "set clock offsets " + join(a.Offsets, (*TimeOffset).String)
}

// String renders the offset as /proc/PID/timens_offsets takes it.
func (o *TimeOffset) String() string {
	return o.Clock + " " + signed(o.Secs) + " " + number(o.Nanosec)
}

func (a *Fork) String() string {
	s := "fork the container's process"
	if len(a.New) > 0 {
		s += " with new namespaces " + strings.Join(a.New, " ")
	}
	return s
}

func (a *WriteIDMaps) String() string {
	line := func(m *IDMapping) string { return "(" + m.String() + ")" }
	s := "write id maps: uid " + join(a.UIDs, line) + ", gid " + join(a.GIDs, line)
	if a.Helpers {
		return s + ", with newuidmap and newgidmap"
	}
	return s + ", directly"
}

// String renders the mapping as /proc/PID/uid_map takes it.
func (m *IDMapping) String() string {
	return number(m.ContainerID) + " " + number(m.HostID) + " " + number(m.Size)
}
func (*BecomeRoot) String() string { return "become user 0 and group 0 of the user namespace" }
