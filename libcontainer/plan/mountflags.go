package plan

import (
	"strings"

	"github.com/gantry-containers/gantry/libcontainer/idmap"
)

// MountFlag is one attribute of a mount or of its file system, by the kernel's name.
type MountFlag uint32

// The attributes of a mount (mount_setattr(2)) and, from FSSync on, of the file
// system itself (mount(2)).
const (
	ReadOnly MountFlag = 1 << iota
	NoSuid
	NoDev
	NoExec
	NoDirAtime
	NoSymFollow
	NoAtime // the three access time modes exclude each other
	StrictAtime
	RelAtime
	FSSync
	FSDirSync
	FSMandatoryLock
	FSVersion
	FSLazyTime
	FSSilent
)

// atimeMask are the flags that exclude each other.
const atimeMask = NoAtime | StrictAtime | RelAtime

// Propagation is how mount events spread, mount_namespaces(7).
type Propagation uint8

// The propagation types; zero leaves it as it is.
const (
	Unchanged Propagation = iota
	Private
	Slave
	Shared
	Unbindable
	RecPrivate
	RecSlave
	RecShared
	RecUnbindable
)

// Recursive reports whether p goes for all mounts below.
func (p Propagation) Recursive() bool { return p >= RecPrivate }

// Base is p without recursion.
func (p Propagation) Base() Propagation {
	if p.Recursive() {
		return p - RecPrivate + Private
	}
	return p
}

var propagationNames = [...]string{
	"unchanged", "private", "slave", "shared", "unbindable",
	"rprivate", "rslave", "rshared", "runbindable",
}

func (p Propagation) String() string { return propagationNames[p] }

// MountFlags says which attributes a mount gets and loses; Rec* go for all mounts
// below, too (the options rro, rnosuid … of runtime-spec).
type MountFlags struct {
	Set, Clear       MountFlag
	RecSet, RecClear MountFlag
	// Propagation are changes to make after mounting, in order.
	Propagation []Propagation
}

// Empty reports whether no attribute of the mount is asked for.
func (f *MountFlags) Empty() bool {
	return f.Set == 0 && f.Clear == 0 && f.RecSet == 0 && f.RecClear == 0
}

var flagNames = [...]string{
	"ro", "nosuid", "nodev", "noexec", "nodiratime", "nosymfollow", "noatime", "strictatime", "relatime",
	"sync", "dirsync", "mand", "iversion", "lazytime", "silent",
}

func (m MountFlag) names(prefix string) []string {
	var names []string
	for i, n := range flagNames {
		if m&(1<<i) != 0 {
			names = append(names, prefix+n)
		}
	}
	return names
}

// suffix renders the flags for the String methods of operations.
func (f *MountFlags) suffix() string {
	if s := f.String(); s != "" {
		return " (" + s + ")"
	}
	return ""
}

// String lists the flags, joined by commas.
func (f *MountFlags) String() string {
	names := f.Set.names("")
	names = append(names, f.Clear.names("not-")...)
	names = append(names, f.RecSet.names("r")...)
	names = append(names, f.RecClear.names("not-r")...)
	for _, p := range f.Propagation {
		names = append(names, p.String())
	}
	return strings.Join(names, ",")
}

// mountOptions is what the options of one mount ask for.
type mountOptions struct {
	flags     MountFlags
	data      []string
	bind      bool
	recursive bool
	remount   bool
	copyUp    bool
	idmapped  bool
	idmap     idmap.Option

	// crun's, for bind mounts whose source or target is a symlink
	sourceNoFollow, targetNoFollow, copySymlink bool
}

// parseMountOptions sorts the options of a mount into attributes, propagation and
// what only the file system understands; config.md "Linux mount options".
func parseMountOptions(options []string) (o mountOptions) {
	for _, s := range options {
		switch s {
		case "", "defaults", "rw", "bind", "rbind", "remount", "loud", "nolazytime", "async", "noiversion", "nomand":
			o.plain(s)
		case "tmpcopyup", "src-nofollow", "dest-nofollow", "copy-symlink":
			o.treatment(s)
		default:
			if p := propagationOption(s); p != Unchanged {
				o.flags.Propagation = append(o.flags.Propagation, p)
			} else if !o.attribute(s) && !o.idmapping(s) {
				o.data = append(o.data, s)
			}
		}
	}
	return o
}

// treatment handles the options that say how to mount, not what.
func (o *mountOptions) treatment(s string) {
	switch s {
	case "tmpcopyup":
		o.copyUp = true
	case "src-nofollow":
		o.sourceNoFollow = true
	case "dest-nofollow":
		o.targetNoFollow = true
	case "copy-symlink":
		o.copySymlink = true
	}
}

// idmapping handles the options that ask for other owners. It reports whether s is one.
func (o *mountOptions) idmapping(s string) bool {
	m, ok := idmap.Cut(s)
	if ok {
		o.idmapped, o.idmap = true, m
	}
	return ok
}

// plain handles the options that are neither attribute nor data.
func (o *mountOptions) plain(s string) {
	switch s {
	case "rw":
		o.clear(ReadOnly, false)
	case "bind":
		o.bind = true
	case "rbind":
		o.bind, o.recursive = true, true
	case "remount":
		o.remount = true
	case "loud":
		o.clear(FSSilent, false)
	case "async":
		o.clear(FSSync, false)
	case "nolazytime":
		o.clear(FSLazyTime, false)
	case "noiversion":
		o.clear(FSVersion, false)
	case "nomand":
		o.clear(FSMandatoryLock, false)
	}
}

func propagationOption(s string) Propagation {
	for i := Private; int(i) < len(propagationNames); i++ {
		if propagationNames[i] == s {
			return i
		}
	}
	return Unchanged
}

// attribute handles an option that sets or clears an attribute; with the prefix r it
// goes for all mounts below. It reports whether s is one.
func (o *mountOptions) attribute(s string) bool {
	if flag, set := attributeOption(s); flag != 0 {
		o.change(flag, set, false)
		return true
	}
	if rest, ok := strings.CutPrefix(s, "r"); ok {
		if flag, set := attributeOption(rest); flag != 0 && flag < FSSync {
			o.change(flag, set, true)
			return true
		}
		if rest == "rw" {
			o.clear(ReadOnly, true)
			return true
		}
	}
	return false
}

func (o *mountOptions) change(flag MountFlag, set, recursive bool) {
	if set {
		o.set(flag, recursive)
	} else {
		o.clear(flag, recursive)
	}
}

func (o *mountOptions) set(flag MountFlag, recursive bool) {
	set, clr := &o.flags.Set, &o.flags.Clear
	if recursive {
		set, clr = &o.flags.RecSet, &o.flags.RecClear
	}
	if flag&atimeMask != 0 {
		*set &^= atimeMask
		*clr &^= atimeMask
	}
	*set |= flag
	*clr &^= flag
}

func (o *mountOptions) clear(flag MountFlag, recursive bool) {
	if recursive {
		o.flags.RecSet &^= flag
		o.flags.RecClear |= flag
		return
	}
	o.flags.Set &^= flag
	o.flags.Clear |= flag
}

// attributeOption says which attribute an option names and whether it sets it.
func attributeOption(s string) (flag MountFlag, set bool) {
	switch s {
	case "ro":
		return ReadOnly, true
	case "nosuid":
		return NoSuid, true
	case "suid":
		return NoSuid, false
	case "nodev":
		return NoDev, true
	case "dev":
		return NoDev, false
	case "noexec":
		return NoExec, true
	case "exec":
		return NoExec, false
	case "nodiratime":
		return NoDirAtime, true
	case "diratime":
		return NoDirAtime, false
	case "nosymfollow":
		return NoSymFollow, true
	case "symfollow":
		return NoSymFollow, false
	}
	return timeOption(s)
}

// timeOption is attributeOption for access times and file system flags.
func timeOption(s string) (flag MountFlag, set bool) {
	switch s {
	case "noatime":
		return NoAtime, true
	case "strictatime":
		return StrictAtime, true
	case "relatime":
		return RelAtime, true
	case "atime":
		return NoAtime, false
	case "nostrictatime":
		return StrictAtime, false
	case "norelatime":
		return RelAtime, false
	case "sync":
		return FSSync, true
	case "dirsync":
		return FSDirSync, true
	case "mand":
		return FSMandatoryLock, true
	case "iversion":
		return FSVersion, true
	case "lazytime":
		return FSLazyTime, true
	case "silent":
		return FSSilent, true
	}
	return 0, false
}
