package launch

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/internal/bug"
)

// mapCode puts the replay loop into the arena's code page, backed by a sealed memfd
// of its own, and returns the memfd: the child's exe will point there (lowerSealExe).
// With vm.memfd_noexec=2 an executable memfd is refused; then the page is anonymous
// and the descriptor is the runtime's own binary behind a read-only detached mount.
func (a *arena) mapCode() (exeFD int, err error) {
	code := pageCode()
	fd, err := executableMemfd("gantry-init")
	if errors.Is(err, unix.EACCES) {
		return a.mapCodeAnonymous(code)
	}
	if err != nil {
		return -1, err
	}
	if err := a.fillMemfd(fd, code); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (a *arena) fillMemfd(fd int, code []byte) error {
	if n, err := unix.Write(fd, code); err != nil || n != len(code) {
		return errors.Join(unix.EIO, err)
	}
	if err := sealBinary(fd); err != nil {
		return err
	}
	_, err := mmap(a.code(), uintptr(unix.Getpagesize()), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_FIXED, fd)
	return err
}

// mapCodeAnonymous is mapCode's second way.
func (a *arena) mapCodeAnonymous(code []byte) (int, error) {
	copy(unsafe.Slice((*byte)(pointer(a.code())), len(code)), code)
	if _, _, errno := unix.RawSyscall(unix.SYS_MPROTECT, a.code(), uintptr(unix.Getpagesize()), unix.PROT_READ|unix.PROT_EXEC); errno != 0 {
		return -1, errno
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, "/proc/self/exe", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(tree) }()
	attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, attr); err != nil {
		return -1, err
	}
	return reopen(tree)
}

// endMark stands behind the last instruction of replay and of dying.
const endMark = uint64(0x444e4559_544e4147)

// maxLoop bounds the search for endMark, in bytes, and is where dying is in the code page.
const maxLoop = 2048

// pageCode is what the code page holds: the loop, and the signal handler behind it.
func pageCode() []byte {
	handler := codeFrom(dyingAddress())
	code := make([]byte, maxLoop+len(handler))
	copy(code, codeFrom(replayAddress()))
	copy(code[maxLoop:], handler)
	return code
}

// codeFrom returns the machine code from an address to the end mark, a view of this
// binary's text.
func codeFrom(start unsafe.Pointer) []byte {
	for n := range uintptr(maxLoop) {
		low := *(*uint32)(unsafe.Add(start, n))
		if uint64(low) == endMark&0xffffffff && *(*uint32)(unsafe.Add(start, n+4)) == uint32(endMark>>32) {
			return unsafe.Slice((*byte)(start), n)
		}
	}
	bug.Found("code without an end mark")
	return nil
}
