package launch

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/fault"
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

// request is what the child asks of the runtime in the middle of an operation, because a
// straight line can't do it.
type request func(p *Process) error

// request appends a stop of the child until the runtime has answered.
func (w *lowering) request(answer request) {
	w.send(answer)
	w.await()
}

// send asks for an answer.
func (w *lowering) send(answer request) {
	msg := w.u32s(uint32(len(w.requests)), requestMark)
	w.requests = append(w.requests, answer)
	w.call(unix.SYS_WRITE, w.l.sync, msg, 8).atLeast(8)
}

// requestMark in a report's second word tells a request from an errno and a barrier.
const requestMark = 1 << 30

// ask has the runtime make a target; not where no symlink may lead to it. The child could
// not: a symlink on the way dangles, and what it points to is text. Images have such links
// (/etc/resolv.conf).
func (w *lowering) ask(dest string, dir bool, resolve uint64) {
	if resolve == noSymlinks {
		return
	}
	op := w.op
	w.request(func(p *Process) error {
		if err := p.makeTarget(dest, dir); err != nil {
			return fault.LaunchFailed.Atf(p.ops[op].Field, "mount target: %w", err)
		}
		return nil
	})
}

// makeTarget makes a target that the child asked for, in the child's root. Where the runtime
// may not reach into the child (rootless) it does nothing, and the child reports the target as
// missing.
func (p *Process) makeTarget(dest string, dir bool) error {
	root, err := unix.PidfdGetfd(p.PIDFD, int(int32(p.arena.slot(p.words.root))), 0)
	if err != nil {
		return nil
	}
	defer unix.Close(root)
	if dir {
		return inroot.MakeDir(root, inroot.Path(dest))
	}
	return inroot.MakeFile(root, inroot.Path(dest))
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
