package mount

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/api/types"
	"github.com/gantry-containers/gantry/tests/harness"
)

const inNamespace = "GANTRY_TEST_PRIVATE_MOUNTS"

// TestMain runs the tests in a mount namespace of their own, where they can be root.
func TestMain(m *testing.M) {
	if os.Geteuid() != 0 || os.Getenv(inNamespace) != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// scene is a directory for one test's mounts, on a tmpfs that goes with the test.
type scene struct {
	t      testing.TB
	dir    string
	target string // dir/rootfs
}

func newScene(t testing.TB) *scene {
	harness.NeedRoot(t)
	dir := t.TempDir()
	check(t, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	t.Cleanup(func() { check(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return sceneIn(t, dir)
}

// newDiskScene is one on a disk: the owners of a tmpfs can be mapped since Linux 6.3 only.
func newDiskScene(t testing.TB) *scene {
	harness.NeedRoot(t)
	dir, err := os.MkdirTemp("/var/tmp", "gantry-mount-") //nolint:usetesting // a temporary folder can be a tmpfs
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	return sceneIn(t, dir)
}

func sceneIn(t testing.TB, dir string) *scene {
	s := &scene{t: t, dir: dir, target: dir + "/rootfs"}
	s.mkdir("rootfs")
	return s
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// mkdir makes directories, and returns the last one's path.
func (s *scene) mkdir(names ...string) (path string) {
	s.t.Helper()
	for _, n := range names {
		path = filepath.Join(s.dir, n)
		check(s.t, os.MkdirAll(path, 0o755))
	}
	return path
}

// file makes an empty file and returns its path.
func (s *scene) file(name string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	check(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
	check(s.t, os.WriteFile(path, nil, 0o644))
	return path
}

// overlay is one with n lower layers, each with a file of its number.
func (s *scene) overlay(n int, options ...string) *types.Mount {
	s.t.Helper()
	var lower []string
	for i := range n {
		name := fmt.Sprintf("snapshots/%d/fs", i)
		s.file(fmt.Sprintf("%s/file%d", name, i))
		lower = append(lower, filepath.Join(s.dir, name))
	}
	return &types.Mount{Type: "overlay", Source: "overlay", Options: append(options,
		"workdir="+s.mkdir("snapshots/new/work"), "upperdir="+s.mkdir("snapshots/new/fs"), "lowerdir="+strings.Join(lower, ":"))}
}

func (s *scene) all(mounts ...*types.Mount) {
	s.t.Helper()
	check(s.t, All(mounts, s.target))
}

// seen is what mountinfo says of mounts at and below the target: place, root, own options, propagation, type.
func (s *scene) seen() []string {
	s.t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	check(s.t, err)
	var list []string
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if !within(f[4], s.target) {
			continue
		}
		sep := 6
		for f[sep] != "-" {
			sep++
		}
		root := strings.TrimPrefix(f[3], strings.TrimPrefix(s.dir, ""))
		list = append(list, strings.Join([]string{
			"." + strings.TrimPrefix(f[4], s.target), root, f[5],
			masked(f[6:sep]), f[sep+1],
		}, " "))
	}
	return list
}

// masked is the propagation without the numbers of the peer groups.
func masked(tags []string) string {
	var kinds []string
	for _, t := range tags {
		kind, _, _ := strings.Cut(t, ":")
		kinds = append(kinds, kind)
	}
	if len(kinds) == 0 {
		return "private"
	}
	return strings.Join(kinds, "+")
}

// gone fails the test if anything is mounted at or below the target.
func (s *scene) gone() {
	s.t.Helper()
	if left := s.seen(); len(left) != 0 {
		s.t.Errorf("still mounted: %q", left)
	}
}
