package criu

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/criu/criutest"
)

func TestMain(m *testing.M) {
	criutest.Main()
	os.Exit(m.Run())
}

func TestVersionIsAskedFor(t *testing.T) {
	for _, c := range []struct{ env, want, tooOld string }{
		{"", "3.17.1", ""},
		{"VERSION=4.2.0", "4.2.0", ""},
		{"VERSION=3.14.9", "3.14.9", "checkpoint needs criu 3.15.0 or newer, this is 3.14.9"},
	} {
		t.Run(c.want, func(t *testing.T) {
			criutest.Install(t, strings.Fields(c.env)...)
			v, err := Installed()
			if err != nil || v.String() != c.want {
				t.Errorf("version %v, %v; want %s", v, err, c.want)
			}
			got := ""
			if err := v.Need(31500, "checkpoint"); err != nil {
				got = err.Error()
			}
			if got != c.tooOld {
				t.Errorf("got %q, want %q", got, c.tooOld)
			}
		})
	}
}

func TestFeaturesAreAskedFor(t *testing.T) {
	for _, f := range []Feature{MemoryTracking, LazyPages} {
		criutest.Install(t, "LACK=")
		if err := NeedFeature(f, "--flag"); err != nil {
			t.Errorf("feature %d: %v", f, err)
		}
		criutest.Install(t, "LACK=1")
		if err := NeedFeature(f, "--flag"); err == nil || !strings.HasPrefix(err.Error(), "--flag: ") {
			t.Errorf("feature %d is missing: %v", f, err)
		}
	}
}

func TestWithoutCRIU(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Installed()
	if !errors.As(err, new(*MissingError)) || !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), `"criu": executable file not found in $PATH`) {
		t.Error(err)
	}
}

// call is a restore whose log is in a directory of the test.
func call(t *testing.T) *Call {
	t.Helper()
	dir := t.TempDir()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return &Call{
		Type:    Restore,
		Options: &Options{ImagesDirFD: fd, LogFile: "restore.log"},
		Log:     filepath.Join(dir, "restore.log"),
	}
}

func TestRefusalQuotesTheLog(t *testing.T) {
	for _, c := range []struct{ env, want string }{
		{"FAIL=restore", "criu failed: type RESTORE errno 17: Error (fake.c:1): the cause; log file: LOG"},
		{"DIE=restore", "criu failed: type RESTORE errno 0: ended with signal: killed: Error (fake.c:1): the cause; log file: LOG"},
	} {
		t.Run(c.env, func(t *testing.T) {
			criutest.Install(t, c.env)
			call := call(t)
			_, err := call.Do()
			if !errors.As(err, new(*Error)) || strings.ReplaceAll(err.Error(), call.Log, "LOG") != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestNotificationsAreAnswered(t *testing.T) {
	criutest.Install(t)
	var scripts []string
	c := call(t)
	pid := 0
	c.Started = func(criu int) error {
		if criu <= 0 {
			t.Errorf("pid %d", criu)
		}
		return nil
	}
	c.Notify = func(n *Notification) error {
		scripts = append(scripts, n.Script)
		pid = n.PID
		if n.FD != -1 {
			t.Errorf("descriptor %d with %s", n.FD, n.Script)
		}
		return nil
	}
	resp, err := c.Do()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(scripts, " "); got != "setup-namespaces post-restore" {
		t.Errorf("notified of %s", got)
	}
	if resp.PID != pid {
		t.Errorf("restored %d, was told of %d", resp.PID, pid)
	}
	kill(t, pid)
}

func TestRefusedNotificationEndsIt(t *testing.T) {
	criutest.Install(t)
	refusal := errors.New("no")
	c, pid := call(t), 0
	c.Notify = func(n *Notification) error {
		pid = n.PID
		return refusal
	}
	if _, err := c.Do(); err != refusal {
		t.Errorf("got %v, want what Notify returned", err)
	}
	kill(t, pid)
}

// kill ends a restored process and reaps it: it must be a child of this one.
func kill(t *testing.T, pid int) {
	t.Helper()
	_ = unix.Kill(pid, unix.SIGKILL) // it may be a zombie already
	if _, err := unix.Wait4(pid, nil, 0, nil); err != nil {
		t.Errorf("wait for %d: %v", pid, err)
	}
}

func TestFailureBeforeTheRequest(t *testing.T) {
	requests := criutest.Install(t)
	failure := errors.New("no")
	c := call(t)
	c.Started = func(int) error { return failure }
	if _, err := c.Do(); err != failure {
		t.Errorf("got %v", err)
	}
	c.Started, c.Start = nil, func(*exec.Cmd) error { return failure }
	if _, err := c.Do(); !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(requests); err == nil {
		t.Error("CRIU got a request all the same")
	}
}

func TestLastError(t *testing.T) {
	for _, c := range []struct{ log, want string }{
		{"", ""},
		{"(00.1) all is well\n", ""},
		{"(00.1) Error (a.c:1): early\n(00.2) fine\n(00.3) Error (b.c:2): late\n(00.4) Error (c.c:3): Dumping FAILED.\n(00.5) Error (d.c:4): after\n", "Error (b.c:2): late"},
		{"(00.1) Error (a.c:1): cause\n(00.3) Error (b.c:2): effect\n(00.4) fine\n", "Error (a.c:1): cause"},
		{"(00.1) Error (c.c:3): Dumping FAILED.\n", ""},
	} {
		file := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(file, []byte(c.log), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := lastError(file); got != c.want {
			t.Errorf("%q: got %q, want %q", c.log, got, c.want)
		}
	}
	if got := lastError("/none"); got != "" {
		t.Errorf("no log: %q", got)
	}
}
