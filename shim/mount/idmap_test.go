package mount

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/api/types"
	"github.com/gantry-containers/gantry/tests/harness"
)

var mapped = []string{"uidmap=0:100000:65536", "gidmap=0:200000:1000,1000:300000:10"}

func owner(t *testing.T, path string) string {
	t.Helper()
	var st unix.Stat_t
	check(t, unix.Lstat(path, &st))
	return fmt.Sprintf("%d:%d", st.Uid, st.Gid)
}

func TestMappedOverlay(t *testing.T) {
	harness.NeedRoot(t)
	harness.NeedKernel(t, 5, 19)
	for _, n := range []int{1, 3, 200} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			s := newDiskScene(t)
			m := s.overlay(n, mapped...)
			last := s.file(fmt.Sprintf("snapshots/%d/fs/owned", n-1))
			check(t, os.Chown(last, 5, 1007))
			s.all(m)
			if got := owner(t, s.target+"/owned"); got != "100005:300007" {
				t.Errorf("owner in the overlay %s", got)
			}
			if got := s.seen(); len(got) != 1 || got[0] != ". / rw,relatime private overlay" {
				t.Errorf("mounted: %q", got)
			}
			// The upper layer has the owners as they are.
			check(t, os.Chown(s.target+"/owned", 100006, 300007))
			if got := owner(t, s.dir+"/snapshots/new/fs/owned"); got != "100006:300007" {
				t.Errorf("owner in the upper layer %s", got)
			}
			check(t, UnmountAll(s.target))
			s.gone()
			if got := owner(t, last); got != "5:1007" {
				t.Errorf("owner in the lower layer %s", got)
			}
		})
	}
}

func TestMappedBind(t *testing.T) {
	harness.NeedRoot(t)
	harness.NeedKernel(t, 5, 12)
	s := newDiskScene(t)
	src := s.mkdir("src")
	check(t, os.Chown(s.file("src/owned"), 5, 7))
	s.all(bind(src, append(mapped, "rbind", "ro")...))
	if got := owner(t, s.target+"/owned"); got != "100005:200007" {
		t.Errorf("owner %s", got)
	}
	if got := s.seen(); len(got) != 1 || !strings.Contains(got[0], "/src ro,") || !strings.Contains(got[0], ",idmapped private ") {
		t.Errorf("mounted: %q", got)
	}
	check(t, UnmountAll(s.target))
	s.gone()
}

// Whatever fails on the way leaves neither the clone nor the overlay.
func TestMappedFailures(t *testing.T) {
	for name, bad := range map[string]*types.Mount{
		"no common directory": {Type: "overlay", Source: "overlay", Options: append([]string{"lowerdir=/etc:/usr"}, mapped...)},
		"overlay refused":     {Type: "overlay", Source: "overlay", Options: append([]string{"lowerdir=/usr/no:/usr/such"}, mapped...)},
		"not mappable":        {Type: "bind", Source: "/proc", Options: append([]string{"bind"}, mapped...)},
		"overlapping map":     {Type: "bind", Source: "/usr", Options: []string{"bind", "uidmap=0:1:5,3:9:1", "gidmap=0:1:5"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.all(tmpfs(""))
			err := All([]*types.Mount{bad}, s.target)
			if err == nil {
				t.Error("no error")
			}
			t.Log(err)
			if got := s.seen(); len(got) != 1 {
				t.Errorf("mounted: %q", got)
			}
		})
	}
}

// The child that a namespace is made with is gone afterwards, each time.
func TestUserNamespaceLeavesNoChild(t *testing.T) {
	harness.NeedRoot(t)
	for range 50 {
		fd, err := userNamespace("0:1000:1", "0:1000:1")
		check(t, err)
		unix.Close(fd)
	}
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WSTOPPED|unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("waitid: %v, want no child", err)
	}
}
