package child

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// serves says that a process is the daemon of a socket, which is in its command line: a number in a file may be anybody's
// by now.
func serves(pid int, socket string) bool {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return false
	}
	for i, arg := range bytes.Split(b, []byte{0}) {
		if i > 0 && bytes.HasSuffix(arg, []byte(socket)) {
			return true
		}
	}
	return false
}

// waiter is closed when a process, which need not be a child, has ended.
func waiter(pid int) <-chan struct{} {
	ended := make(chan struct{})
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil { // It is gone.
		close(ended)
		return ended
	}
	go func() {
		defer close(ended)
		defer unix.Close(fd)
		for {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1) //nolint:gosec // descriptors are small
			if n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
	return ended
}
