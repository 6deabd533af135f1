package managed_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gantry-containers/gantry/engine/managed"
)

// The test's own program is the manager of the tests: it serves the socket that it is told, until SIGTERM.
func TestMain(m *testing.M) {
	for i, arg := range os.Args {
		if arg == "--address" {
			os.Exit(serve(os.Args[i+1]))
		}
	}
	os.Exit(m.Run())
}

func serve(address string) int {
	_ = os.Remove(address)
	l, err := net.Listen("unix", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	<-end
	return 0
}

func start(t *testing.T, o managed.Options) *managed.Manager {
	t.Helper()
	m, err := managed.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Stop() })
	return m
}

func options(t *testing.T) managed.Options {
	t.Helper()
	t.Setenv("GORACE", "atexit_sleep_ms=0") // managers are this program
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return managed.Options{Root: filepath.Join(dir, "root"), State: filepath.Join(dir, "state"), LogLevel: "info", Program: self}
}

func answers(address string) bool {
	c, err := net.Dial("unix", address)
	if err == nil {
		c.Close()
	}
	return err == nil
}

// until polls, as long as a test may last.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

func TestStartAndStop(t *testing.T) {
	o := options(t)
	m := start(t, o)
	if !answers(m.Address()) || m.Pid() == 0 {
		t.Fatal("the manager does not answer")
	}
	if sid, err := syscall.Getpgid(m.Pid()); err != nil || sid != m.Pid() {
		t.Errorf("process group %d, %v: what ends the engine's group would end the manager", sid, err)
	}
	pid := m.Pid()
	if err := m.Stop(); err != nil {
		t.Fatal(err)
	}
	// It has ended; that somebody waited for it may come a moment later.
	until(t, "the manager is still there", func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) })
	if _, err := os.Stat(filepath.Join(o.State, "manager.pid")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pidfile is still there: %v", err)
	}
}

// The second engine comes while the first one's manager runs, as after a SIGKILL of the first.
func TestAdopt(t *testing.T) {
	o := options(t)
	first := start(t, o)
	second := start(t, o)
	if first.Pid() != second.Pid() {
		t.Fatalf("managers %d and %d: want the one that was there", first.Pid(), second.Pid())
	}
	if err := second.Stop(); err != nil {
		t.Fatal(err)
	}
	// The first one watches still, and starts it again.
	until(t, "no manager was started again", func() bool { return answers(first.Address()) })
}

func TestStartedAgainWhenItDies(t *testing.T) {
	m := start(t, options(t))
	old := m.Pid()
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "it was not started again", func() bool { return m.Pid() != 0 && m.Pid() != old && answers(m.Address()) })
}

// A number in the pidfile is somebody else's by now, or nobody's: that process is left alone.
func TestStalePidfile(t *testing.T) {
	for name, content := range map[string]string{"ours": fmt.Sprint(os.Getpid()), "nobody's": "4194300", "half": "12x", "empty": "", "init's": "1"} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			if err := os.MkdirAll(o.State, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(o.State, "manager.pid"), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if m := start(t, o); !answers(m.Address()) {
				t.Error("the manager does not answer")
			}
		})
	}
}

func TestAManagerThatEndsAtOnce(t *testing.T) {
	o := options(t)
	o.Program = "/bin/false"
	_, err := managed.Start(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "it ended at once") {
		t.Errorf("error %v", err)
	}
	o.Program = "/bin/sleep" // It does not know the arguments, either, but an answer is waited for no longer than asked.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := managed.Start(ctx, o); err == nil {
		t.Error("no error")
	}
}
