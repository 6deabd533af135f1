package task

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// birth is when a process was started, in clock ticks since the machine's: with the pid it names a process for good. 0 is that of one
// that there is not.
func birth(pid uint32) uint64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name, in parentheses, may hold anything (proc_pid_stat(5)).
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	const starttime = 22 - 3 // counted from the state, which is the third
	if len(fields) <= starttime {
		return 0
	}
	ticks, err := strconv.ParseUint(string(fields[starttime]), 10, 64)
	if err != nil {
		return 0
	}
	return ticks
}

// killProcess kills a process and waits for its end, if it is still the one that was born then.
func killProcess(pid uint32, born uint64, limit time.Duration) error {
	if pid == 0 || born == 0 {
		return nil
	}
	fd, err := unix.PidfdOpen(int(pid), 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("kill %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if birth(pid) != born {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill %d: %w", pid, err)
	}
	deadline := time.Now().Add(limit)
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, max(int(time.Until(deadline).Milliseconds()), 0))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait for %d: %w", pid, err)
		case n == 0:
			return fmt.Errorf("process %d survives SIGKILL", pid)
		default:
			return nil
		}
	}
}
