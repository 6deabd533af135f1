package root_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// mountInfo is one line of mountinfo, proc_pid_mountinfo(5).
type mountInfo struct {
	root, point, options, fstype, super string
	optional                            []string // shared:N, master:N, unbindable
}

// mountsOf reads the mounts that a process sees. Of several on one point the last counts.
func mountsOf(t *testing.T, pid int) map[string]mountInfo {
	t.Helper()
	return parseMounts(t, proc(t, pid, "mountinfo"))
}

func parseMounts(t *testing.T, text string) map[string]mountInfo {
	t.Helper()
	mounts := make(map[string]mountInfo)
	for line := range strings.Lines(text) {
		own, rest, ok := strings.Cut(strings.TrimSpace(line), " - ")
		f, r := strings.Fields(own), strings.Fields(rest)
		if !ok || len(f) < 6 || len(r) < 3 {
			t.Fatalf("mountinfo line %q", line)
		}
		mounts[f[4]] = mountInfo{root: f[3], point: f[4], options: f[5], fstype: r[0], super: r[2], optional: f[6:]}
	}
	return mounts
}

func (m *mountInfo) has(option string) bool {
	return slices.Contains(strings.Split(m.options, ","), option)
}

// propagation is the mount's type, without the number of its peer group.
func (m *mountInfo) propagation() string {
	var types []string
	for _, o := range m.optional {
		name, _, _ := strings.Cut(o, ":")
		types = append(types, name)
	}
	return strings.Join(types, " ")
}

// hostMounts are the mounts of the test's own namespace.
func hostMounts(t *testing.T) string {
	t.Helper()
	return read(t, "/proc/self/mountinfo")
}

// tmpfs mounts one of the host for the time of a test.
func tmpfs(t *testing.T, dir string, flags uintptr, propagation uintptr) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", flags, "mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := unix.Mount("", dir, "", propagation, ""); err != nil {
		t.Fatal(err)
	}
}

func TestRootIsTheRootfs(t *testing.T) {
	harness.NeedRoot(t)
	for name, flags := range map[string][]string{"pivot_root": nil, "no-pivot": {"--no-pivot"}} {
		t.Run(name, func(t *testing.T) {
			before := hostMounts(t)
			c := start(t, nil, flags...)
			mounts := mountsOf(t, c.pid)
			inside, err := os.Stat(fmt.Sprintf("/proc/%d/root/", c.pid))
			rootfs, err2 := os.Stat(filepath.Join(c.bundle, "rootfs"))
			if err := errors.Join(err, err2); err != nil || !os.SameFile(inside, rootfs) {
				t.Errorf("/ is %q of its file system, %v", mounts["/"].root, err)
			}
			want := []string{"/", "/dev", "/dev/mqueue", "/dev/pts", "/dev/shm", "/proc", "/sys"}
			for point := range mounts {
				if !slices.Contains(want, point) && !strings.HasPrefix(point, "/proc/") && !strings.HasPrefix(point, "/sys/") {
					t.Errorf("unexpected mount on %s", point)
				}
			}
			equal(t, "entries of /", "bin dev etc proc root run sys tmp usr var", c.exec("echo $(ls /)"))
			equal(t, "the way up", "bin", c.exec("cd ../../../../..; ls | head -1"))
			equal(t, "host's mounts while it runs", before, hostMounts(t))
		})
	}
}

func TestReadonlyRoot(t *testing.T) {
	harness.NeedRoot(t)
	c := start(t, func(s *specs.Spec) { s.Root.Readonly = true })
	m := mountsOf(t, c.pid)["/"]
	equal(t, "ro", true, m.has("ro"))
	equal(t, "writing", "touch: /new: Read-only file system", c.exec("touch /new 2>&1 || true"))
	equal(t, "writing to a mount in it", "ok", c.exec("touch /dev/shm/new && echo ok"))
	if err := os.WriteFile(filepath.Join(c.bundle, "rootfs", "by-host"), nil, 0o600); err != nil {
		t.Errorf("the rootfs became read-only on the host: %v", err)
	}
}

func TestRootfsPropagation(t *testing.T) {
	harness.NeedRoot(t)
	for value, want := range map[string]string{
		"":            "master", // rslave
		"private":     "",
		"rprivate":    "",
		"slave":       "master",
		"rslave":      "master",
		"shared":      "shared",
		"rshared":     "shared",
		"unbindable":  "unbindable",
		"runbindable": "unbindable",
	} {
		t.Run("is "+value, func(t *testing.T) {
			e := harness.New(t)
			bundle := e.Bundle(sleeper, func(s *specs.Spec) { s.Linux.RootfsPropagation = value })
			// A shared mount of the host, as systemd makes them, holds the bundle.
			shared := filepath.Join(t.TempDir(), "shared")
			harness.Reachable(t, filepath.Dir(shared))
			tmpfs(t, shared, 0, unix.MS_SHARED)
			// Letting go of the old root must not unmount anything of the host's.
			other := filepath.Join(t.TempDir(), "other")
			tmpfs(t, other, 0, unix.MS_SHARED)
			tmpfs(t, filepath.Join(other, "below"), 0, unix.MS_SHARED)
			if err := os.CopyFS(filepath.Join(shared, "bundle"), os.DirFS(bundle)); err != nil {
				t.Fatal(err)
			}
			before := hostMounts(t)
			c := startIn(t, e, filepath.Join(shared, "bundle"))
			root := mountsOf(t, c.pid)["/"]
			equal(t, "propagation of /", want, root.propagation())
			equal(t, "host's mounts while it runs", before, hostMounts(t))
			e.MustRun("delete", "--force", c.id) // before the unmount
			equal(t, "host's mounts afterwards", before, hostMounts(t))
		})
	}
}

func TestMountsInTheContainerStayThere(t *testing.T) {
	harness.NeedRoot(t)
	for _, tc := range []struct {
		name, rootfs, option string
		outward, inward      bool // which mounts are seen on the other side
	}{
		{name: "private", option: "rprivate"},
		{name: "slave", option: "rslave", inward: true},
		{name: "shared, and the rootfs too", rootfs: "shared", option: "rshared", inward: true, outward: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			shared := filepath.Join(t.TempDir(), "shared")
			tmpfs(t, shared, 0, unix.MS_SHARED)
			for _, dir := range []string{"in", "out"} {
				if err := os.Mkdir(filepath.Join(shared, dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			c := start(t, func(s *specs.Spec) {
				s.Linux.RootfsPropagation = tc.rootfs
				grant(s, "CAP_SYS_ADMIN")
				s.Mounts = append(s.Mounts, specs.Mount{Source: shared, Destination: "/mnt", Options: []string{"rbind", tc.option}})
			})
			c.exec("mount -t tmpfs from-inside /mnt/out")
			_, out := parseMounts(t, hostMounts(t))[filepath.Join(shared, "out")]
			equal(t, "seen by the host", tc.outward, out)
			tmpfs(t, filepath.Join(shared, "in"), 0, unix.MS_PRIVATE)
			_, in := mountsOf(t, c.pid)["/mnt/in"]
			equal(t, "seen by the container", tc.inward, in)
			c.MustRun("delete", "--force", c.id)
			if tc.outward {
				if err := unix.Unmount(filepath.Join(shared, "out"), 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestRootfsOfAnotherFileSystemKeepsItsMounts(t *testing.T) {
	e := harness.New(t)
	bundle := e.Bundle("cat /var/below/file", nil)
	below := filepath.Join(bundle, "rootfs", "var", "below")
	tmpfs(t, below, 0, unix.MS_PRIVATE)
	write(t, filepath.Join(below, "file"), "below\n")
	equal(t, "content of a mount in the rootfs", "below\n", e.MustRun("run", "-b", bundle, e.ID("c")))
}

func TestRelativeRootPath(t *testing.T) {
	e := harness.New(t)
	bundle := e.Bundle("echo "+strconv.Itoa(os.Getpid()), func(s *specs.Spec) { s.Root.Path = "other/root" })
	if err := os.Mkdir(filepath.Join(bundle, "other"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(bundle, "rootfs"), filepath.Join(bundle, "other", "root")); err != nil {
		t.Fatal(err)
	}
	equal(t, "output", strconv.Itoa(os.Getpid())+"\n", e.MustRun("run", "-b", bundle, e.ID("c")))
}
