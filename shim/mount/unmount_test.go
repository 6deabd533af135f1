package mount

import (
	"errors"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

func TestUnmountNothing(t *testing.T) {
	s := newScene(t)
	s.file("file")
	s.mkdir("full/sub")
	check(t, os.Symlink("/", s.dir+"/link"))
	for _, name := range []string{"rootfs", "missing", "missing/rootfs", "file", "file/rootfs", "full", "link"} {
		check(t, UnmountAll(s.dir+"/"+name))
	}
}

func TestUnmountStackedAndHidden(t *testing.T) {
	s := newScene(t)
	on := func(path string) {
		t.Helper()
		check(t, os.MkdirAll(path, 0o755))
		check(t, unix.Mount("tmpfs", path, "tmpfs", 0, ""))
	}
	on(s.target)
	on(s.target)
	on(s.target + "/a/b")
	on(s.target + "/a/b/c d")
	on(s.target + "/a/b")
	on(s.target) // hides all of them
	on(s.target + "/x")
	check(t, UnmountAll(s.target))
	s.gone()
}

// What is detached is out of sight at once, and stays for who uses it.
func TestDetach(t *testing.T) {
	s := newScene(t)
	check(t, Detach(s.target))
	s.mkdir("snapshots/0/fs/sub")
	s.all(s.overlay(2), tmpfs("sub"))
	f, err := os.OpenFile(s.target+"/sub/held", os.O_CREATE|os.O_RDWR, 0o600)
	check(t, err)
	defer f.Close()
	check(t, Detach(s.target))
	s.gone()
	if _, err := f.WriteString("still"); err != nil {
		t.Error(err)
	}
	if err := Detach(s.dir + "/missing"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("missing: error %v", err)
	}
}

// Mounts below a directory that is none itself.
func TestUnmountBelowDirectory(t *testing.T) {
	s := newScene(t)
	s.mkdir("rootfs/sub/dir", "rootfsbeside")
	s.all(tmpfs("sub/dir"))
	check(t, unix.Mount("tmpfs", s.dir+"/rootfsbeside", "tmpfs", 0, ""))
	check(t, UnmountAll(s.target))
	s.gone()
	if points, err := pointsIn(s.dir + "/rootfsbeside"); err != nil || len(points) != 1 {
		t.Errorf("the neighbour was unmounted, too: %q, %v", points, err)
	}
}

// A mount that a process uses is detached in the end.
func TestUnmountBusy(t *testing.T) {
	s := newScene(t)
	s.mkdir("snapshots/0/fs/sub")
	s.all(s.overlay(2), tmpfs("sub"))
	f, err := os.OpenFile(s.target+"/held", os.O_CREATE|os.O_RDWR, 0o600)
	check(t, err)
	defer f.Close()
	check(t, UnmountAll(s.target))
	s.gone()
}

// One that is used for a moment is waited for: it has really gone then.
func TestUnmountBusyForAMoment(t *testing.T) {
	s := newScene(t)
	s.all(s.overlay(2))
	cmd := exec.Command("sleep", "0.2")
	cmd.Dir = s.target
	check(t, cmd.Start())
	go func() { _ = cmd.Wait() }()
	check(t, UnmountAll(s.target))
	s.gone()
	// overlayfs refuses (with index) or warns of an upper layer in use; the tmpfs below knows it for sure.
	check(t, unix.Unmount(s.dir, 0))
	check(t, unix.Mount("tmpfs", s.dir, "tmpfs", 0, ""))
}

// A link in an image that hides a mount does not lead to the host's.
func TestUnmountDoesNotFollowLinks(t *testing.T) {
	s := newScene(t)
	host := s.mkdir("host/x")
	check(t, unix.Mount("tmpfs", host, "tmpfs", 0, ""))
	image := s.mkdir("image")
	check(t, os.Symlink(s.dir+"/host", image+"/sub"))
	check(t, unix.Mount("tmpfs", s.target, "tmpfs", 0, ""))
	check(t, os.MkdirAll(s.target+"/sub/x", 0o755))
	check(t, unix.Mount("tmpfs", s.target+"/sub/x", "tmpfs", 0, ""))
	check(t, unix.Mount(image, s.target, "", unix.MS_BIND, ""))
	if some, _ := unmountEach([]string{s.target + "/sub/x"}, 0); some {
		t.Error("unmounted through a link")
	}
	check(t, UnmountAll(s.target))
	s.gone()
	if points, err := pointsIn(host); err != nil || len(points) != 1 {
		t.Errorf("the host's mount has gone: %q, %v", points, err)
	}
}
