package launch

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// cloneSource makes a detached copy of a bind mount's source in w.tree, with its owners mapped.
// It does so in the child's mount namespace: there the mounts before this one are seen, and in
// a user namespace the attributes that the host gave its mounts are locked.
func (w *lowering) cloneSource(a *plan.BindMount) {
	switch {
	case a.SourceInRoot != "":
		w.cloneInside(a)
	case a.ByRuntime:
		clone := w.cloneTree(a.Source, a.Recursive, a.SourceNoFollow).ok(unix.EACCES)
		over := w.set(0)
		w.onError(clone)
		w.openat2(atFDCWD, "/", unix.O_PATH|unix.O_DIRECTORY, 0).to(w.cur)
		w.cloneByRuntime(a, w.cur, a.Source, unix.RESOLVE_IN_ROOT)
		w.close(w.cur)
		w.onSuccess(over)
	default:
		w.cloneTree(a.Source, a.Recursive, a.SourceNoFollow)
	}
	if a.IDMap != nil {
		op := w.op
		w.request(func(p *Process) error { return p.mapTree(op, a) })
	}
}

// cloneInside is cloneSource for what lies below the root file system, where an image or a
// volume may have put symlinks: they are followed inside it.
func (w *lowering) cloneInside(a *plan.BindMount) {
	open := w.openat2(w.root, relative(a.SourceInRoot), sourceFlags(a), inRoot).to(w.tmp)
	if a.ByRuntime {
		open.ok(unix.EACCES)
	}
	w.cloneDescriptor(w.tmp, a.Recursive)
	w.close(w.tmp)
	if a.ByRuntime {
		over := w.set(0)
		w.onError(open)
		w.cloneByRuntime(a, w.root, a.SourceInRoot, inRoot)
		w.onSuccess(over)
	}
}

func sourceFlags(a *plan.BindMount) uint64 {
	if a.SourceNoFollow {
		return unix.O_PATH | unix.O_NOFOLLOW
	}
	return unix.O_PATH
}

// cloneDescriptor makes a detached copy of the mount at a descriptor in w.tree.
func (w *lowering) cloneDescriptor(from slot, recursive bool) {
	flags := unix.OPEN_TREE_CLONE | unix.O_CLOEXEC | unix.AT_EMPTY_PATH
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	w.call(unix.SYS_OPEN_TREE, from, "", flags).to(w.tree)
}

// cloneByRuntime has the runtime open a source below a directory of the child's mount
// namespace, with its own rights.
func (w *lowering) cloneByRuntime(a *plan.BindMount, dir slot, name string, resolve uint64) {
	op := w.op
	fd := w.receive(func(p *Process) error {
		fd, err := p.openInChild(dir, name, sourceFlags(a), resolve)
		if err != nil {
			return &Error{Field: p.ops[op].Field + ".source", Op: a, Call: "openat2 " + name, Errno: err}
		}
		p.reply = fd
		return nil
	})
	w.cloneDescriptor(fd, a.Recursive)
	w.close(fd)
}

// receive is request for an answer that brings a descriptor along. The control message is laid
// over three slots, so that the descriptor is the low half of the last.
func (w *lowering) receive(answer request) slot {
	w.receiving()
	const controlSize = 24
	_, buf := w.arena.alloc(8)
	msg := w.u64s(0, 0, w.u64s(buf, 1), 1, uint64(w.arena.word(w.passed-2)), controlSize, 0)
	w.send(answer)
	w.call(unix.SYS_RECVMSG, w.l.sync, msg, unix.MSG_CMSG_CLOEXEC).atLeast(1)
	return w.passed
}

// receiving is where the descriptor will be; without one in the answer it stays what it is.
func (w *lowering) receiving() slot {
	if w.passed == 0 {
		w.slot()
		w.slot()
		w.passed = w.slot()
	}
	return w.passed
}

// openInChild opens a path below a directory that the child has open.
func (p *Process) openInChild(dir slot, name string, flags, resolve uint64) (int, error) {
	fd, err := unix.PidfdGetfd(p.PIDFD, int(int32(p.arena.slot(dir))), 0)
	if err != nil {
		return -1, fmt.Errorf("pidfd_getfd: %w", err)
	}
	defer unix.Close(fd)
	return unix.Openat2(fd, relative(name), &unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: resolve})
}

// mapTree maps the owners of the detached mount that the child has in w.tree: only the owner
// of a file system may.
func (p *Process) mapTree(op uint16, a *plan.BindMount) error {
	call := "pidfd_getfd"
	fd, err := unix.PidfdGetfd(p.PIDFD, int(int32(p.arena.slot(p.words.tree))), 0)
	if err == nil {
		defer unix.Close(fd)
		call, err = "mount_setattr", p.launch.mapOwners(fd, a.IDMap)
	}
	if err != nil {
		return &Error{Field: p.ops[op].Field + ".source", Op: a, Call: call, Errno: fmt.Errorf("map the owners: %w", err)}
	}
	return nil
}

// lockable are the attributes that a mount of the host keeps in a user namespace, beside its
// access times.
const lockable = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC

// bindFlags gives the bind mount in w.tree its attributes. As in runc, no option leaves those
// of the source; any option means exactly the named ones, but for access times, which stay
// unless one of theirs is asked for. In a user namespace, where the source's may be locked,
// they are kept unless an option says otherwise: that is refused.
func (w *lowering) bindFlags(f *plan.MountFlags) {
	if w.byRemount { // later, see bindRemount
		return
	}
	if f.Set|f.Clear != 0 {
		set, _ := mountAttr(f.Set, 0)
		clr := uint64(lockable|unix.MOUNT_ATTR_NOSYMFOLLOW) &^ set
		_, explicit := mountAttr(0, f.Clear)
		const times = plan.NoAtime | plan.StrictAtime | plan.RelAtime | plan.NoDirAtime
		timesClr := uint64(0)
		if f.Set&times != 0 {
			timesClr = unix.MOUNT_ATTR__ATIME | unix.MOUNT_ATTR_NODIRATIME
		}
		attr := w.u64s(set, clr|timesClr, 0, 0)
		exact := w.call(unix.SYS_MOUNT_SETATTR, w.tree, "", unix.AT_EMPTY_PATH, attr, 32).ok(unix.EPERM)
		over := w.set(0)
		w.onError(exact)
		w.mountSetattr(w.tree, 0, set, clr&explicit|timesClr|unix.MOUNT_ATTR_NOSYMFOLLOW&^set, 0)
		w.onSuccess(over)
	}
	if set, clr := mountAttr(f.RecSet, f.RecClear); set|clr != 0 {
		w.mountSetattr(w.tree, unix.AT_RECURSIVE, set, clr, 0)
	}
}
