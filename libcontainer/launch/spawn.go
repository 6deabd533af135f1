package launch

import (
	"unsafe"
	_ "unsafe" // for go:linkname

	"golang.org/x/sys/unix"
)

// The Go runtime pledges these two names to packages that fork without exec
// (gVisor depends on them): BeforeFork blocks all signals on this thread, AfterFork
// restores them in the parent. The child needs no third one: CLONE_CLEAR_SIGHAND
// resets the handlers and its first step the mask.
//
//go:linkname runtimeBeforeFork syscall.runtime_BeforeFork
func runtimeBeforeFork()

//go:linkname runtimeAfterFork syscall.runtime_AfterFork
func runtimeAfterFork()

// cloneArgs is struct clone_args of clone3(2).
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

const cloneArgsSize = unsafe.Sizeof(cloneArgs{})

// spawn makes the child and, in it, enters the replay loop. From clone3 to the jump
// nothing may allocate, lock or grow the stack: the child has one thread of a
// program that believes it has several.
//
//go:noinline
//go:norace
//go:nosplit
func spawn(args *cloneArgs, code, header uintptr) (pid uintptr, errno unix.Errno) {
	runtimeBeforeFork()
	pid, errno = rawClone3(args)
	if errno != 0 || pid != 0 {
		runtimeAfterFork()
		return pid, errno
	}
	enter(code, header)
	return 0, 0
}

//go:noinline
//go:norace
//go:nosplit
func rawClone3(args *cloneArgs) (uintptr, unix.Errno) {
	pid, _, errno := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(args)), cloneArgsSize, 0)
	return pid, errno
}
