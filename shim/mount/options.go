package mount

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// options are the options of one mount, in the kernel's terms.
type options struct {
	flags       uintptr // MS_*, without the propagation
	cleared     uintptr // those of perMount that an option takes away (suid, dev …)
	propagation uintptr // of a call of its own, or 0
	data        []string
	loop        bool
	directIO    bool // of the loop device
	uidmap      string
	gidmap      string
}

// perMount are the flags that a mount has for itself, apart from its file system's.
const perMount = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME |
	unix.MS_NODIRATIME | unix.MS_RELATIME | unix.MS_STRICTATIME

// flagOptions are the options of mount(8) that are flags of mount(2). It is a list and no map since a map would be
// made, and kept, in every shim that just waits.
var flagOptions = [...]struct {
	name                    string
	set, clear, propagation uintptr
}{
	{name: "defaults"},
	{name: "ro", set: unix.MS_RDONLY},
	{name: "rw", clear: unix.MS_RDONLY},
	{name: "bind", set: unix.MS_BIND},
	{name: "rbind", set: unix.MS_BIND | unix.MS_REC},
	{name: "remount", set: unix.MS_REMOUNT},
	{name: "nosuid", set: unix.MS_NOSUID},
	{name: "suid", clear: unix.MS_NOSUID},
	{name: "nodev", set: unix.MS_NODEV},
	{name: "dev", clear: unix.MS_NODEV},
	{name: "noexec", set: unix.MS_NOEXEC},
	{name: "exec", clear: unix.MS_NOEXEC},
	{name: "noatime", set: unix.MS_NOATIME},
	{name: "atime", clear: unix.MS_NOATIME},
	{name: "nodiratime", set: unix.MS_NODIRATIME},
	{name: "diratime", clear: unix.MS_NODIRATIME},
	{name: "relatime", set: unix.MS_RELATIME},
	{name: "norelatime", clear: unix.MS_RELATIME},
	{name: "strictatime", set: unix.MS_STRICTATIME},
	{name: "nostrictatime", clear: unix.MS_STRICTATIME},
	{name: "lazytime", set: unix.MS_LAZYTIME},
	{name: "nolazytime", clear: unix.MS_LAZYTIME},
	{name: "sync", set: unix.MS_SYNCHRONOUS},
	{name: "async", clear: unix.MS_SYNCHRONOUS},
	{name: "dirsync", set: unix.MS_DIRSYNC},
	{name: "mand", set: unix.MS_MANDLOCK},
	{name: "nomand", clear: unix.MS_MANDLOCK},
	{name: "private", propagation: unix.MS_PRIVATE},
	{name: "rprivate", propagation: unix.MS_PRIVATE | unix.MS_REC},
	{name: "shared", propagation: unix.MS_SHARED},
	{name: "rshared", propagation: unix.MS_SHARED | unix.MS_REC},
	{name: "slave", propagation: unix.MS_SLAVE},
	{name: "rslave", propagation: unix.MS_SLAVE | unix.MS_REC},
	{name: "unbindable", propagation: unix.MS_UNBINDABLE},
	{name: "runbindable", propagation: unix.MS_UNBINDABLE | unix.MS_REC},
}

// parse sorts the options: what is no flag and not ours is data for the file system. The last of two that
// contradict each other counts, as in mount(8).
func parse(list []string) (*options, error) {
	o := &options{}
	for _, s := range list {
		if strings.HasPrefix(s, "X-containerd.") {
			return nil, fmt.Errorf("options: %s is for the daemon's mount manager, not for the shim", s)
		}
		if !o.flag(s) && !o.ours(s) {
			o.data = append(o.data, s)
		}
	}
	if (o.uidmap == "") != (o.gidmap == "") {
		return nil, errors.New("options: uidmap and gidmap come together")
	}
	return o, nil
}

// flag takes an option that is a flag of mount(2).
func (o *options) flag(s string) bool {
	for i := range flagOptions {
		f := &flagOptions[i]
		if f.name != s {
			continue
		}
		o.flags = o.flags&^f.clear | f.set
		o.cleared = o.cleared&^f.set | f.clear&perMount
		if f.propagation != 0 {
			o.propagation = f.propagation
		}
		return true
	}
	return false
}

// ours takes an option that neither the kernel nor the file system knows.
func (o *options) ours(s string) bool {
	name, value, _ := strings.Cut(s, "=")
	switch name {
	case "loop":
		o.loop = true
	case "uidmap":
		o.uidmap = value
	case "gidmap":
		o.gidmap = value
	default:
		return false
	}
	return true
}

// idmapped tells whether the mount's owners are to be mapped.
func (o *options) idmapped() bool { return o.uidmap != "" }

// size is that of the data for the kernel, in bytes.
func (o *options) size() int {
	n := 0
	for _, s := range o.data {
		n += len(s) + len(",")
	}
	return n - 1
}

// withData is a copy with other data.
func (o *options) withData(data []string) *options {
	c := *o
	c.data = data
	return &c
}

// maxData is what mount(2) reads of its last argument: a page, and the last byte of it is a zero.
func maxData() int { return os.Getpagesize() - 1 }

// mountFlags are statfs(2)'s flags as mount(2) has them.
func mountFlags(st int64) uintptr {
	flags := uintptr(st) & (unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME)
	if st&unix.ST_RELATIME != 0 {
		flags |= unix.MS_RELATIME
	}
	return flags
}
