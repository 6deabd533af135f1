package reap

import (
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

func TestMain(m *testing.M) {
	if err := Subreaper(); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// orphan starts a process whose parent ends at once, and returns its number.
func orphan(t *testing.T, script string) int {
	t.Helper()
	out, err := exec.Command("sh", "-c", "{ "+script+"; } >/dev/null 2>&1 & echo $!").Output()
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestWait(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		want   int
	}{
		"exit code":             {"sleep 0.1; exit 7", 7},
		"zombie before it":      {"sleep 0.2; exit 3", 3},
		"killed":                {"sleep 0.1; kill -9 $(exec sh -c 'echo $PPID')", 137},
		"terminated by another": {"sleep 0.1; exec sleep 100", 143},
	} {
		t.Run(name, func(t *testing.T) {
			pid := orphan(t, c.script)
			if name == "zombie before it" {
				time.Sleep(500 * time.Millisecond)
			}
			p, err := Open(pid)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if c.want == 143 {
				if err := p.Signal(unix.SIGTERM); err != nil {
					t.Error(err)
				}
			}
			begin := time.Now()
			exit, err := p.Wait()
			if err != nil || exit.Status != c.want || exit.At.Before(begin) {
				t.Errorf("%+v, %v; want status %d", exit, err, c.want)
			}
			if err := p.Signal(unix.SIGTERM); err != unix.ESRCH {
				t.Errorf("a signal after the end: %v", err)
			}
		})
	}
}

// TestWaitForAnothersChild: there is no status to be had, but the end is seen.
func TestWaitForAnothersChild(t *testing.T) {
	cmd := exec.Command("sh", "-c", "sleep 0.2 & echo $!; exec >&-; wait; exec sleep 10")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	line := make([]byte, 20)
	n, _ := out.Read(line)
	pid, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
	if err != nil {
		t.Fatal(err)
	}
	p, err := Open(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if exit, err := p.Wait(); err != nil || exit.Status != lost {
		t.Errorf("%+v, %v", exit, err)
	}
}

// orphans has them reaped while a test runs.
func orphans(t *testing.T) {
	t.Helper()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGCHLD)
	t.Cleanup(func() {
		signal.Stop(signals)
		close(signals)
	})
	died := Orphans()
	go func() {
		for range signals {
			died()
		}
	}()
}

func TestOrphans(t *testing.T) {
	orphans(t)
	stray := orphan(t, "sleep 0.1")
	awaited, err := Open(orphan(t, "sleep 0.2; exit 9"))
	if err != nil {
		t.Fatal(err)
	}
	defer awaited.Close()
	if !harness.Until(20*time.Second, func() bool { return unix.Kill(stray, 0) == unix.ESRCH }) {
		t.Errorf("process %d stays a zombie", stray)
	}
	if exit, err := awaited.Wait(); err != nil || exit.Status != 9 {
		t.Errorf("the process that somebody waits for: %+v, %v", exit, err)
	}
}

// TestExpect: a process ends long before whoever has it started learns its number.
func TestExpect(t *testing.T) {
	orphans(t)
	release := Expect()
	pid := orphan(t, "sleep 0.5; exit 5") // not before the shell between has ended, which would reap it
	time.Sleep(3 * settle)
	p, err := Open(pid)
	release()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if exit, err := p.Wait(); err != nil || exit.Status != 5 {
		t.Errorf("%+v, %v", exit, err)
	}
}
