package cgroup

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// deviceHelper makes the test binary a process that says what access it has.
const deviceHelper = "GANTRY_CGROUP_TEST_DEVICES"

func TestMain(m *testing.M) {
	if os.Getenv(deviceHelper) != "" {
		reportAccess()
		return
	}
	on, before := onForChildren(), openFDs()
	code := m.Run()
	restore(on)
	if after := openFDs(); len(after) > len(before) {
		println("descriptors at the start:", strings.Join(before, " "), "and at the end:", strings.Join(after, " "))
		code = 1
	}
	os.Exit(code)
}

// openFDs lists what is open, but for what the Go runtime opens for itself.
func openFDs() []string {
	links, _ := filepath.Glob("/proc/self/fd/*")
	var open []string
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && !strings.HasPrefix(target, "anon_inode:[event") {
			open = append(open, target)
		}
	}
	return open
}

// onForChildren reads which controllers the root of the v2 hierarchy hands on.
func onForChildren() string {
	on, _ := readFile(mountRoot+"unified", subtreeFile)
	return on
}

// restore turns off what the tests turned on in the root of the v2 hierarchy.
func restore(on string) {
	for controller := range strings.FieldsSeq(onForChildren()) {
		if !strings.Contains(on, controller) {
			_ = writeFile(mountRoot+"unified", subtreeFile, "-"+controller)
		}
	}
}

const mountRoot = "/sys/fs/cgroup/"

// hierarchy finds where a hierarchy of this machine is mounted, "" for v2.
func hierarchy(t *testing.T, name string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make cgroups")
	}
	places, magic := []string{mountRoot + name}, int64(unix.CGROUP_SUPER_MAGIC)
	if name == "" {
		places, magic = []string{mountRoot + "unified", "/sys/fs/cgroup"}, unix.CGROUP2_SUPER_MAGIC
	}
	for _, place := range places {
		var st unix.Statfs_t
		if unix.Statfs(place, &st) == nil && st.Type == magic {
			return place
		}
	}
	t.Skipf("this machine has no cgroup hierarchy %q", name)
	return ""
}

// place names cgroups for the test in the given hierarchies, which are removed at its
// end whatever happens.
func place(t *testing.T, hierarchies ...string) []plan.Cgroup {
	t.Helper()
	path := "/gantry-test-" + strconv.Itoa(os.Getpid())
	var cgs []plan.Cgroup
	for _, name := range hierarchies {
		mount := hierarchy(t, name)
		cgs = append(cgs, plan.Cgroup{Hierarchy: name, Mount: mount, Path: path + "/" + filepath.Base(t.Name())})
		t.Cleanup(func() {
			err := removeTree(mount + path)
			for range 500 { // A process that was killed leaves its cgroup when it has been taken apart.
				if err == nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
				err = removeTree(mount + path)
			}
			t.Error(err)
		})
	}
	return cgs
}

// create makes the test's cgroups.
func create(t *testing.T, hierarchies ...string) *Set {
	t.Helper()
	s, err := Create(place(t, hierarchies...), false)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sleeper starts a process in the set's cgroups that lives until the test ends.
func sleeper(t *testing.T, s *Set) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	start(t, s, cmd)
	return cmd
}

// start runs cmd in the set's cgroups: it joins them before it becomes its program.
func start(t *testing.T, s *Set, cmd *exec.Cmd) {
	t.Helper()
	script := ""
	for i := range s.groups {
		script += "echo 0 > " + s.groups[i].dir + "/cgroup.procs && "
	}
	cmd.Args = append([]string{"sh", "-c", script + `echo joined >&3 && exec "$@"`, "sh"}, cmd.Args...)
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Path, cmd.Err = shell, nil
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{w}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = s.Thaw()
		_ = cmd.Wait()
	})
	var joined [6]byte
	if _, err := io.ReadFull(r, joined[:]); err != nil {
		t.Fatalf("child did not join its cgroups: %v", err)
	}
	_ = r.Close()
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// diedOf reports whether the process was killed by the signal.
func diedOf(err error, sig syscall.Signal) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == sig
}
