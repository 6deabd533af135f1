package launch

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

// moveRoot makes the container's root the root of its mount namespace without
// pivot_root(2). The host's mounts stay in the namespace below it, out of reach by name.
// Its procfs and sysfs must go: the kernel lets a user namespace mount a fresh one,
// without our masks, if a whole one is anywhere in the namespace, mount_too_revealing().
func (w *lowering) moveRoot() {
	for _, m := range kernelMounts(w.rootfs) {
		w.call(unix.SYS_MOUNT, 0, m, 0, unix.MS_PRIVATE, 0).okAny()
		gone := w.call(unix.SYS_UMOUNT2, m, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW).ok(unix.EINVAL, unix.EPERM, unix.ENOENT)
		over := w.set(0)
		w.onError(gone) // EINVAL: it is locked to its place, in a user namespace; cover it
		w.call(unix.SYS_MOUNT, "tmpfs", m, "tmpfs", unix.MS_RDONLY, "nr_inodes=1").ok(unix.ENOENT)
		w.onSuccess(over)
	}
	w.call(unix.SYS_FCHDIR, w.root)
	w.call(unix.SYS_MOUNT, ".", "/", 0, unix.MS_MOVE, 0)
	w.call(unix.SYS_CHROOT, ".")
	w.call(unix.SYS_CHDIR, "/")
}

// kernelMounts are the mount points of procfs and sysfs outside the rootfs, those inside
// others first.
func kernelMounts(rootfs string) []string {
	mounts, err := host.Mounts()
	if err != nil {
		return []string{"/sys", "/proc"}
	}
	var points []string
	for _, m := range slices.Backward(mounts) {
		inside := m.Point == rootfs || strings.HasPrefix(m.Point, rootfs+"/")
		if (m.Type == "proc" || m.Type == "sysfs") && !inside {
			points = append(points, m.Point)
		}
	}
	return points
}
