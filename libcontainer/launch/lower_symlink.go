package launch

import (
	"encoding/binary"
	"path"

	"golang.org/x/sys/unix"
)

// copySymlink makes a symlink in the container. One that is there already, because the root
// file system was used before, must say the same.
func (w *lowering) copySymlink(dest, text string) {
	dir, base := path.Split(dest)
	if dir = path.Clean(dir); dir != "/" {
		w.makeDirs(dir, inRoot)
	}
	w.openat2(w.root, relative(dir), unix.O_PATH|unix.O_DIRECTORY, inRoot).to(w.tmp)
	made := w.call(unix.SYS_SYMLINKAT, text, w.tmp, base).ok(unix.EEXIST)
	over := w.set(0)
	w.onError(made)
	w.sameLink(base, text)
	w.onSuccess(over)
	w.close(w.tmp)
}

// sameLink fails unless a name in the directory w.tmp is a symlink with that text. Steps
// can't compare; futex(2) can, a word at a time: FUTEX_CMP_REQUEUE answers EAGAIN when the
// word is not the expected one, and here has nobody to wake or move.
func (w *lowering) sameLink(base, text string) {
	const cmpRequeuePrivate = 4 | 128
	size := (len(text) + 4) / 4 * 4 // at least one zero byte: a longer text differs there
	_, addr := w.arena.alloc(size)
	want := make([]byte, size)
	copy(want, text)
	w.call(unix.SYS_READLINKAT, w.tmp, base, addr, size)
	for i := 0; i < size; i += 4 {
		word := uint64(binary.NativeEndian.Uint32(want[i:]))
		w.call(unix.SYS_FUTEX, addr+uint64(i), cmpRequeuePrivate, 0, 0, addr, word)
	}
}
