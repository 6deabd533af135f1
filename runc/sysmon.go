package main

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// sysmonSlack is how much later than asked the kernel may wake Go's monitor thread, in
// nanoseconds. The thread looks every 20 µs whether a goroutine hogs a processor, for
// which this program lives too shortly; with 2 ms it wakes once or twice instead of 60
// times, which is a tenth of the CPU time of a whole `runc run` (docs/performance.md).
const sysmonSlack = "2000000"

// calmSysmon sets the timer slack of the first thread that Go started, which is the
// monitor, proc_pid_timerslack_ns(5). Where its number is not the one after ours, or the
// right to change another thread's slack (CAP_SYS_NICE) is missing, nothing is lost.
func calmSysmon() {
	tid := strconv.Itoa(unix.Getpid() + 1)
	if unix.Access("/proc/self/task/"+tid, unix.F_OK) != nil {
		return
	}
	fd, err := unix.Open("/proc/"+tid+"/timerslack_ns", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	_, _ = unix.Write(fd, []byte(sysmonSlack))
	unix.Close(fd)
}
