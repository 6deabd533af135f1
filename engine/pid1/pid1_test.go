package pid1

import (
	"bufio"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain is the program itself when a test starts it so.
func TestMain(m *testing.M) {
	if os.Getenv("GANTRY_PID1") != "" {
		os.Exit(Main(os.Args[1:], os.Stderr))
	}
	os.Exit(m.Run())
}

// command is an init that adopts processes as it would in a container.
func command(t *testing.T, script ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, append([]string{"--"}, script...)...)
	cmd.Env = append(os.Environ(), "GANTRY_PID1=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	return cmd
}

func TestCodes(t *testing.T) {
	for _, tt := range []struct {
		script []string
		code   int
		says   string
	}{
		{[]string{"sh", "-c", "exit 0"}, 0, ""},
		{[]string{"sh", "-c", "exit 7"}, 7, ""},
		{[]string{"sh", "-c", "kill -9 $$"}, 137, ""},
		{[]string{"/nowhere"}, 127, "no such file"},
		{[]string{"nowhere"}, 127, "not found"},
		{[]string{"/etc/passwd"}, 126, "permission denied"},
		{nil, 1, "usage"},
	} {
		out, _ := command(t, tt.script...).CombinedOutput()
		cmd := command(t, tt.script...)
		_ = cmd.Run()
		if cmd.ProcessState.ExitCode() != tt.code || !strings.Contains(string(out), tt.says) {
			t.Errorf("%q: code %d, want %d; says %q, want %q", tt.script, cmd.ProcessState.ExitCode(), tt.code, out, tt.says)
		}
	}
}

func TestSignals(t *testing.T) {
	cmd := command(t, "sh", "-c", `sleep 1000 & trap "echo term; kill $!; exit 3" TERM; echo ready; wait`)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "ready" {
		t.Fatalf("said %q", lines.Text())
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if !lines.Scan() || lines.Text() != "term" {
		t.Errorf("said %q, not term", lines.Text())
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 3 {
		t.Errorf("code %d, want 3", code)
	}
}

// TestOrphans looks for zombies below an init of a pid namespace.
func TestOrphans(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes a pid namespace")
	}
	cmd := command(t, "sh", "-c", `(sh -c 'sh -c "exit 0" & echo $!' | cat) ; for i in 1 2 3 4 5 6 7 8 9 10; do sh -c 'true & exit 0'; done; sleep 0.1; grep -l '^State:.Z' /proc/[0-9]*/status; grep -c . /proc/1/comm`)
	cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWPID
	cmd.SysProcAttr.Unshareflags = unix.CLONE_NEWNS // Go makes it private, too.
	cmd.Args = append([]string{cmd.Args[0], "--", "sh", "-c", "mount -t proc proc /proc && exec \"$@\"", "sh"}, cmd.Args[2:]...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if _, err := strconv.Atoi(lines[0]); err != nil || len(lines) != 2 || lines[1] != "1" {
		t.Errorf("zombies, or no answer: %q", out)
	}
}
