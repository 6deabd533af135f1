package rootfs

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// onThread runs work on a thread that ends with it, so it may change what the kernel keeps for each thread: namespaces,
// root, working folder. Nothing that work starts by go runs there.
func onThread(work func() error) error {
	done := make(chan error, 1)
	go func() {
		// Without an unlock the thread ends with the goroutine.
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The first thread cannot end, and /proc/self is what it sees. While this one is held, work gets another.
			done <- onThread(work)
			runtime.UnlockOSThread()
			return
		}
		done <- work()
	}()
	return <-done
}

// ownMounts gives the calling thread mounts of its own: nothing that it mounts is seen elsewhere, and it goes with it.
func ownMounts() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	return os.NewSyscallError("mount", unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
}
