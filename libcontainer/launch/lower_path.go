package launch

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// How paths of the container are looked up: absolute symlinks and ".." stay below the
// root, links of procfs that jump anywhere are refused.
const (
	inRoot     = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	noSymlinks = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS
)

// openat2 opens a path; the descriptor is close-on-exec.
func (w *lowering) openat2(dir any, name string, flags, resolve uint64) *step {
	return w.call(unix.SYS_OPENAT2, dir, name, w.u64s(flags|unix.O_CLOEXEC, 0, resolve), 24)
}

// relative cuts the leading slash off a container path, and names the root ".".
func relative(p string) string {
	if p = strings.TrimPrefix(p, "/"); p == "" {
		return "."
	}
	return p
}

// makeDirs makes a directory and its parents below the root, one step a component.
// Each parent is looked up anew in the root, so a symlink on the way is followed inside it.
func (w *lowering) makeDirs(dir string) {
	parts := strings.Split(relative(dir), "/")
	for i, name := range parts {
		if i == 0 {
			w.call(unix.SYS_MKDIRAT, w.root, name, 0o755).ok(unix.EEXIST)
			continue
		}
		w.openat2(w.root, strings.Join(parts[:i], "/"), unix.O_PATH|unix.O_DIRECTORY, inRoot).to(w.tmp)
		w.call(unix.SYS_MKDIRAT, w.tmp, name, 0o755).ok(unix.EEXIST)
		w.close(w.tmp)
	}
}

// targetDir opens a directory of the container, making it if it is missing.
func (w *lowering) targetDir(dest string, resolve uint64) {
	first := w.openat2(w.root, relative(dest), unix.O_PATH|unix.O_DIRECTORY, resolve).ok(unix.ENOENT).to(w.cur)
	w.makeDirs(dest)
	w.openat2(w.root, relative(dest), unix.O_PATH|unix.O_DIRECTORY, resolve).to(w.cur)
	w.onSuccess(first)
}

// makeFile makes an empty file below the root, with its parents.
func (w *lowering) makeFile(dest string) {
	dir, base := path.Split(dest)
	w.makeDirsUnlessRoot(dir)
	w.openat2(w.root, relative(path.Clean(dir)), unix.O_PATH|unix.O_DIRECTORY, inRoot).to(w.tmp)
	w.call(unix.SYS_MKNODAT, w.tmp, base, unix.S_IFREG|0o644, 0).ok(unix.EEXIST)
	w.close(w.tmp)
}

func (w *lowering) makeDirsUnlessRoot(dir string) {
	if dir = path.Clean(dir); dir != "/" && dir != "." {
		w.makeDirs(dir)
	}
}

// targetLike opens a path of the container to be covered by what the descriptor in
// w.tree is, making a directory or a file if it is missing.
func (w *lowering) targetLike(dest string) {
	first := w.openat2(w.root, relative(dest), unix.O_PATH, inRoot).ok(unix.ENOENT).to(w.cur)
	isDir := w.call(unix.SYS_OPENAT, w.tree, ".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0).ok(unix.ENOTDIR).to(w.tmp)
	w.close(w.tmp)
	w.makeDirs(dest)
	over := w.set(0)
	w.onError(isDir)
	w.makeFile(dest)
	w.onSuccess(over)
	w.openat2(w.root, relative(dest), unix.O_PATH, inRoot).to(w.cur)
	w.onSuccess(first)
}

func (w *lowering) makeDir(a *plan.MakeDir) {
	w.targetDir(a.Path, inRoot)
	w.close(w.cur)
}

// openRoot keeps the directory open that container paths are resolved in.
func (w *lowering) openRoot(dir string) {
	w.openat2(atFDCWD, dir, unix.O_PATH|unix.O_DIRECTORY, 0).to(w.root)
}
