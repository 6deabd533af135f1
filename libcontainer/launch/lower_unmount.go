package launch

import (
	"path"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// unmount detaches what is mounted at a path without symlinks. umount2(2) takes a name, so
// it gets a single one, in a directory that is held open, and does not follow it.
func (w *lowering) unmount(a *plan.Unmount) {
	dir, base := path.Split(a.Destination)
	w.openat2(w.root, relative(path.Clean(dir)), unix.O_PATH|unix.O_DIRECTORY, noSymlinks).to(w.cur)
	w.call(unix.SYS_FCHDIR, w.cur)
	w.close(w.cur)
	const noFollow = 8 // UMOUNT_NOFOLLOW
	w.call(unix.SYS_UMOUNT2, base, unix.MNT_DETACH|noFollow)
}
