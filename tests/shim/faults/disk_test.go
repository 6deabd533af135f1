package faults_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
	"github.com/gantry-containers/gantry/tests/shim/client"
)

// TestDiskFull fills the file system of the bundles while a container runs: neither the exit record nor the events can
// be written. All the same the exit is told, with its code.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	s := start(t, newest)
	dir := filepath.Join(s.path("state"), "io.containerd.runtime.v2.task")
	if err := os.MkdirAll(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	sub := s.Subscribe(t.Context())
	ready := s.path("io/ready")
	pid := s.run(t, container{
		id: "full", script: "trap 'exit 6' USR1; echo ready; while :; do sleep 0.05; done",
		io: client.IO{Stdout: "file://" + ready, Stderr: "file://" + ready},
	})
	said(t, ready, "ready")
	fill(t, filepath.Join(dir, "filler"))
	if err := s.exec(limited(t), "full", "e", "exit 3"); err != nil {
		t.Logf("exec: %v", err) // its process object must be written somewhere
	}
	if err := unix.Kill(int(pid), unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if exit, err := s.Wait(limited(t), "full", ""); err != nil || exit.Code != 6 {
		t.Errorf("wait: code %d, %v; want 6", exit.Code, err)
	}
	s.remove(t, "full", 6)
	harness.Until(10*time.Second, func() bool { return count(sub.Of("full", ""), "delete") > 0 })
	var c tally
	c.check(sub.Of("full", ""), []string{"create", "start", "exit", "delete"}, 6)
	c.report(t, 1, "container on a full disk")
	s.nothingOf(t, "full")
}

// fill writes a file until nothing more goes.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 4096; size > 0; size /= 2 {
		for err == nil {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
		err = nil
	}
	// The inode table may have room for another empty file, but no page is left.
}
