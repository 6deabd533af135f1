package pause

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// write puts the program into a file.
func write(t *testing.T) string {
	t.Helper()
	program, err := Program()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(program); n <= totalSize || n > 1000 {
		t.Fatalf("the program has %d bytes: is the end before the beginning?", n)
	}
	name := filepath.Join(t.TempDir(), "pause")
	if err := os.WriteFile(name, program, 0o555); err != nil {
		t.Fatal(err)
	}
	return name
}

// start starts the program and waits until it sleeps. Under qemu's user emulation, whose path is in $GANTRY_EMULATOR then,
// the kernel does not know what to do with another architecture's program.
func start(t *testing.T, flags uintptr) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(write(t))
	if emulator := os.Getenv("GANTRY_EMULATOR"); emulator != "" {
		cmd = exec.Command(emulator, cmd.Path)
	}
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: flags, Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if !harness.Until(5*time.Second, func() bool { return strings.HasPrefix(status(t, cmd.Process.Pid, "State"), "S") }) {
		t.Fatal("the program does not sleep")
	}
	return cmd
}

// status is a line of /proc/PID/status.
func status(t *testing.T, pid int, key string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "\n"+key+":")
	value, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(value)
}

func TestEndsOnSignal(t *testing.T) {
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			cmd := start(t, 0)
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}

// As process 1 of a pid namespace nobody but itself takes its signals, and the orphans are its own.
func TestReapsAsInit(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a pid namespace needs root")
	}
	cmd := start(t, unix.CLONE_NEWPID)
	ns := fmt.Sprintf("/proc/%d/ns/pid", cmd.Process.Pid)
	// The shell's child is an orphan as soon as the shell has ended; its parent is then the namespace's process 1.
	for range 3 {
		shell := exec.Command("nsenter", "--pid="+ns, "sh", "-c", "sleep 0.1 &")
		if out, err := shell.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	children := fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", cmd.Process.Pid)
	if !harness.Until(5*time.Second, func() bool {
		b, err := os.ReadFile(children)
		return err == nil && len(b) == 0
	}) {
		b, _ := os.ReadFile(children)
		t.Errorf("children are left: %s", b)
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// Its whole point is to be small: no thread but its own, and a few pages.
func TestIsSmall(t *testing.T) {
	cmd := start(t, 0)
	if got := status(t, cmd.Process.Pid, "Threads"); got != "1" {
		t.Errorf("it has %s threads", got)
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "Private_Dirty:")
	var dirty int
	if _, err := fmt.Sscan(rest, &dirty); err != nil || dirty > 5*os.Getpagesize()/1024 {
		t.Errorf("it keeps %d KiB of its own (%v)\n%s", dirty, err, b)
	}
}
