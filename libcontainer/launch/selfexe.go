package launch

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrNoExeSwap says that the kernel, or a filter on the runtime, keeps a process from
// changing what its exe link points at, so a container could reach the runtime's binary.
// A caller may run the same command again from SealedCopy.
var ErrNoExeSwap = errors.New("the runtime's binary can't be protected: prctl PR_SET_MM_MAP is refused")

// ErrCgo says that the program is linked with cgo. The C library has memory registered with the
// kernel (rseq(2)) that a child, which unmaps all of the program, would be killed for.
var ErrCgo = errors.New("this program is linked with cgo and can start no container: build it with CGO_ENABLED=0")

// iscgo is set by runtime/cgo, where that is linked.
//
//go:linkname iscgo runtime.iscgo
var iscgo bool

// binarySeals are what make a copy of the runtime safe to be seen by a container.
const binarySeals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// ProtectExe makes sure, before anything is done, that a child's exe link will lead to no
// file of the host: the swap of SealExe is possible, or this process itself runs from a
// sealed copy. Otherwise the error wraps ErrNoExeSwap, or is ErrCgo.
func ProtectExe() error {
	if iscgo {
		return ErrCgo
	}
	if err := swapRefused(); err != nil && !runsSealed() {
		return fmt.Errorf("%w: %w", ErrNoExeSwap, err)
	}
	return nil
}

// swapRefused asks for the size of PR_SET_MM_MAP's argument, prctl(2): the question is
// refused by what would refuse the call itself, a kernel without CONFIG_CHECKPOINT_RESTORE
// (EINVAL, EPERM) or a system call filter, and needs no capability.
func swapRefused() error {
	var size uint32
	_, _, errno := unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_MM, unix.PR_SET_MM_MAP_SIZE, uintptr(unsafe.Pointer(&size)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// runsSealed asks the kernel, not the environment: that a container's config may set.
func runsSealed() bool {
	fd, err := unix.Open("/proc/self/exe", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return isSealed(fd)
}

func isSealed(fd int) bool {
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	return err == nil && seals&binarySeals == binarySeals
}

// SealedCopy returns a memfd with the runtime's own binary that nobody can change any
// more, to be executed in its place. The descriptor is the caller's, close-on-exec.
func SealedCopy() (fd int, err error) {
	own, err := unix.Open("/proc/self/exe", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open /proc/self/exe: %w", err)
	}
	defer unix.Close(own)
	if fd, err = executableMemfd("gantry-runc"); err != nil {
		return -1, fmt.Errorf("memfd_create: %w", err)
	}
	if err = copyAll(fd, own); err == nil {
		err = sealBinary(fd)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func copyAll(to, from int) error {
	for {
		n, err := unix.Sendfile(to, from, nil, 1<<30)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("copy to a memfd: %w", err)
		}
		if err == nil && n == 0 {
			return nil
		}
	}
}

// executableMemfd makes an empty memfd that may become a program.
func executableMemfd(name string) (int, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3 every memfd was executable
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	return fd, err
}

// sealBinary makes a memfd an executable that can't change any more.
func sealBinary(fd int) error {
	if err := unix.Fchmod(fd, 0o555); err != nil {
		return err
	}
	_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, binarySeals|unix.F_SEAL_EXEC)
	if errors.Is(err, unix.EINVAL) { // F_SEAL_EXEC is of Linux 6.3
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, binarySeals)
	}
	if err != nil {
		return fmt.Errorf("seal memfd: %w", err)
	}
	if !isSealed(fd) {
		return errors.New("seal memfd: the seals don't hold")
	}
	return nil
}
