// Package report holds what the benchmarks' outputs have in common: on what they ran, and medians with their intervals.
package report

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine says on what the numbers were taken.
func Machine() string {
	var uts unix.Utsname
	_ = unix.Uname(&uts)                    // fails for a bad pointer only
	load, _ := os.ReadFile("/proc/loadavg") // a header without it is still a header
	return fmt.Sprintf("machine  %s, %d CPUs, Linux %s %s, load %s", cpuModel(), runtime.NumCPU(),
		unix.ByteSliceToString(uts.Release[:]), unix.ByteSliceToString(uts.Machine[:]), firstField(string(load)))
}

func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		if name, value, found := strings.Cut(scanner.Text(), ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func firstField(text string) string {
	field, _, _ := strings.Cut(text, " ")
	return field
}
