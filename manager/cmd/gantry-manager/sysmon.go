package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
)

// sysmonSlack is how much later than asked the kernel may wake Go's monitor thread, in nanoseconds. It looks every 20 µs
// whether a thread that waits for the kernel has to give up its turn, as long as anything is done at all: an eighth of the
// daemon's CPU time in the life of a short container. More than this would hold up what waits for such a turn.
const sysmonSlack = 500_000

// calmSysmon sets the timer slack of the first thread that Go starts, which is the monitor, proc_pid_timerslack_ns(5).
func calmSysmon() error {
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	var threads []int
	for _, e := range entries {
		if tid, err := strconv.Atoi(e.Name()); err == nil && tid > os.Getpid() {
			threads = append(threads, tid)
		}
	}
	if len(threads) == 0 { // the kernel has begun to count anew
		return nil
	}
	return os.WriteFile(fmt.Sprintf("/proc/%d/timerslack_ns", slices.Min(threads)), []byte(strconv.Itoa(sysmonSlack)), 0)
}
