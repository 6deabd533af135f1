package mount

import (
	"os"
	"os/signal"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/api/types"
)

// helper puts a mount.fuse3 into the way of the real one, which writes down how it is called.
func (s *scene) helper(then string) *types.Mount {
	s.t.Helper()
	script := "#!/bin/sh\necho \"$@\" >" + s.dir + "/called\n" + then + "\n"
	check(s.t, os.WriteFile(s.mkdir("bin")+"/mount.fuse3", []byte(script), 0o755))
	s.t.Setenv("PATH", s.dir+"/bin:"+os.Getenv("PATH"))
	return &types.Mount{Type: "fuse3.fuse-overlayfs", Source: "overlay", Options: []string{"ro", "lowerdir=/a:/b"}}
}

func TestFuse(t *testing.T) {
	s := newScene(t)
	m := s.helper(`mount -n -t tmpfs none "$2"`)
	s.all(m)
	called, err := os.ReadFile(s.dir + "/called")
	check(t, err)
	if got, want := strings.TrimSpace(string(called)), "overlay "+s.target+" -o ro -o lowerdir=/a:/b -t fuse-overlayfs"; got != want {
		t.Errorf("called with %q, want %q", got, want)
	}
	if got := s.seen(); len(got) != 1 {
		t.Errorf("mounted: %q", got)
	}
	check(t, UnmountAll(s.target))
	s.gone()
}

// Of a helper that fails after it has mounted nothing stays.
func TestFuseFails(t *testing.T) {
	s := newScene(t)
	m := s.helper(`mount -n -t tmpfs none "$2"; echo it broke >&2; exit 3`)
	err := All([]*types.Mount{m}, s.target)
	if err == nil || !strings.Contains(err.Error(), "rootfs[0]: ") || !strings.Contains(err.Error(), "it broke") {
		t.Errorf("error %v", err)
	}
	s.gone()
}

// Somebody else waits for the helper: what it has done counts.
func TestFuseWithoutStatus(t *testing.T) {
	s := newScene(t)
	signal.Ignore(unix.SIGCHLD)
	defer func() { // Reset leaves it ignored
		c := make(chan os.Signal, 1)
		signal.Notify(c, unix.SIGCHLD)
		signal.Stop(c)
	}()
	s.all(s.helper(`mount -n -t tmpfs none "$2"`))
	if got := s.seen(); len(got) != 1 {
		t.Errorf("mounted: %q", got)
	}
	check(t, UnmountAll(s.target))
	if err := All([]*types.Mount{s.helper("exit 0")}, s.target); err == nil {
		t.Error("a helper without status that mounted nothing was believed")
	}
	s.gone()
}
