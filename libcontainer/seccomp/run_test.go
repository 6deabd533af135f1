package seccomp

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLibseccompVersion(t *testing.T) {
	needCompiler(t)
	version, err := LibseccompVersion()
	if err != nil || !strings.HasPrefix(version, "2.") || strings.ContainsAny(version, " \n") {
		t.Errorf("got %q, %v", version, err)
	}
}

func TestTheCompilersNameHoldsTheArchitecture(t *testing.T) {
	needCompiler(t)
	if id := compilerID(); !strings.HasSuffix(id, "/"+runtime.GOARCH) {
		t.Errorf("got %q", id)
	}
}

func TestAFaultyProfileIsAProfileError(t *testing.T) {
	needCompiler(t)
	dir := filepath.Join(t.TempDir(), "seccomp")
	_, err := Load([]byte(`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "X"}]}`), dir)
	var fault *ProfileError
	if !errors.As(err, &fault) || err.Error() != `linux.seccomp.syscalls[0].action: unknown action "X"` {
		t.Errorf("got %v", err)
	}
	if files, _ := os.ReadDir(dir); len(files) > 0 {
		t.Errorf("a fault left %v", files)
	}
}

func TestCompilerFaults(t *testing.T) {
	tests := []struct{ name, script, want string }{
		{"killed", "kill -9 $$", "linux.seccomp: seccomp compiler: died of signal 9: "},
		{"another status", "echo oh >&2; exit 2", "linux.seccomp: seccomp compiler: ended with status 2: oh"},
		{"the profile's status without a word", "exit 1", "linux.seccomp: seccomp compiler: ended with status 1: "},
		{"an answer of another form", "echo hello", "linux.seccomp: the seccomp compiler gave a malformed answer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fakeCompiler(t, tt.script)
			dir := filepath.Join(t.TempDir(), "seccomp")
			_, err := Load([]byte(simple), dir)
			if err == nil || err.Error() != tt.want || errors.As(err, new(*ProfileError)) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if files, _ := os.ReadDir(dir); len(files) > 0 {
				t.Errorf("a fault left %v", files)
			}
		})
	}
}

func TestNoCompilerIsAClearError(t *testing.T) {
	if image != "" {
		t.Skip("the embedded compiler is in use")
	}
	t.Setenv("PATH", t.TempDir())
	_, err := Load([]byte(simple), "")
	if !errors.Is(err, unix.ENOENT) || !strings.HasPrefix(err.Error(), "linux.seccomp: seccomp compiler: this build has none inside") {
		t.Errorf("got %v", err)
	}
}

func compilerImage(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(needCompiler(t))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAnImageRunsFromMemory(t *testing.T) {
	out, err := runMemory(compilerImage(t), []byte(simple))
	if err != nil || parseFrame(out) == nil {
		t.Errorf("got %d bytes, %v", len(out), err)
	}
}

func TestAnImageRunsFromAFileThatIsThenGone(t *testing.T) {
	dir := t.TempDir()
	out, err := runTemp(dir, compilerImage(t), []byte(simple))
	if err != nil || parseFrame(out) == nil {
		t.Errorf("got %d bytes, %v", len(out), err)
	}
	if files, _ := os.ReadDir(dir); len(files) > 0 {
		t.Errorf("left %v", files)
	}
}

func TestAnImageThatIsNoProgramIsAnError(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	_, err := runImage("no program", nil, dir)
	if !errors.Is(err, unix.ENOEXEC) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
	if files, _ := os.ReadDir(dir); len(files) > 0 {
		t.Errorf("left %v", files)
	}
}

// memoryChild runs in a pid namespace of its own, where it forbids programs
// in memory (vm.memfd_noexec is the namespace's own), and then runs an image.
func memoryChild() {
	must := func(err error) {
		if err != nil {
			fmt.Fprint(os.Stderr, err)
			os.Exit(3)
		}
	}
	must(os.WriteFile("/proc/sys/vm/memfd_noexec", []byte("2"), 0))
	image, err := os.ReadFile(os.Getenv("IMAGE"))
	must(err)
	if _, err := runMemory(string(image), nil, "--version"); !errors.As(err, new(*startError)) {
		fmt.Fprint(os.Stderr, "memory was not refused")
		os.Exit(3)
	}
	out, err := runImage(string(image), nil, "", "--version")
	must(err)
	fmt.Fprintf(os.Stdout, "%s", out)
	os.Exit(0)
}

func TestAMachineThatForbidsProgramsInMemory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a pid namespace needs root")
	}
	if _, err := os.Stat("/proc/sys/vm/memfd_noexec"); err != nil {
		t.Skip("this kernel has no vm.memfd_noexec")
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"=memory", "IMAGE="+needCompiler(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "2.") {
		t.Errorf("got %q, %v", out, err)
	}
}
