package mount

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantry-containers/gantry/shim/api/types"
	"github.com/gantry-containers/gantry/tests/harness"
)

// devices are the loop devices that a file is attached to.
func devices(t *testing.T, file string) []string {
	t.Helper()
	names, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	check(t, err)
	var used []string
	for _, n := range names {
		if text, err := os.ReadFile(n); err == nil && strings.TrimSpace(string(text)) == file {
			used = append(used, n)
		}
	}
	return used
}

func TestLoop(t *testing.T) {
	s := newScene(t)
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("needs loop devices: ", err)
	}
	mkfs, err := exec.LookPath("mkfs.ext4")
	if err != nil {
		t.Skip("needs mkfs.ext4: ", err)
	}
	image := s.file("image")
	check(t, os.Truncate(image, 4<<20))
	if out, err := exec.Command(mkfs, "-q", image).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, options := range [][]string{{"loop"}, {"loop", "ro"}, {"ro", "loop", "noatime"}} {
		s.all(&types.Mount{Type: "ext4", Source: image, Options: options})
		if got := devices(t, image); len(got) != 1 {
			t.Errorf("%s: attached to %q", options, got)
		}
		if _, err := os.Stat(s.target + "/lost+found"); err != nil {
			t.Error(err)
		}
		check(t, UnmountAll(s.target))
		if !harness.Until(5*time.Second, func() bool { return len(devices(t, image)) == 0 }) {
			t.Errorf("%s: left attached to %q", options, devices(t, image))
		}
	}
	// The file system refuses: the device is let go.
	err = All([]*types.Mount{{Type: "ext4", Source: image, Options: []string{"loop", "no-such-option"}}}, s.target)
	if err == nil || !harness.Until(5*time.Second, func() bool { return len(devices(t, image)) == 0 }) {
		t.Errorf("error %v, left attached to %q", err, devices(t, image))
	}
}
