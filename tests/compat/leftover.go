package compat

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// CheckLeftovers fails the test at its end if there are processes or mounts with marker in
// their command line or path, or cgroups that have it in their path and hold a process. Call
// it before the daemon is started, with something that all its containers have, such as the
// folder of its state; the cgroup's folder, which daemons leave, must have it in its name.
func CheckLeftovers(t testing.TB, marker string) {
	t.Helper()
	t.Cleanup(func() {
		var left []string
		harness.Until(10*time.Second, func() bool {
			left = slices.Concat(cgroups(marker), mounts(marker), processes(marker))
			return len(left) == 0
		})
		for _, what := range left {
			t.Errorf("left behind: %s", what)
		}
	})
}

// cgroups removes the empty cgroups of the marker, leaves first, and lists those that stay.
func cgroups(marker string) []string {
	var dirs, left []string
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(path, marker) {
			dirs = append(dirs, path)
		}
		return nil // cgroups come and go
	})
	slices.Reverse(dirs)
	for _, dir := range dirs {
		if err := unix.Rmdir(dir); err != nil && err != unix.ENOENT {
			left = append(left, "cgroup "+dir)
		}
	}
	return left
}

func mounts(marker string) []string {
	var left []string
	list, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(list)) {
		if strings.Contains(line, marker) {
			left = append(left, "mount "+strings.TrimSpace(line))
		}
	}
	return left
}

// checkSockets fails the test at its end if there are sockets in these folders that nobody
// listens at, and that were not there before.
func checkSockets(t testing.TB, dirs ...string) {
	t.Helper()
	before := deadSockets(dirs)
	t.Cleanup(func() {
		var left []string
		harness.Until(10*time.Second, func() bool {
			left = slices.DeleteFunc(deadSockets(dirs), func(path string) bool { return slices.Contains(before, path) })
			return len(left) == 0
		})
		for _, path := range left {
			t.Errorf("left behind: socket %s: %v", path, os.Remove(path))
		}
	})
}

func deadSockets(dirs []string) []string {
	var dead []string
	for _, dir := range dirs {
		paths, _ := filepath.Glob(filepath.Join(dir, "*"))
		for _, path := range paths {
			conn, err := net.Dial("unix", path)
			if errors.Is(err, unix.ECONNREFUSED) {
				dead = append(dead, path)
			}
			if err == nil {
				conn.Close()
			}
		}
	}
	return dead
}

func processes(marker string) []string {
	var left []string
	for _, pid := range withMarker(marker) {
		// It may have ended.
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil {
			left = append(left, fmt.Sprintf("process %d %s", pid, bytes.ReplaceAll(b, []byte{0}, []byte{' '})))
		}
	}
	return left
}

// withMarker lists the processes that have the marker in their command line.
func withMarker(marker string) []int {
	var pids []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && bytes.Contains(b, []byte(marker)) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			pids = append(pids, pid)
		}
	}
	return pids
}
