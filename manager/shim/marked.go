package shim

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// marker is the variable that is in the environment of a start action and of all that it starts. A server leaves the
// process group and its parent: nothing else finds it when the start has failed.
const marker = "GANTRY_SHIM_START="

// killMarked kills the processes whose environment has the mark, and waits, not for ever, until there are none.
func killMarked(mark string) error {
	for pause := time.Millisecond; pause < time.Second; pause *= 2 {
		n, err := signalMarked(mark)
		if err != nil {
			return fmt.Errorf("what it has left: %w", err)
		}
		if n == 0 {
			return nil
		}
		time.Sleep(pause)
	}
	return errors.New("what it has left cannot be killed")
}

func signalMarked(mark string) (n int, err error) {
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	var failed error
	for _, p := range processes {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		found, err := killIf(pid, func() bool { return hasVariable(pid, mark) })
		if found {
			n++
		}
		if err != nil {
			failed = err
		}
	}
	return n, failed
}

// killIf kills a process if it is the right one, and none that gets its number in between.
func killIf(pid int, right func() bool) (bool, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false, nil // it is gone
	}
	defer unix.Close(fd)
	if !right() {
		return false, nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && err != unix.ESRCH {
		return true, fmt.Errorf("kill process %d: %w", pid, err)
	}
	// It loses its environment before its sockets: gone is gone.
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(time.Second/time.Millisecond))
	return true, nil
}

// hasVariable looks at the environment with which a process was started; one that has ended has none.
func hasVariable(pid int, variable string) bool {
	env, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	if err != nil {
		return false
	}
	for e := range bytes.SplitSeq(env, []byte{0}) {
		if string(e) == variable {
			return true
		}
	}
	return false
}
