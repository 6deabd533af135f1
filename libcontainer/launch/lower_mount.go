package launch

import (
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
	if set, clr := mountAttr(f.Set, f.Clear); set|clr != 0 {
		w.mountSetattr(s, 0, set, clr, 0)
	}
	if set, clr := mountAttr(f.RecSet, f.RecClear); set|clr != 0 {
		w.mountSetattr(s, unix.AT_RECURSIVE, set, clr, 0)
	}
}

// propagate changes the propagation of the mount in s.
func (w *lowering) propagate(s slot, list []plan.Propagation) {
	for _, p := range list {
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
func (w *lowering) cloneTree(source string, recursive, noFollow bool) {
	flags := unix.OPEN_TREE_CLONE | unix.O_CLOEXEC
	if noFollow {
		flags |= unix.AT_SYMLINK_NOFOLLOW
	}
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	w.call(unix.SYS_OPEN_TREE, atFDCWD, source, flags).to(w.tree)
}

// mount mounts a new file system: mount(2) on "." of the resolved directory takes one
// call where fsopen, fsconfig, fsmount and move_mount take six or more.
func (w *lowering) mount(a *plan.Mount) {
	mode, keepMode := slot(0), a.Type == "tmpfs" && !hasMode(a.Data)
	switch {
	case a.Type == "proc" || a.Type == "sysfs":
		// Through a symlink in the image the file system would land where the masks don't
		// reach (CVE-2023-27561).
		w.targetDir(a.Destination, noSymlinks)
	case keepMode:
		mode = w.targetDirMode(a.Destination)
	default:
		w.targetDir(a.Destination, inRoot)
	}
	w.call(unix.SYS_FCHDIR, w.cur)
	w.close(w.cur)
	flags := a.Flags.Set
	if keepMode {
		flags &^= plan.ReadOnly // until it has its mode
	}
	w.call(unix.SYS_MOUNT, a.Source, ".", a.Type, mountFlagBits(flags), w.dataArg(a.Data))
	if !keepMode && len(a.Flags.Propagation) == 0 && a.Flags.RecSet|a.Flags.RecClear == 0 {
		return
	}
	w.openat2(w.root, relative(a.Destination), unix.O_RDONLY|unix.O_DIRECTORY, inRoot).to(w.cur)
	if keepMode {
		w.call(unix.SYS_FCHMOD, w.cur, mode)
	}
	if flags != a.Flags.Set {
		w.mountSetattr(w.cur, 0, unix.MOUNT_ATTR_RDONLY, 0, 0)
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

// targetDirMode opens the target of a tmpfs that has no mode of its own: it takes that
// of the directory it covers, or 1777 where there was none (as runc). The mode reaches
// fchmod through a slot: struct statx is laid over the slots so that its 16-bit stx_mode
// is the low half of one; fchmod(2) takes no more than those bits.
func (w *lowering) targetDirMode(dest string) slot {
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
	mode := w.mode
	first := w.openat2(w.root, relative(dest), unix.O_PATH|unix.O_DIRECTORY, inRoot).ok(unix.ENOENT).to(w.cur)
	w.call(unix.SYS_STATX, w.cur, "", unix.AT_EMPTY_PATH, unix.STATX_MODE, uint64(w.arena.word(mode))-modeOffset)
	over := w.set(0)
	w.onError(first)
	w.makeDirs(dest, inRoot)
	w.openat2(w.root, relative(dest), unix.O_PATH|unix.O_DIRECTORY, inRoot).to(w.cur)
	w.set(0o1777).to(mode)
	w.onSuccess(over)
	return mode
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
		w.cloneTree(a.Source, a.Recursive, a.SourceNoFollow)
	}
	w.applyFlags(w.tree, &a.Flags)
	switch {
	case a.TargetNoFollow: // it must be there, as in crun
		w.openat2(w.root, relative(a.Destination), unix.O_PATH|unix.O_NOFOLLOW, inRoot).to(w.cur)
	case a.NoSymlinks:
		w.targetLike(a.Destination, noSymlinks)
	default:
		w.targetLike(a.Destination, inRoot)
	}
	w.moveMount(w.tree, w.cur)
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
	set, clr := mountAttr(a.Flags.Set|a.Flags.RecSet, a.Flags.Clear)
	for i := range a.Cgroups {
		g := &a.Cgroups[i]
		w.call(unix.SYS_MKDIRAT, dir, g.Hierarchy, 0o755).ok(unix.EEXIST)
		w.openat2(dir, g.Hierarchy, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, inRoot).to(w.cur)
		w.cloneTree(g.Dir(), false, false)
		w.mountSetattr(w.tree, 0, set, clr, 0)
		w.moveMount(w.tree, w.cur)
		w.close(w.tree)
		w.close(w.cur)
		if strings.Contains(g.Hierarchy, ",") { // programs look for each controller by name
			for name := range strings.SplitSeq(g.Hierarchy, ",") {
				w.call(unix.SYS_SYMLINKAT, g.Hierarchy, dir, name).ok(unix.EEXIST)
			}
		}
	}
	if (a.Flags.Set|a.Flags.RecSet)&plan.ReadOnly != 0 {
		w.mountSetattr(dir, 0, unix.MOUNT_ATTR_RDONLY, 0, 0)
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
	w.applyFlags(w.tree, &a.Flags)
	w.moveMount(w.tree, w.cur)
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
