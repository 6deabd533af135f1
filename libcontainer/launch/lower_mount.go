package launch

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// mountAttr translates attributes to MOUNT_ATTR_* bits, mount_setattr(2). The access
// time modes are one field of three values there.
func mountAttr(set, clr plan.MountFlag) (attrSet, attrClr uint64) {
	table := [...]struct {
		flag plan.MountFlag
		attr uint64
	}{
		{plan.ReadOnly, unix.MOUNT_ATTR_RDONLY},
		{plan.NoSuid, unix.MOUNT_ATTR_NOSUID},
		{plan.NoDev, unix.MOUNT_ATTR_NODEV},
		{plan.NoExec, unix.MOUNT_ATTR_NOEXEC},
		{plan.NoDirAtime, unix.MOUNT_ATTR_NODIRATIME},
		{plan.NoSymFollow, unix.MOUNT_ATTR_NOSYMFOLLOW},
		{plan.NoAtime, unix.MOUNT_ATTR_NOATIME},
		{plan.StrictAtime, unix.MOUNT_ATTR_STRICTATIME},
	}
	for _, t := range table {
		if set&t.flag != 0 {
			attrSet |= t.attr
		}
		if clr&t.flag != 0 {
			attrClr |= t.attr
		}
	}
	const atime = plan.NoAtime | plan.StrictAtime | plan.RelAtime
	if (set|clr)&atime != 0 {
		attrClr |= unix.MOUNT_ATTR__ATIME
	}
	return attrSet, attrClr
}

// mountFlagBits translates attributes to MS_* bits, mount(2).
func mountFlagBits(set plan.MountFlag) uint64 {
	table := [...]struct {
		flag plan.MountFlag
		bit  uint64
	}{
		{plan.ReadOnly, unix.MS_RDONLY},
		{plan.NoSuid, unix.MS_NOSUID},
		{plan.NoDev, unix.MS_NODEV},
		{plan.NoExec, unix.MS_NOEXEC},
		{plan.NoDirAtime, unix.MS_NODIRATIME},
		{plan.NoSymFollow, unix.MS_NOSYMFOLLOW},
		{plan.NoAtime, unix.MS_NOATIME},
		{plan.StrictAtime, unix.MS_STRICTATIME},
		{plan.RelAtime, unix.MS_RELATIME},
		{plan.FSSync, unix.MS_SYNCHRONOUS},
		{plan.FSDirSync, unix.MS_DIRSYNC},
		{plan.FSMandatoryLock, unix.MS_MANDLOCK},
		{plan.FSVersion, unix.MS_I_VERSION},
		{plan.FSLazyTime, unix.MS_LAZYTIME},
		{plan.FSSilent, unix.MS_SILENT},
	}
	var bits uint64
	for _, t := range table {
		if set&t.flag != 0 {
			bits |= t.bit
		}
	}
	return bits
}

func propagationBits(p plan.Propagation) uint64 {
	switch p.Base() {
	case plan.Private:
		return unix.MS_PRIVATE
	case plan.Slave:
		return unix.MS_SLAVE
	case plan.Shared:
		return unix.MS_SHARED
	default:
		return unix.MS_UNBINDABLE
	}
}

// mountSetattr changes the mount that the descriptor in s is the root of.
func (w *lowering) mountSetattr(s slot, flags int, set, clr, propagation uint64) {
	w.call(unix.SYS_MOUNT_SETATTR, s, "", unix.AT_EMPTY_PATH|flags, w.u64s(set, clr, propagation, 0), 32)
}

// applyFlags gives the mount in s its attributes: its own, then those for all below.
func (w *lowering) applyFlags(s slot, f *plan.MountFlags) {
	if (f.Set|f.Clear)&perMount != 0 {
		w.changeMount(s, f.Set, f.Clear)
	}
	if set, clr := mountAttr(f.RecSet, f.RecClear); set|clr != 0 {
		w.mountSetattr(s, unix.AT_RECURSIVE, set, clr, 0)
	}
}

// propagate changes the propagation of the mount in s.
func (w *lowering) propagate(s slot, list []plan.Propagation) {
	for _, p := range list {
		if w.byRemount {
			bits := propagationBits(p)
			if p.Recursive() {
				bits |= unix.MS_REC
			}
			w.call(unix.SYS_MOUNT, 0, w.nameMount(s), 0, bits, 0)
			continue
		}
		flags := 0
		if p.Recursive() {
			flags = unix.AT_RECURSIVE
		}
		w.mountSetattr(s, flags, 0, 0, propagationBits(p))
	}
}

func (w *lowering) moveMount(from, to slot) {
	w.call(unix.SYS_MOVE_MOUNT, from, "", to, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

// cloneTree makes a detached copy of the mount at a host path in w.tree.
func (w *lowering) cloneTree(source string, recursive, noFollow bool) *step {
	flags := unix.OPEN_TREE_CLONE | unix.O_CLOEXEC
	if noFollow {
		flags |= unix.AT_SYMLINK_NOFOLLOW
	}
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	return w.call(unix.SYS_OPEN_TREE, atFDCWD, source, flags).to(w.tree)
}

// mount mounts a new file system: mount(2) on "." of the resolved directory takes one
// call where fsopen, fsconfig, fsmount and move_mount take six or more.
func (w *lowering) mount(a *plan.Mount) {
	data := w.dataArg(a.Data)
	switch {
	case a.Type == "proc" || a.Type == "sysfs":
		// Through a symlink in the image the file system would land where the masks don't
		// reach (CVE-2023-27561).
		w.targetDir(a.Destination, noSymlinks)
	case a.Type == "tmpfs" && !hasMode(a.Data):
		data = w.targetDirMode(a.Destination, "mode=", data, a.Data)
	default:
		w.targetDir(a.Destination, inRoot)
	}
	w.call(unix.SYS_FCHDIR, w.cur)
	w.close(w.cur)
	flags := a.Flags.Set
	if a.Type == "tmpfs" && !hasMode(a.Data) {
		flags &^= plan.ReadOnly // of the mount, not of the file system, as in runc
	}
	w.call(unix.SYS_MOUNT, a.Source, ".", a.Type, mountFlagBits(flags), data)
	if flags == a.Flags.Set && len(a.Flags.Propagation) == 0 && a.Flags.RecSet|a.Flags.RecClear == 0 {
		return
	}
	w.openat2(w.root, relative(a.Destination), unix.O_PATH|unix.O_DIRECTORY, inRoot).to(w.cur)
	if flags != a.Flags.Set {
		w.changeMount(w.cur, plan.ReadOnly, 0)
	}
	if set, clr := mountAttr(a.Flags.RecSet, a.Flags.RecClear); set|clr != 0 {
		w.mountSetattr(w.cur, unix.AT_RECURSIVE, set, clr, 0)
	}
	w.propagate(w.cur, a.Flags.Propagation)
	w.close(w.cur)
}

func (w *lowering) dataArg(data string) any {
	if data == "" {
		return 0
	}
	return data
}

func hasMode(data string) bool {
	return strings.HasPrefix(data, "mode=") || strings.Contains(data, ",mode=")
}

// targetDirMode opens the target of a tmpfs that has no mode of its own: it takes that of
// the directory it covers, or none, which is 1777, where that is made (as runc). The slot
// that it returns has the address of a text: the mode in octal, behind prefix and followed by
// more options if there are any; fallback where there is no such directory.
//
// struct statx is laid over the slots, which the runtime sees, so that its 16-bit stx_mode is
// the low half of one. The runtime makes the text: a straight line can't.
func (w *lowering) targetDirMode(dest, prefix string, fallback any, more string) slot {
	const statxSize, modeOffset = 256, 28
	if w.mode == 0 {
		for range modeOffset/8 + 1 {
			w.slot()
		}
		w.mode = w.slot()
		for range statxSize / 8 {
			w.slot()
		}
	}
	options := w.slot()
	text := uint64(w.arena.base) + scratchOffset + homeSize // ReadPasswd comes later
	first := w.openat2(w.root, relative(dest), unix.O_PATH|unix.O_DIRECTORY, inRoot).ok(unix.ENOENT).to(w.cur)
	w.call(unix.SYS_STATX, w.cur, "", unix.AT_EMPTY_PATH, unix.STATX_MODE, uint64(w.arena.word(w.mode))-modeOffset)
	w.request(func(p *Process) error {
		p.tellMode(prefix, more)
		return nil
	})
	w.set(text).to(options)
	over := w.set(0)
	w.onError(first)
	w.targetDir(dest, inRoot)
	w.store(fallback, options)
	w.onSuccess(over)
	return options
}

// store puts an argument into a slot.
func (w *lowering) store(arg any, to slot) {
	s := w.call(0, arg).to(to)
	s.nr = opSet
}

// tellMode writes the mode that targetDirMode found where its text is expected.
func (p *Process) tellMode(prefix, more string) {
	text := fmt.Sprintf("%s%04o", prefix, p.arena.slot(p.words.mode)&0o7777)
	if more != "" {
		text += "," + more
	}
	buf := p.arena.scratch()[homeSize:]
	n := copy(buf[:len(buf)-1], text) // mount(2) reads no more than a page
	buf[n] = 0
}

func (w *lowering) bindMount(a *plan.BindMount) {
	if a.Remount {
		w.openat2(w.root, relative(a.Destination), unix.O_PATH, inRoot).to(w.cur)
		w.applyFlags(w.cur, &a.Flags)
		w.propagate(w.cur, a.Flags.Propagation)
		w.close(w.cur)
		return
	}
	if text, ok := w.l.links[a.Index]; ok {
		w.copySymlink(a.Destination, text)
		return
	}
	if fd := w.l.source(a.Index); fd >= 0 {
		w.set(uint64(fd)).to(w.tree)
	} else {
		w.cloneSource(a)
	}
	w.bindFlags(&a.Flags)
	switch {
	case a.TargetNoFollow: // it must be there, as in crun
		w.openat2(w.root, relative(a.Destination), unix.O_PATH|unix.O_NOFOLLOW, inRoot).to(w.cur)
	case a.NoSymlinks:
		w.targetLike(a.Destination, noSymlinks)
	default:
		w.targetLike(a.Destination, inRoot)
	}
	w.moveMount(w.tree, w.cur)
	w.bindRemount(&a.Flags)
	w.propagate(w.tree, a.Flags.Propagation)
	w.close(w.cur)
	w.close(w.tree)
}

// cgroupMount shows cgroups: the one v2 hierarchy, or a tmpfs with a directory per v1
// hierarchy into which the container's cgroup is bound.
func (w *lowering) cgroupMount(a *plan.CgroupMount) {
	if len(a.Cgroups) == 0 {
		w.cgroup2Mount(a)
		return
	}
	w.targetDir(a.Destination, inRoot)
	w.call(unix.SYS_FCHDIR, w.cur)
	w.close(w.cur)
	w.call(unix.SYS_MOUNT, "cgroup", ".", "tmpfs", mountFlagBits(a.Flags.Set&^plan.ReadOnly), contextOption("mode=755,size=64k", a.Label))
	dir := w.tmp
	w.openat2(w.root, relative(a.Destination), unix.O_PATH|unix.O_DIRECTORY, inRoot).to(dir)
	flags := plan.MountFlags{Set: a.Flags.Set | a.Flags.RecSet, Clear: a.Flags.Clear}
	for i := range a.Cgroups {
		g := &a.Cgroups[i]
		w.call(unix.SYS_MKDIRAT, dir, g.Hierarchy, 0o755).ok(unix.EEXIST)
		w.openat2(dir, g.Hierarchy, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, inRoot).to(w.cur)
		w.cloneTree(g.Dir(), false, false)
		w.attach(&flags)
		w.close(w.tree)
		w.close(w.cur)
		if strings.Contains(g.Hierarchy, ",") { // programs look for each controller by name
			for name := range strings.SplitSeq(g.Hierarchy, ",") {
				w.call(unix.SYS_SYMLINKAT, g.Hierarchy, dir, name).ok(unix.EEXIST)
			}
		}
	}
	if (a.Flags.Set|a.Flags.RecSet)&plan.ReadOnly != 0 {
		w.changeMount(dir, plan.ReadOnly, 0)
	}
	w.propagate(dir, a.Flags.Propagation)
	w.close(dir)
}

// cgroup2Mount mounts cgroup2, or binds the host's view where the kernel refuses that:
// in a user namespace without a cgroup namespace.
func (w *lowering) cgroup2Mount(a *plan.CgroupMount) {
	w.targetDir(a.Destination, inRoot)
	w.call(unix.SYS_FCHDIR, w.cur)
	s := w.call(unix.SYS_MOUNT, "cgroup", ".", "cgroup2", mountFlagBits(a.Flags.Set), 0)
	if a.Fallback == "" {
		s.ok(unix.EBUSY)
		w.cgroup2Over(a)
		w.onSuccess(s)
		w.close(w.cur)
		return
	}
	s.ok(unix.EPERM, unix.EBUSY)
	w.cloneTree(a.Fallback, true, false)
	w.attach(&plan.MountFlags{Set: a.Flags.Set, Clear: a.Flags.Clear, RecSet: a.Flags.RecSet, RecClear: a.Flags.RecClear})
	w.close(w.tree)
	w.onSuccess(s)
	w.close(w.cur)
}

// cgroup2Over mounts cgroup2 over the same file system, as a bind of the host's /sys brings
// it along: mount(2) refuses that, move_mount(2) does not.
func (w *lowering) cgroup2Over(a *plan.CgroupMount) {
	const cloexec, create = 1, 6 // FSOPEN_CLOEXEC and FSMOUNT_CLOEXEC; FSCONFIG_CMD_CREATE
	set, _ := mountAttr(a.Flags.Set, 0)
	w.call(unix.SYS_FSOPEN, "cgroup2", cloexec).to(w.tmp)
	w.call(unix.SYS_FSCONFIG, w.tmp, create, 0, 0, 0)
	w.call(unix.SYS_FSMOUNT, w.tmp, cloexec, set).to(w.tree)
	w.close(w.tmp)
	w.moveMount(w.tree, w.cur)
	w.close(w.tree)
}
