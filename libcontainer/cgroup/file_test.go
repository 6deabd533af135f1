package cgroup

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestMissingFileSaysWhichKernelHasIt: and only for one that is missing, and young.
func TestMissingFileSaysWhichKernelHasIt(t *testing.T) {
	for want, e := range map[string]FileError{
		"open /c/cpu.idle: cpu.idle needs Linux 5.15: no such file or directory":       {Op: "open", Path: "/c/cpu.idle", Err: unix.ENOENT},
		"write 9 to /c/cpu.idle: invalid argument":                                     {Op: "write", Path: "/c/cpu.idle", Value: "9", Err: unix.EINVAL},
		"open /c/pids.max: no such file or directory":                                  {Op: "open", Path: "/c/pids.max", Err: unix.ENOENT},
		"write 1 to /c/misc.max: misc.max needs Linux 5.13: no such file or directory": {Op: "write", Path: "/c/misc.max", Value: "1", Err: unix.ENOENT},
	} {
		if got := e.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
