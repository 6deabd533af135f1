package mount

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/api/types"
)

func bind(source string, options ...string) *types.Mount {
	return &types.Mount{Type: "bind", Source: source, Options: options}
}

func tmpfs(target string, options ...string) *types.Mount {
	return &types.Mount{Type: "tmpfs", Source: "tmpfs", Target: target, Options: options}
}

// What mountinfo shows of each kind.
func TestKinds(t *testing.T) {
	for _, c := range []struct {
		name   string
		mounts func(s *scene) []*types.Mount
		want   []string
	}{
		{"overlay", func(s *scene) []*types.Mount { return []*types.Mount{s.overlay(3)} }, []string{". / rw,relatime private overlay"}},
		{
			"overlay volatile read-only nosuid",
			func(s *scene) []*types.Mount { return []*types.Mount{s.overlay(1, "volatile", "ro", "nosuid")} },
			[]string{". / ro,nosuid,relatime private overlay"},
		},
		{
			"bind",
			func(s *scene) []*types.Mount { return []*types.Mount{bind(s.mkdir("src"), "bind")} },
			[]string{". /src rw,relatime private tmpfs"},
		},
		{
			"bind, read-only",
			func(s *scene) []*types.Mount { return []*types.Mount{bind(s.mkdir("src"), "rbind", "ro")} },
			[]string{". /src ro,relatime private tmpfs"},
		},
		{
			"bind, flags beside ro, and the last of two that contradict",
			func(s *scene) []*types.Mount {
				return []*types.Mount{bind(s.mkdir("src"), "rbind", "ro", "rw", "nosuid", "nodev", "noexec", "noatime")}
			},
			[]string{". /src rw,nosuid,nodev,noexec,noatime private tmpfs"},
		},
		{
			"rbind takes what is below along",
			func(s *scene) []*types.Mount {
				check(s.t, unix.Mount("tmpfs", s.mkdir("src/sub"), "tmpfs", unix.MS_NOEXEC, ""))
				return []*types.Mount{bind(s.mkdir("src"), "rbind", "ro")}
			},
			[]string{". /src ro,relatime private tmpfs", "./sub / rw,noexec,relatime private tmpfs"},
		},
		{
			"a bind keeps the flags of its source",
			func(s *scene) []*types.Mount {
				check(s.t, unix.Mount("tmpfs", s.mkdir("src"), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, ""))
				return []*types.Mount{bind(s.mkdir("src"), "bind", "ro")}
			},
			[]string{". / ro,nosuid,nodev,relatime private tmpfs"},
		},
		{
			"unless an option says otherwise",
			func(s *scene) []*types.Mount {
				check(s.t, unix.Mount("tmpfs", s.mkdir("src"), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, ""))
				return []*types.Mount{bind(s.mkdir("src"), "bind", "ro", "suid")}
			},
			[]string{". / ro,nodev,relatime private tmpfs"},
		},
		{
			"propagation",
			func(*scene) []*types.Mount { return []*types.Mount{tmpfs("", "rshared", "size=1m")} },
			[]string{". / rw,relatime shared tmpfs"},
		},
		{
			"propagation of an own peer group, as a slave",
			func(s *scene) []*types.Mount {
				check(s.t, unix.Mount("tmpfs", s.mkdir("src"), "tmpfs", 0, ""))
				check(s.t, unix.Mount("", s.mkdir("src"), "", unix.MS_SHARED, ""))
				return []*types.Mount{bind(s.mkdir("src"), "rbind", "rslave")}
			},
			[]string{". / rw,relatime master tmpfs"},
		},
		{
			"remount changes what is there",
			func(*scene) []*types.Mount {
				return []*types.Mount{tmpfs("", "size=1m"), {Type: "tmpfs", Source: "tmpfs", Options: []string{"remount", "ro"}}}
			},
			[]string{". / ro,relatime private tmpfs"},
		},
		{
			"targets inside",
			func(s *scene) []*types.Mount {
				s.mkdir("src/a b", "src/c")
				return []*types.Mount{bind(s.mkdir("src"), "rbind"), tmpfs("/a b"), tmpfs("c", "ro")}
			},
			[]string{". /src rw,relatime private tmpfs", `./a\040b / rw,relatime private tmpfs`, "./c / ro,relatime private tmpfs"},
		},
		{"defaults", func(*scene) []*types.Mount { return []*types.Mount{tmpfs("", "defaults")} }, []string{". / rw,relatime private tmpfs"}},
		{"no mounts", func(*scene) []*types.Mount { return nil }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t)
			s.all(c.mounts(s)...)
			if diff := cmp.Diff(c.want, s.seen()); diff != "" {
				t.Errorf("mountinfo, want -, got +:\n%s", diff)
			}
			check(t, UnmountAll(s.target))
			s.gone()
		})
	}
}

// What fails leaves nothing, and says which one of the list it was and why.
func TestFailures(t *testing.T) {
	const noSuch = "/no/such"
	for _, c := range []struct {
		name  string
		mount func(s *scene) *types.Mount
		want  []string // parts of the error
		is    error
	}{
		{"bind of nothing", func(*scene) *types.Mount { return bind(noSuch, "bind") }, []string{"mount bind", noSuch}, unix.ENOENT},
		{"unknown type", func(*scene) *types.Mount { return &types.Mount{Type: "format/overlay"} }, []string{"format/overlay"}, unix.ENODEV},
		{"lower layer missing", func(s *scene) *types.Mount {
			m := s.overlay(2)
			m.Options[2] += ":" + noSuch
			return m
		}, []string{"lowerdir " + noSuch}, unix.ENOENT},
		{"upper layer missing", func(s *scene) *types.Mount {
			m := s.overlay(2)
			m.Options[1] = "upperdir=" + noSuch
			return m
		}, []string{"upperdir " + noSuch}, unix.ENOENT},
		{"unknown data", func(*scene) *types.Mount { return tmpfs("", "frobnicate=1") }, nil, unix.EINVAL},
		{"a manager's option", func(*scene) *types.Mount { return tmpfs("", "X-containerd.mkdir.path=/x") }, []string{"X-containerd.mkdir.path=/x", "manager"}, nil},
		{"half a map", func(*scene) *types.Mount { return tmpfs("", "uidmap=0:1:2") }, []string{"gidmap"}, nil},
		{"a bad map", func(*scene) *types.Mount { return tmpfs("", "uidmap=0:1", "gidmap=0:1:2") }, []string{"uidmap", "container:host:size"}, nil},
		{"target missing", func(*scene) *types.Mount { return tmpfs("missing") }, []string{"rootfs/missing"}, unix.ENOENT},
		{"too much data", func(*scene) *types.Mount { return tmpfs("", strings.Repeat("x", 1<<20)) }, []string{"1048576 bytes"}, nil},
		{"loop of nothing", func(*scene) *types.Mount {
			return &types.Mount{Type: "ext4", Source: noSuch, Options: []string{"loop", "ro"}}
		}, []string{"loop", noSuch}, unix.ENOENT},
		{"no fuse helper's program", func(*scene) *types.Mount {
			return &types.Mount{Type: "fuse3.no-such-program", Source: "x"}
		}, []string{"mount.fuse3"}, nil},
		{"flags that cannot be cleared after the bind", func(s *scene) *types.Mount {
			return bind(s.file("plain"), "bind", "ro") // a file on a directory
		}, nil, unix.ENOTDIR},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t)
			bad := c.mount(s)
			err := All([]*types.Mount{tmpfs("", "size=1m"), bind(s.mkdir("src"), "bind", "ro"), bad}, s.target)
			if err == nil {
				t.Fatal("no error")
			}
			t.Log(err)
			for _, part := range append(c.want, "rootfs[2]: ") {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("error %q is not %q", err, c.is)
			}
			s.gone()
		})
	}
}

// A rollback takes away what the call has mounted, not what was there before.
func TestFailureKeepsWhatWasThere(t *testing.T) {
	s := newScene(t)
	s.all(tmpfs("", "size=1m"))
	before := s.seen()
	remount := &types.Mount{Type: "tmpfs", Source: "tmpfs", Options: []string{"remount", "size=2m"}}
	if err := All([]*types.Mount{remount, tmpfs(""), bind("/no/such", "bind")}, s.target); err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff(before, s.seen()); diff != "" {
		t.Errorf("before -, after +:\n%s", diff)
	}
}

// An image's links cannot lead a target out of the root file system.
func TestTargetStaysInside(t *testing.T) {
	s := newScene(t)
	outside := s.mkdir("outside")
	src := s.dir + "/src"
	s.mkdir("src/real", "src"+outside)
	for link, to := range map[string]string{"abs": outside, "up": "../../../../../../../.." + outside, "in": "real", "magic": "/proc/self/cwd"} {
		check(t, os.Symlink(to, filepath.Join(src, link)))
	}
	for target, want := range map[string]string{"abs": outside, "up": outside, "in": "/real", "/..//../real": "/real"} {
		s.all(bind(src, "bind"), tmpfs(target))
		got := s.seen()
		if want := "." + want + " / rw,relatime private tmpfs"; len(got) != 2 || got[1] != want {
			t.Errorf("target %s: mounted %q, want %q", target, got, want)
		}
		check(t, UnmountAll(s.target))
		s.gone()
	}
	if err := All([]*types.Mount{bind(src, "bind"), tmpfs("magic")}, s.target); err == nil {
		t.Error("a link into /proc was followed")
	}
	check(t, os.Symlink(outside, s.dir+"/link"))
	if err := All([]*types.Mount{tmpfs("")}, s.dir+"/link"); err == nil {
		t.Error("a target that is a link was followed")
	}
	s.gone()
}
