package rootfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"
)

var mapped = user.IdentityMapping{
	UIDMaps: []user.IDMap{{ParentID: 100000, Count: 65536}}, GIDMaps: []user.IDMap{{ParentID: 200000, Count: 65536}},
}

func ownerOf(t *testing.T, path string) [2]uint32 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(path, err)
	}
	return [2]uint32{st.Uid, st.Gid}
}

// On the mapped root files are the container's, below it they are as they were; what was shown is gone, also after a kill.
func TestRemap(t *testing.T) {
	s, chain := image(t)
	if err := s.Create(t.Context(), "one", chain); err != nil {
		t.Fatal(err)
	}
	mounts, err := s.Mounts(t.Context(), "one")
	if err != nil {
		t.Fatal(err)
	}
	upper := parseOverlay(mounts[0].Options).upper
	root, done, err := s.Remap(t.Context(), "one", mounts, mapped)
	if err != nil {
		t.Fatal(err)
	}
	target := t.TempDir()
	if err := mount.All(root, target); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(target, unix.MNT_DETACH) }()
	if err := done(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(s.shown, "one")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("what was shown is there: ", err)
	}
	if got := ownerOf(t, filepath.Join(target, "top")); got != [2]uint32{100000, 200000} {
		t.Errorf("a file of the image is %d's", got)
	}
	file := filepath.Join(target, "top") // It is copied up, and given away.
	if err := os.Lchown(file, 100005, 200006); err != nil {
		t.Fatal(err)
	}
	if got := ownerOf(t, filepath.Join(upper, "top")); got != [2]uint32{5, 6} {
		t.Errorf("on disk it is %d's", got)
	}
	// An engine that was killed has left one; the next has another mount over it.
	for range 2 {
		if _, _, err := s.Remap(t.Context(), "one", mounts, mapped); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Sweep(t.Context(), func(string) bool { return true }); err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(list), " "+s.shown) { // The overlay tells what it was made of.
		t.Error("it is still shown: ", err)
	}
	if left, err := os.ReadDir(s.shown); err != nil || len(left) > 0 {
		t.Error(left, err)
	}
}
