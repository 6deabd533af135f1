package events

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// socket tells one daemon from the next: each makes its socket anew.
type socket struct {
	device, inode uint64
	made          time.Time
}

func statSocket(path string) (socket, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return socket{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return socket{device: st.Dev, inode: st.Ino, made: time.Unix(st.Mtim.Unix())}, nil
}

// absence is what is known of the time when no daemon was there.
type absence struct {
	since time.Time
	// The daemon was killed: its socket is there still, and refuses. What a client does then is told at pause;
	// for a socket that is missing, containerd's dialer looks every 10 ms.
	refused bool
}

// pause is how long the slowest of the daemon's clients lets pass, from when the daemon is back, before it connects
// again: gRPC tries after 1 s, 1.6 s, 2.56 s and so on, each give or take a fifth, and dockerd lets that grow to 60 s
// (containerd.WithTimeout). One that tried just before the daemon was back pauses for 0.6 of the absence, or 0.9 where
// all the fifths are against it.
func (t times) pause(a absence, back time.Time) time.Duration {
	if !a.refused {
		return 0
	}
	return min(t.firstPause+max(back.Sub(a.since), 0)*9/10, t.longestPause)
}

// processEnd waits until a process has ended, as pidfd_open(2) describes, without holding a thread.
func processEnd(pidfd *os.File) error {
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var pollErr error
	err = raw.Read(func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n := 0
		n, pollErr = unix.Poll(fds, 0)
		return n > 0 || pollErr != nil && pollErr != unix.EINTR
	})
	if err == nil {
		err = pollErr
	}
	return err
}

// openProcess opens a process for processEnd.
func openProcess(pid int) (*os.File, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("pidfd_open of process %d: %w", pid, err)
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}
