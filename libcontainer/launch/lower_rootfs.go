package launch

import (
	"path"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

func (w *lowering) setPropagation(a *plan.SetPropagation) {
	flags := propagationBits(a.Propagation)
	if a.Propagation.Recursive() {
		flags |= unix.MS_REC
	}
	w.call(unix.SYS_MOUNT, 0, a.Path, 0, flags, 0)
}

// makeRoot makes the rootfs a mount, as pivot_root(2) wants it, and opens what must be
// opened on the host's side of it.
func (w *lowering) makeRoot(a *plan.MakeRoot) {
	w.call(unix.SYS_MOUNT, a.Rootfs, a.Rootfs, 0, unix.MS_BIND|unix.MS_REC, 0)
	w.openRoot(a.Rootfs)
	w.rootfs = a.Rootfs
}

// pivotRoot swaps the roots without a directory for the old one, pivot_root(2). The old
// root is made a slave first, so that letting go of it is not seen on the host.
func (w *lowering) pivotRoot(a *plan.PivotRoot) {
	if w.haveNull {
		w.close(w.null)
	}
	if w.haveMask {
		w.close(w.mask)
	}
	if w.byRemount {
		w.call(unix.SYS_CLOSE, w.l.named) // it leads to some file of the container
	}
	if a.Move {
		w.moveRoot()
		return
	}
	w.call(unix.SYS_FCHDIR, w.root)
	w.openat2(atFDCWD, "/", unix.O_PATH|unix.O_DIRECTORY, 0).to(w.tmp)
	w.call(unix.SYS_PIVOT_ROOT, ".", ".")
	// Into the old root: it now lies on the new one, and mount(2) of "." would change that.
	w.call(unix.SYS_FCHDIR, w.tmp)
	w.close(w.tmp)
	w.call(unix.SYS_MOUNT, 0, ".", 0, unix.MS_SLAVE|unix.MS_REC, 0)
	w.call(unix.SYS_UMOUNT2, ".", unix.MNT_DETACH)
	w.call(unix.SYS_CHDIR, "/")
}

func (w *lowering) chroot(a *plan.Chroot) {
	if w.rootfs == "" { // else MakeRoot has opened it
		w.openRoot(a.Rootfs)
	}
	w.call(unix.SYS_FCHDIR, w.root)
	w.call(unix.SYS_CHROOT, ".")
	w.call(unix.SYS_CHDIR, "/")
}

// hostNull opens the host's /dev/null, before the first mask.
func (w *lowering) hostNull() slot {
	if !w.haveNull {
		w.haveNull = true
		w.openat2(atFDCWD, "/dev/null", unix.O_PATH, unix.RESOLVE_NO_SYMLINKS).to(w.null)
	}
	return w.null
}

// emptyDir makes one empty read-only tmpfs that covers every masked directory.
func (w *lowering) emptyDir(label string) slot {
	if !w.haveMask {
		w.haveMask = true
		const cloexec, create = 1, 6 // FSOPEN_CLOEXEC and FSMOUNT_CLOEXEC; FSCONFIG_CMD_CREATE
		w.call(unix.SYS_FSOPEN, "tmpfs", cloexec).to(w.cur)
		w.call(unix.SYS_FSCONFIG, w.cur, 1, "nr_blocks", "1", 0)
		w.call(unix.SYS_FSCONFIG, w.cur, 1, "nr_inodes", "1", 0)
		if label != "" {
			w.call(unix.SYS_FSCONFIG, w.cur, 1, "context", label, 0)
		}
		w.call(unix.SYS_FSCONFIG, w.cur, create, 0, 0, 0)
		w.call(unix.SYS_FSMOUNT, w.cur, cloexec, unix.MOUNT_ATTR_RDONLY).to(w.mask)
		w.close(w.cur)
	}
	return w.mask
}

// maskPath covers a directory with the empty one and anything else with /dev/null. What
// it is decides O_DIRECTORY; what is missing or out of reach needs no mask.
func (w *lowering) maskPath(a *plan.MaskPath) {
	dir, null := w.emptyDir(a.Label), w.hostNull()
	name := relative(a.Path)
	asDir := w.openat2(w.root, name, unix.O_PATH|unix.O_DIRECTORY, inRoot).ok(unix.ENOENT, unix.ENOTDIR, unix.EACCES).to(w.cur)
	w.coverWithEmpty(dir)
	over := w.set(0)
	w.onError(asDir)
	asFile := w.openat2(w.root, name, unix.O_PATH, inRoot).ok(unix.ENOENT, unix.EACCES, unix.ENOTDIR).to(w.cur)
	w.coverWith(null)
	w.onError(asFile)
	w.onSuccess(over)
}

// coverWithEmpty is coverWith for the empty directory. Before Linux 6.15 open_tree(2) copies
// only what is mounted somewhere: there the first directory gets the mount itself, and the
// following ones get copies of that.
func (w *lowering) coverWithEmpty(dir slot) {
	clone := w.call(unix.SYS_OPEN_TREE, dir, "", unix.OPEN_TREE_CLONE|unix.O_CLOEXEC|unix.AT_EMPTY_PATH).ok(unix.EINVAL).to(w.tree)
	w.moveMount(w.tree, w.cur)
	w.close(w.tree)
	over := w.set(0)
	w.onError(clone)
	w.moveMount(dir, w.cur)
	w.onSuccess(over)
	w.close(w.cur)
}

// coverWith mounts a copy of the mount in s on the path in w.cur.
func (w *lowering) coverWith(s slot) {
	w.call(unix.SYS_OPEN_TREE, s, "", unix.OPEN_TREE_CLONE|unix.O_CLOEXEC|unix.AT_EMPTY_PATH).to(w.tree)
	w.moveMount(w.tree, w.cur)
	w.close(w.tree)
	w.close(w.cur)
}

func (w *lowering) readonlyPath(a *plan.ReadonlyPath) {
	open := w.openat2(w.root, relative(a.Path), unix.O_PATH, inRoot).ok(unix.ENOENT).to(w.cur)
	w.call(unix.SYS_OPEN_TREE, w.cur, "", unix.OPEN_TREE_CLONE|unix.O_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE).to(w.tree)
	if w.byRemount { // only the topmost of what is mounted there; the container's own procfs has nothing more
		w.attach(&plan.MountFlags{Set: plan.ReadOnly})
	} else {
		w.attach(&plan.MountFlags{RecSet: plan.ReadOnly})
	}
	w.close(w.tree)
	w.close(w.cur)
	w.onError(open)
}

// makeDevice makes a node in its directory, which is held open: a name that the image
// already has there is left alone. Where nodes are forbidden the host's is bound.
func (w *lowering) makeDevice(a *plan.MakeDevice) {
	dir, base := path.Split(a.Path)
	dir = path.Clean(dir)
	if dir == "/" {
		w.openat2(w.root, ".", unix.O_PATH|unix.O_DIRECTORY, inRoot).to(w.cur)
	} else {
		w.targetDir(dir, inRoot)
	}
	if a.Bind {
		w.bindDevice(a.Path, base)
		w.close(w.cur)
		return
	}
	made := w.call(unix.SYS_MKNODAT, w.cur, base, deviceMode(a), unix.Mkdev(uint32(a.Major), uint32(a.Minor))).ok(unix.EEXIST, unix.EPERM)
	exists := w.call(unix.SYS_FACCESSAT2, w.cur, base, unix.F_OK, unix.AT_SYMLINK_NOFOLLOW).ok(unix.ENOENT)
	over := w.set(0)
	w.onError(exists)
	w.bindDevice(a.Path, base) // EPERM: a runtime that is itself confined
	overBind := w.set(0)
	w.onSuccess(made)
	if a.UID != 0 || a.GID != 0 {
		w.call(unix.SYS_FCHOWNAT, w.cur, base, int(a.UID), int(a.GID), unix.AT_SYMLINK_NOFOLLOW)
	}
	w.onSuccess(over)
	w.onSuccess(overBind)
	w.close(w.cur)
}

func deviceMode(a *plan.MakeDevice) int {
	switch a.Type {
	case 'b':
		return unix.S_IFBLK | int(a.Mode)
	case 'p':
		return unix.S_IFIFO | int(a.Mode)
	default:
		return unix.S_IFCHR | int(a.Mode)
	}
}

// bindDevice binds the host's node of the same path to the name in the directory w.cur.
func (w *lowering) bindDevice(hostPath, base string) {
	w.cloneTree(hostPath, false, false)
	w.call(unix.SYS_MKNODAT, w.cur, base, unix.S_IFREG|0o644, 0).ok(unix.EEXIST)
	w.openat2(w.cur, base, unix.O_PATH|unix.O_NOFOLLOW, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS).to(w.tmp)
	w.moveMount(w.tree, w.tmp)
	w.close(w.tmp)
	w.close(w.tree)
}

// makeDevLinks makes the symlinks of config-linux.md "Default Devices" and "/dev/ptmx".
func (w *lowering) makeDevLinks() {
	w.targetDir("/dev", inRoot)
	for _, l := range [...][2]string{
		{"/proc/self/fd", "fd"},
		{"/proc/self/fd/0", "stdin"},
		{"/proc/self/fd/1", "stdout"},
		{"/proc/self/fd/2", "stderr"},
	} {
		w.call(unix.SYS_SYMLINKAT, l[0], w.cur, l[1]).ok(unix.EEXIST)
	}
	kcore := w.call(unix.SYS_FACCESSAT, atFDCWD, "/proc/kcore", unix.F_OK).ok(unix.ENOENT, unix.EACCES)
	w.call(unix.SYS_SYMLINKAT, "/proc/kcore", w.cur, "core").ok(unix.EEXIST)
	w.onError(kcore)
	w.call(unix.SYS_UNLINKAT, w.cur, "ptmx", 0).ok(unix.ENOENT)
	w.call(unix.SYS_SYMLINKAT, "pts/ptmx", w.cur, "ptmx")
	w.close(w.cur)
}
