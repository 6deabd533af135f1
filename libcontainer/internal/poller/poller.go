// Package poller makes Go's network poller while its failure can still be an error: made
// later, without free descriptors, it would end the program on the spot, with a stack
// trace and a container half made.
package poller

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

var made bool

// Open makes the poller, at the first call. The error is EMFILE or ENFILE.
func Open() error {
	if made {
		return nil
	}
	// The poller takes two descriptors, runtime/netpoll_epoll.go, and polls a third.
	var fds [3]int
	for i := range fds {
		fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
		if err != nil {
			closeAll(fds[:i])
			return fmt.Errorf("eventfd: %w", err)
		}
		fds[i] = fd
	}
	closeAll(fds[:2])
	made = true
	return os.NewFile(uintptr(fds[2]), "eventfd").Close()
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}
