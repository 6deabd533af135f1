package plan

// MakeFilesystem makes a new file system that is mounted nowhere yet, and opens the
// directory of the container that AttachFilesystem will put it on.
type MakeFilesystem struct {
	Index       int // in the list of mounts
	Destination string
	Type        string
	Source      string
	Flags       MountFlags
	Data        string // file system specific options, joined by commas
	// Copied says that CopyUp follows, which is given both directories.
	Copied bool
	// NoSymlinks refuses a destination that leads through symlinks.
	NoSymlinks bool
}

// CopyUp copies what a directory of the container has into the file system that will cover
// it, by a process in the container's user namespace, at the expense of its memory limit
// (docs/decisions/0015).
type CopyUp struct {
	Destination string
	// Charged are the hierarchies with the container's memory limit.
	Charged []string
	// UserNS says that the container has a user namespace of its own, UserNSPath where it is
	// unless it is new.
	UserNS     bool
	UserNSPath string
	// KeepOwner leaves the owner of the new file system's root as the options say.
	KeepOwner bool
}

// AttachFilesystem puts the file system of MakeFilesystem on its directory.
type AttachFilesystem struct {
	Destination string
	Flags       MountFlags
}

func (a *MakeFilesystem) String() string {
	s := "make " + a.Type + " for " + a.Destination
	if a.Data != "" {
		s += " data " + a.Data
	}
	return s
}

func (a *CopyUp) String() string { return "copy what " + a.Destination + " has into it" }

func (a *AttachFilesystem) String() string {
	return "put it on " + a.Destination + a.Flags.suffix()
}
