package faults_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/compat/docker"
)

// TestBriefRootfs wants a running container's root to be mounted nowhere but in the container, which has it all the same:
// it restarts, loses its shim, and nothing is left.
func TestBriefRootfs(t *testing.T) {
	s := start(t, docker.Setup{})
	id := s.run(want("brief", "echo once >>/file; cat /file; exec sleep 1000"))
	elsewhere := func(when string) {
		t.Helper()
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(mounts)) {
			namespace := strings.Contains(line, s.path("exec/netns")+"/") && !strings.Contains(line, "/default ")
			if namespace || strings.Contains(line, id) && strings.Contains(line, "rootfs") {
				t.Errorf("%s the host has %s", when, line)
			}
		}
		roots, err := filepath.Glob(s.path("exec/*/*/*/*/" + id + "/rootfs"))
		if err != nil || len(roots) != 1 {
			t.Fatalf("%s: the bundle's rootfs is %q, %v", when, roots, err)
		}
		if left, err := os.ReadDir(roots[0]); err != nil || len(left) > 0 {
			t.Errorf("%s in the bundle's rootfs: %v, %v", when, left, err)
		}
	}
	elsewhere("after the start")
	if _, err := s.ContainerRestart(limited(t, patience), id, client.ContainerRestartOptions{}); err != nil {
		t.Fatal(err)
	}
	elsewhere("after the restart")
	s.until(id, "started again", func(*container.State) bool { return strings.HasSuffix(s.logs(id), "once\nonce\nonce\n") })
	var shim int
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.inspect(id).State.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, parent, _ := strings.Cut(string(status), "\nPPid:\t")
	if _, err := fmt.Sscan(parent, &shim); err != nil || shim < 2 {
		t.Fatalf("%s: no parent: %v", status, err)
	}
	if err := unix.Kill(shim, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.until(id, "ended with its shim", func(st *container.State) bool { return !st.Running })
	if _, err := s.ContainerStart(limited(t, patience), id, client.ContainerStartOptions{}); err != nil {
		t.Fatal(err)
	}
	elsewhere("after the shim was killed")
	s.nothing()
}
