package root_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

// descriptors are the numbers of a process's open files.
func descriptors(t *testing.T, pid int) []string {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	slices.Sort(list)
	return list
}

// openFile is a file of the host for a container to inherit.
func openFile(t *testing.T, content string) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	write(t, name, content)
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestProgramInheritsOnlyStdio(t *testing.T) {
	e := harness.New(t)
	secret := openFile(t, "secret")
	r := e.RunWith(func(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{secret, secret} },
		"run", "-b", e.Bundle("ls /proc/1/fd; ls /proc/self/task | wc -l", nil), e.ID("c"))
	equal(t, "descriptors and threads", "0\n1\n2\n1\n", r.Stdout)
	c := startIn(t, e, e.Bundle(sleeper, nil))
	r = e.RunWith(func(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{secret} }, "exec", c.id, "sh", "-c", "ls /proc/$$/fd; true")
	equal(t, "descriptors of exec", "0\n1\n2\n", r.Stdout)
}

func TestPreserveFDs(t *testing.T) {
	e := harness.New(t)
	files := []*os.File{openFile(t, "three\n"), openFile(t, "four\n"), openFile(t, "five\n")}
	r := e.RunWith(func(cmd *exec.Cmd) { cmd.ExtraFiles = files },
		"run", "--preserve-fds", "2", "-b", e.Bundle("cat <&3; cat <&4; ls /proc/1/fd; true", nil), e.ID("c"))
	equal(t, "content", "three\nfour\n0\n1\n2\n3\n4\n", r.Stdout)
	r = e.RunWith(func(cmd *exec.Cmd) { cmd.ExtraFiles = files[:1] },
		"run", "--preserve-fds", "3", "-b", e.Bundle("true", nil), e.ID("missing"))
	wantFailure(t, r, "preserve", "3")
}

// TestCreatedContainerShowsNothingOfTheHost looks at what root of another container with
// the same user could see of a process that waits for start.
func TestCreatedContainerShowsNothingOfTheHost(t *testing.T) {
	e := harness.New(t)
	id := e.ID("c")
	secret := openFile(t, "secret")
	t.Setenv("SECRET_OF_THE_CALLER", "secret")
	r := e.RunWith(func(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{secret} }, "create", "-b", e.Bundle("true", nil), id)
	if r.Code != 0 {
		t.Fatal(r.Stderr)
	}
	pid := e.State(id).Pid
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil || !strings.HasPrefix(exe, "/memfd:") {
		t.Errorf("exe is %q, %v", exe, err)
	}
	if f, err := os.OpenFile(fmt.Sprintf("/proc/%d/exe", pid), os.O_RDWR, 0); err == nil {
		_ = f.Close()
		t.Error("exe can be written")
	}
	for line := range strings.Lines(proc(t, pid, "maps")) {
		f := strings.Fields(line)
		if len(f) > 5 && strings.HasPrefix(f[5], "/") && !strings.HasPrefix(f[5], "/memfd:") && f[5] != "/dev/zero" {
			t.Errorf("maps has %s", f[5])
		}
	}
	for _, file := range []string{"cmdline", "environ"} {
		if got := strings.Trim(proc(t, pid, file), "\x00"); got != "" {
			t.Errorf("%s shows %q", file, got)
		}
	}
	for _, fd := range descriptors(t, pid) {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd))
		if err != nil {
			t.Fatal(err)
		}
		if fd <= "2" || !strings.HasPrefix(link, "/") || strings.HasPrefix(link, "/memfd:") {
			continue
		}
		// What is left may be the container's own root.
		if !sameFile(t, fmt.Sprintf("/proc/%d/fd/%s", pid, fd), fmt.Sprintf("/proc/%d/root", pid)) {
			t.Errorf("descriptor %s is %s", fd, link)
		}
	}
	for _, link := range []string{"cwd", "root"} {
		to, err := os.Readlink(fmt.Sprintf("/proc/%d/%s", pid, link))
		if err != nil || to != "/" {
			t.Errorf("%s is %q, %v", link, to, err)
		}
	}
	equal(t, "dumpable: owner of its files", 0, ownerOf(t, fmt.Sprintf("/proc/%d/fd", pid)))
	e.MustRun("start", id)
	e.WaitStatus(id, specs.StateStopped)
}

func sameFile(t *testing.T, a, b string) bool {
	t.Helper()
	first, err := os.Stat(a)
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.Stat(b)
	if err != nil {
		t.Fatal(err)
	}
	return os.SameFile(first, second)
}

func TestExecAsProcSelfExe(t *testing.T) { // CVE-2019-5736
	e := harness.New(t)
	before := read(t, harness.Runtime(t))
	bundle := e.Bundle("", func(s *specs.Spec) { s.Process.Args = []string{"/entry"} })
	write(t, filepath.Join(bundle, "rootfs", "entry"), "#!/proc/self/exe\n")
	if err := os.Chmod(filepath.Join(bundle, "rootfs", "entry"), 0o755); err != nil {
		t.Fatal(err)
	}
	if r := e.Run("run", "-b", bundle, e.ID("c")); r.Code == 0 {
		t.Error("the runtime ran itself inside the container")
	}
	if before != read(t, harness.Runtime(t)) {
		t.Error("the runtime's binary has changed")
	}
}

func TestPidFileIsReplacedAtOnce(t *testing.T) {
	e := harness.New(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "pid")
	write(t, file, "old")
	// A reader that has the old file open never sees half of a new one.
	old, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	c := startIn(t, e, e.Bundle(sleeper, nil), "--pid-file", file)
	equal(t, "new file", fmt.Sprint(c.pid), read(t, file))
	b := make([]byte, 10)
	n, err := old.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "old file", "old", string(b[:n]))
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "files beside it", 1, len(entries))
}
