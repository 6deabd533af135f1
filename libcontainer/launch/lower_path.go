package launch

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/inroot"
	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// How paths of the container are looked up: absolute symlinks and ".." stay below the
// root, links of procfs that jump anywhere are refused.
const (
	inRoot     = inroot.Resolve
	noSymlinks = inroot.ResolveNoLinks
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
// Each parent is looked up anew in the root, so a symlink on the way is followed inside
// it; at one that dangles the rest is left out.
func (w *lowering) makeDirs(dir string, resolve uint64) {
	parts := strings.Split(relative(dir), "/")
	var dangling []*step
	for i, name := range parts {
		if i == 0 {
			w.call(unix.SYS_MKDIRAT, w.root, name, 0o755).ok(unix.EEXIST)
			continue
		}
		parent := w.openat2(w.root, strings.Join(parts[:i], "/"), unix.O_PATH|unix.O_DIRECTORY, resolve).ok(unix.ENOENT).to(w.tmp)
		dangling = append(dangling, parent)
		w.call(unix.SYS_MKDIRAT, w.tmp, name, 0o755).ok(unix.EEXIST)
		w.close(w.tmp)
	}
	for _, s := range dangling {
		w.onError(s)
	}
}

// makeFile makes an empty file below the root, with its parents.
func (w *lowering) makeFile(dest string, resolve uint64) {
	dir, base := path.Split(dest)
	if dir = path.Clean(dir); dir != "/" {
		w.makeDirs(dir, resolve)
	}
	parent := w.openat2(w.root, relative(dir), unix.O_PATH|unix.O_DIRECTORY, resolve).ok(unix.ENOENT).to(w.tmp)
	w.call(unix.SYS_MKNODAT, w.tmp, base, unix.S_IFREG|0o644, 0).ok(unix.EEXIST)
	w.close(w.tmp)
	w.onError(parent)
}

// request is a target that the child could not make: a symlink on the way dangles, and
// what it points to is text, with which a straight line can do nothing. Images have such
// links (/etc/resolv.conf), so the runtime makes the target, in the child's root.
type request struct {
	op   uint16 // index of the operation that wants it
	path string
	dir  bool
}

// requestMark in a report's second word tells a request from an errno and a barrier.
const requestMark = 1 << 30

// ask has the runtime make a target; not where no symlink may lead to it.
func (w *lowering) ask(dest string, dir bool, resolve uint64) {
	if resolve == noSymlinks {
		return
	}
	msg := w.u32s(uint32(len(w.requests)), requestMark)
	w.requests = append(w.requests, request{op: w.op, path: dest, dir: dir})
	w.meet(msg)
}

// targetDir opens a directory of the container, making it if it is missing.
func (w *lowering) targetDir(dest string, resolve uint64) {
	open := func() *step {
		return w.openat2(w.root, relative(dest), unix.O_PATH|unix.O_DIRECTORY, resolve).to(w.cur)
	}
	first := open().ok(unix.ENOENT)
	w.makeDirs(dest, resolve)
	second := open().ok(unix.ENOENT)
	w.ask(dest, true, resolve)
	open()
	w.onSuccess(first)
	w.onSuccess(second)
}

// targetLike opens a path of the container to be covered by what the descriptor in
// w.tree is, making a directory or a file if it is missing.
func (w *lowering) targetLike(dest string, resolve uint64) {
	open := func() *step { return w.openat2(w.root, relative(dest), unix.O_PATH, resolve).to(w.cur) }
	first := open().ok(unix.ENOENT)
	isDir := w.call(unix.SYS_OPENAT, w.tree, ".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0).ok(unix.ENOTDIR).to(w.tmp)
	w.close(w.tmp)
	w.makeDirs(dest, resolve)
	dir := open().ok(unix.ENOENT)
	w.ask(dest, true, resolve)
	over := w.set(0)
	w.onError(isDir)
	w.makeFile(dest, resolve)
	file := open().ok(unix.ENOENT)
	w.ask(dest, false, resolve)
	w.onSuccess(over)
	open()
	for _, s := range []*step{first, dir, file} {
		w.onSuccess(s)
	}
}

func (w *lowering) makeDir(a *plan.MakeDir) {
	w.targetDir(a.Path, inRoot)
	w.close(w.cur)
}

// openRoot keeps the directory open that container paths are resolved in.
func (w *lowering) openRoot(dir string) {
	w.openat2(atFDCWD, dir, unix.O_PATH|unix.O_DIRECTORY, 0).to(w.root)
}
