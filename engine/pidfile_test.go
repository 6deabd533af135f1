package engine

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// A number in a pidfile counts only if an engine has it: not a zombie, another program, or a thread.
func TestPidfileOfNoEngine(t *testing.T) {
	for name, args := range map[string][]string{"another program": {"sleep", "100"}, "a zombie": {"true"}} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(args[0], args[1:]...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			})
			claim(t, cmd.Process.Pid, true)
		})
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		if id, _ := strconv.Atoi(thread.Name()); id != os.Getpid() {
			claim(t, id, true)
		}
	}
}

// Another process of this program's name is an engine.
func TestPidfileOfAnEngine(t *testing.T) {
	cmd := exec.Command("sleep", "100")
	cmd.Args[0] = "/somewhere/dockerd"
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	claim(t, cmd.Process.Pid, false)
}

func claim(t *testing.T, pid int, free bool) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pid")
	if err := os.WriteFile(path, []byte(strconv.Itoa(pid)), 0o600); err != nil {
		t.Fatal(err)
	}
	remove, err := writePidfile(path)
	if (err == nil) != free {
		t.Errorf("process %d: %v", pid, err)
	}
	if err == nil {
		remove()
	}
}
