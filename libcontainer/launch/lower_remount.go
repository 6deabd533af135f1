package launch

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// Linux 5.10 and 5.11 have no mount_setattr(2). mount(2) does the same for a mount that is
// in its place already, one at a time. It takes names only; that of a descriptor, in the
// private procfs, leads to the very mount that was opened, whatever an attacker does to
// paths. The number in that name must be known before the child runs, so a descriptor is
// copied to one that prepare has reserved.

// perMount are the attributes of a mount, not of its file system.
const perMount = plan.ReadOnly | plan.NoSuid | plan.NoDev | plan.NoExec | plan.NoDirAtime | plan.NoSymFollow |
	plan.NoAtime | plan.StrictAtime | plan.RelAtime

// Flags of statfs(2); the first four are numbered like those of mount(2).
const (
	statRelAtime    = 0x1000
	statNoSymFollow = 0x2000
)

// nameMount returns a name for what the descriptor in s is, in the working directory.
func (w *lowering) nameMount(s slot) string {
	w.call(unix.SYS_DUP3, s, w.l.named, unix.O_CLOEXEC)
	w.call(unix.SYS_FCHDIR, w.l.procFS)
	return "self/fd/" + itoa(w.l.named)
}

// remount changes attributes of the mount that the descriptor in s is the root of. mount(2)
// takes all attributes anew, so those that are to stay are asked for: dropping one that the
// mount has is forbidden in a user namespace, and a hole elsewhere.
func (w *lowering) remount(s slot, set, clr plan.MountFlag) *step {
	name := w.nameMount(s)
	now, flags := w.mountStat()
	keep, add, restore := remountBits(set, clr)
	w.bits(now, keep, add).to(flags)
	if restore {
		other := w.bits(now, unix.MS_NOATIME|statRelAtime, 0)
		w.bits(flags, ^uint64(0), unix.MS_STRICTATIME).to(flags)
		w.onPositive(other)
	}
	if (set|clr)&plan.NoSymFollow == 0 {
		has := w.bits(now, statNoSymFollow, 0)
		over := w.set(0)
		w.onPositive(has)
		w.bits(flags, ^uint64(0), unix.MS_NOSYMFOLLOW).to(flags)
		w.onSuccess(over)
	}
	return w.call(unix.SYS_MOUNT, 0, name, 0, flags, 0)
}

// remountBits are the flags that a remount keeps of what the mount has, and those that it
// adds. restoreMode asks for strictatime where the mount has no other mode: its absence
// would mean relatime as soon as anything is said about access times.
func remountBits(set, clr plan.MountFlag) (keep, add uint64, restoreMode bool) {
	const modes = plan.NoAtime | plan.StrictAtime | plan.RelAtime
	keep = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	add = unix.MS_REMOUNT | unix.MS_BIND | mountFlagBits(set&perMount)
	if (set|clr)&(modes|plan.NoDirAtime) != 0 { // otherwise mount(2) leaves access times alone
		add |= unix.MS_RELATIME // that something is said; it yields to any other mode
		keep |= unix.MS_NODIRATIME
		if restoreMode = (set|clr)&modes == 0; restoreMode {
			keep |= unix.MS_NOATIME
		}
	}
	return keep &^ mountFlagBits(clr), add, restoreMode
}

// mountStat asks for the flags of the mount that nameMount named. struct statfs is laid over
// slots, as struct statx is in targetDirMode; flags is a slot to work in.
func (w *lowering) mountStat() (now, flags slot) {
	const words = int(unsafe.Sizeof(unix.Statfs_t{})) / 8
	const flagsWord = int(unsafe.Offsetof(unix.Statfs_t{}.Flags)) / 8
	if w.statfs == 0 {
		w.flags, w.statfs = w.slot(), w.slot()
		for range words - 1 {
			w.slot()
		}
	}
	w.call(unix.SYS_FSTATFS, w.l.named, uint64(w.arena.word(w.statfs)))
	return w.statfs + slot(flagsWord), w.flags
}

// changeMount changes attributes of the attached mount that the descriptor in s is the root of.
func (w *lowering) changeMount(s slot, set, clr plan.MountFlag) {
	if w.byRemount {
		w.remount(s, set, clr)
		return
	}
	attrSet, attrClr := mountAttr(set, clr)
	w.mountSetattr(s, 0, attrSet, attrClr, 0)
}

// attach mounts the detached tree in w.tree on what w.cur is, with its attributes: before
// it can be reached where the kernel allows that.
func (w *lowering) attach(f *plan.MountFlags) {
	if !w.byRemount {
		w.applyFlags(w.tree, f)
	}
	w.moveMount(w.tree, w.cur)
	if w.byRemount {
		w.applyFlags(w.tree, f)
	}
	w.propagate(w.tree, f.Propagation)
}

// bindRemount does what bindFlags does, by remount, once the mount is in place.
func (w *lowering) bindRemount(f *plan.MountFlags) {
	if !w.byRemount || f.Set|f.Clear == 0 {
		return
	}
	const times = plan.NoAtime | plan.StrictAtime | plan.RelAtime | plan.NoDirAtime
	others := (plan.ReadOnly | plan.NoSuid | plan.NoDev | plan.NoExec) &^ f.Set
	always := plan.NoSymFollow &^ f.Set
	if f.Set&times != 0 {
		always |= (plan.NoAtime | plan.NoDirAtime) &^ f.Set
	}
	exact := w.remount(w.tree, f.Set, others|always).ok(unix.EPERM)
	over := w.set(0)
	w.onError(exact)
	w.remount(w.tree, f.Set, others&f.Clear|always)
	w.onSuccess(over)
}
