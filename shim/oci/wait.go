package oci

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/reap"
)

// process runs a program until it ends, or kills it when the context does.
func process(ctx context.Context, dir, path string, argv []string, stdio [3]*os.File) (unix.WaitStatus, error) {
	pidfd := -1
	pid, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{
		Dir:   dir,
		Env:   environ(),
		Files: []uintptr{stdio[0].Fd(), stdio[1].Fd(), stdio[2].Fd()},
		Sys: &syscall.SysProcAttr{
			Setpgid: true,
			// A runtime that outlived the shim would go on with a container that the daemon has already taken for
			// dead and deleted. The kernel looks at the thread that forked: no goroutine of the shim may end while
			// it is locked to its thread (prctl(2), PR_SET_PDEATHSIG).
			Pdeathsig: syscall.SIGKILL,
			PidFD:     &pidfd,
		},
	})
	if err != nil {
		return 0, fmt.Errorf("execve %s: %w", path, err)
	}
	defer reap.Claim(pid)()
	killed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(killed)
		// The group is the runtime and its helpers: a container's process leaves it by setsid(2).
		_ = unix.Kill(-pid, unix.SIGKILL)
	})
	waitErr := exited(pidfd)
	if !stop() {
		<-killed // before the pid is given back to the kernel
	}
	var status unix.WaitStatus
	if _, err := ignoringEINTR(func() (int, error) { return unix.Wait4(pid, &status, 0, nil) }); err != nil {
		return 0, os.NewSyscallError("wait4", err)
	}
	if waitErr != nil {
		return 0, waitErr
	}
	if status.Signaled() && ctx.Err() != nil {
		return status, ErrNoAnswer
	}
	return status, nil
}

// exited returns when the process has ended; it remains to be reaped. It waits in Go's poller: a thread that a
// system call has blocked once stays with the shim for good. It closes the pidfd.
func exited(pidfd int) error {
	if pidfd < 0 {
		return nil // a kernel before 5.4: let wait4 block
	}
	if err := unix.SetNonblock(pidfd, true); err != nil {
		_ = unix.Close(pidfd)
		return os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(pidfd), "pidfd")
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var waitErr error
	err = raw.Read(func(fd uintptr) bool {
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		var n int
		n, waitErr = ignoringEINTR(func() (int, error) { return unix.Poll(ready, 0) })
		return n > 0 || waitErr != nil
	})
	if err != nil {
		return err
	}
	return os.NewSyscallError("poll", waitErr)
}

func ignoringEINTR(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); err != unix.EINTR {
			return n, err
		}
	}
}

// environ is what the runtime gets: without the socket on which whoever started the daemon waits for news of the
// daemon, which a runtime would take for the container's (sd_notify(3)), and without the shim's own modesty, which
// hooks would inherit.
func environ() []string {
	env := os.Environ()
	kept := env[:0]
	for _, e := range env {
		if !strings.HasPrefix(e, "NOTIFY_SOCKET=") && !strings.HasPrefix(e, "GOMAXPROCS=") {
			kept = append(kept, e)
		}
	}
	return kept
}
