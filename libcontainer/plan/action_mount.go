package plan

import "strings"

// AttributesByRemount says that the kernel has no mount_setattr(2): the attributes and the
// propagation of mounts are changed by mount(2), one mount at a time, once they are in place.
type AttributesByRemount struct{}

// SetPropagation changes how mounts propagate below a mount point, mount(2).
type SetPropagation struct {
	Path        string // host path before the root is pivoted, container path after
	Propagation Propagation
}

// MakeRoot binds the rootfs onto itself, so that it is a mount, and keeps it open:
// every later path is resolved in it.
type MakeRoot struct {
	Rootfs string
}

// Mount mounts a new file system in the root.
type Mount struct {
	Index       int // in config.json's mounts
	Destination string
	Type        string
	Source      string
	Flags       MountFlags
	Data        string // file system specific options, joined by commas
}

// BindMount makes a host path visible in the root.
type BindMount struct {
	Index       int
	Destination string
	Source      string // absolute host path
	// SourceInRoot is Source as a path of the container, where it lies below the root file
	// system: there it is what the mounts before this one have made of it.
	SourceInRoot string
	// ByRuntime says that the runtime opens a source which the child's user can't reach.
	ByRuntime bool
	IDMap     *IDMap // nil leaves the owners as they are
	Recursive bool
	Flags     MountFlags
	Remount   bool // change the flags of what is mounted at Destination; no Source
	// SourceNoFollow mounts a symlink itself, TargetNoFollow mounts on one.
	SourceNoFollow, TargetNoFollow bool
	// CopySymlink makes a symlink anew instead of mounting what it points to.
	CopySymlink bool
	// NoSymlinks refuses a destination that leads through symlinks.
	NoSymlinks bool
}

// CgroupMount shows the container its cgroups.
type CgroupMount struct {
	Index       int
	Destination string
	Flags       MountFlags
	// Cgroups are bound one by one below a tmpfs (cgroup v1); empty for cgroup v2.
	Cgroups []Cgroup
	// Fallback is bound when cgroup2 can't be mounted: a user namespace without a
	// cgroup namespace of its own.
	Fallback string
	Label    string // SELinux label of that tmpfs; "" for the policy's own
}

// Device is a device node to provide.
type Device struct {
	Path         string
	Type         byte // b, c, u (as c), p
	Major, Minor int64
	Mode         uint32
	UID, GID     uint32
}

// MakeDevice provides a device node; Bind takes the host's node of that path where
// mknod(2) is forbidden (user namespace).
type MakeDevice struct {
	Device
	Bind bool
}

// MakeDevLinks provides /dev/fd, stdin, stdout, stderr, core and ptmx.
type MakeDevLinks struct{}

// MakeDir makes a directory in the root if it is missing, with its parents.
type MakeDir struct {
	Path string
}

// MaskPath makes a path in the root unreadable.
type MaskPath struct {
	Path  string
	Label string // SELinux label of a masked directory; "" for the policy's own
}

// ReadonlyPath makes a path in the root read-only.
type ReadonlyPath struct {
	Path string
}

// ReadonlyRoot makes the root mount read-only.
type ReadonlyRoot struct{}

// PivotRoot makes the rootfs the root of the mount namespace and lets go of the old one.
type PivotRoot struct {
	// Move uses MS_MOVE and chroot instead: for a host root on a ramfs.
	Move bool
}

// Chroot changes the root directory: what is left without a mount namespace.
type Chroot struct {
	Rootfs string
}

func (*AttributesByRemount) String() string {
	return "change attributes of mounts by remounting them, for want of mount_setattr"
}

func (a *SetPropagation) String() string {
	return "set propagation of " + a.Path + " to " + a.Propagation.String()
}
func (a *MakeRoot) String() string { return "bind rootfs " + a.Rootfs + " onto itself" }
func (a *Mount) String() string {
	s := "mount " + a.Type + " on " + a.Destination + a.Flags.suffix()
	if a.Data != "" {
		s += " data " + a.Data
	}
	return s
}

func (a *BindMount) String() string {
	if a.Remount {
		return "remount " + a.Destination + a.Flags.suffix()
	}
	verb := "bind "
	if a.Recursive {
		verb = "bind recursively "
	}
	source := a.Source
	if a.SourceInRoot != "" {
		source = "the container's " + a.SourceInRoot
	}
	s := verb + source + " on " + a.Destination + a.Flags.suffix()
	if a.IDMap != nil {
		s += ", map the owners" + a.IDMap.String()
	}
	if a.SourceNoFollow {
		s += ", not following the source"
	}
	if a.TargetNoFollow {
		s += ", not following the target"
	}
	if a.CopySymlink {
		s += ", or copy it if it is a symlink"
	}
	return s
}

func (a *CgroupMount) String() string {
	if len(a.Cgroups) == 0 {
		return "mount cgroup2 on " + a.Destination + a.Flags.suffix()
	}
	names := make([]string, len(a.Cgroups))
	for i := range a.Cgroups {
		names[i] = a.Cgroups[i].Title()
	}
	return "mount cgroups " + strings.Join(names, " ") + " below " + a.Destination + a.Flags.suffix() + labelSuffix(a.Label)
}

func (a *MakeDevice) String() string {
	s := "make device " + a.Path + " " + string(a.Type) + " " + signed(a.Major) + ":" + signed(a.Minor) +
		" mode " + octal(a.Mode) + " owner " + number(a.UID) + ":" + number(a.GID)
	if a.Bind {
		s += " (bound from the host)"
	}
	return s
}
func (*MakeDevLinks) String() string { return "make the links of /dev" }
func (a *MakeDir) String() string    { return "make directory " + a.Path }
func (a *MaskPath) String() string   { return "mask " + a.Path + labelSuffix(a.Label) }
func (a *ReadonlyPath) String() string {
	return "make " + a.Path + " read-only"
}
func (*ReadonlyRoot) String() string { return "make the root read-only" }
func (a *PivotRoot) String() string {
	if a.Move {
		return "move the root"
	}
	return "pivot the root"
}

func (a *Chroot) String() string { return "change root to " + a.Rootfs }
