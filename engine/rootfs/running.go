package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// errGone says that a process is no longer that of the container.
var errGone = errors.New("the container's process is gone")

func isGone(err error) bool {
	return errors.Is(err, errGone) || errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrNotExist)
}

// rootOf takes the root mount out of a running container: the same file system, but nothing that is mounted below it.
// A second overlay on the same folders would not see what is written through the first one.
func rootOf(id string, pid int) (*os.File, error) {
	// With the pidfd in hand, the pid is this process's as long as the pidfd says that it lives.
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(pidfd)
	cgroup, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil, err
	}
	if !bytes.Contains(cgroup, []byte(id)) {
		return nil, errGone
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	if err := unix.PidfdSendSignal(pidfd, 0, nil, 0); err != nil {
		return nil, errGone
	}
	var host, own unix.Stat_t
	if err := unix.Stat("/proc/self/ns/mnt", &own); err != nil {
		return nil, err
	}
	if err := unix.Fstat(int(ns.Fd()), &host); err != nil {
		return nil, err
	}
	if host.Ino == own.Ino {
		return nil, errGone // Containers have mounts of their own.
	}
	return rootIn(ns)
}

// rootIn clones the mount that is the root of a namespace.
func rootIn(ns *os.File) (root *os.File, err error) {
	var host unix.Stat_t
	if err := unix.Stat("/", &host); err != nil {
		return nil, err
	}
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		// It makes the namespace's root ours, whatever the process itself has made its root.
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
			return os.NewSyscallError("setns", err)
		}
		var inside unix.Stat_t
		if err := unix.Stat("/", &inside); err != nil {
			return err
		}
		if inside.Dev == host.Dev && inside.Ino == host.Ino {
			// It was made without pivot_root: the namespace's root is the host's.
			return errors.New("the container's root is not that of its namespace")
		}
		root, err = Clone("/", false)
		return err
	})
	return root, err
}
