package main

import (
	"fmt"
	"os"
	"strconv"
)

// sysmonSlack is how much later than asked the kernel may wake Go's monitor thread, in nanoseconds. It looks every 20 µs
// whether the one turn to run Go code has to be taken from a thread that waits for the kernel, for as long as the shim does
// anything: a twentieth of its CPU time in the life of a short container.
const sysmonSlack = 500_000

// calmSysmon sets the timer slack of the first thread that Go started, which is the monitor, proc_pid_timerslack_ns(5).
// Where its number is not the one after ours, nothing is lost.
func calmSysmon() {
	tid := os.Getpid() + 1
	if _, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", tid)); err != nil {
		return
	}
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/timerslack_ns", tid), []byte(strconv.Itoa(sysmonSlack)), 0)
}
