package state

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestParseStat(t *testing.T) {
	const rest = " S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654321 1000 2000 18446744073709551615\n"
	want := Stat{State: 'S', Parent: 7, StartTime: 987654321}
	for _, c := range []struct {
		name, line string
		ok         bool
	}{
		{"a plain name", "1 (init)" + rest, true},
		{"a name with spaces and parentheses", "1 (a) R 1 (b)" + rest, true},
		{"a name with a newline", "1 (a\n)" + rest, true},
		{"an empty name", "1 ()" + rest, true},
		{"empty", "", false},
		{"no name", "1 S 7", false},
		{"nothing after the name", "1 (init)", false},
		{"too few fields", "1 (init) S 7 1 1 0 -1 4194560", false},
		{"a parent that is no number", "1 (init) S x 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 9 1\n", false},
		{"a negative start time", "1 (init) S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 -9 1\n", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := parseStat([]byte(c.line))
			if ok != c.ok || ok && got != want {
				t.Errorf("got %+v, %v", got, ok)
			}
		})
	}
}

func TestAliveFollowsAProcessToItsEnd(t *testing.T) {
	cmd := exec.Command("cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err = cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := Identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	alive := func(p Process) bool {
		t.Helper()
		ok, err := p.Alive()
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if s, err := ReadStat(p.PID); err != nil || s.Parent != os.Getpid() {
		t.Errorf("stat %+v, %v: want this process as the parent", s, err)
	}
	if !alive(p) {
		t.Error("a running process is not alive")
	}
	if alive(Process{p.PID, p.StartTime - 1}) {
		t.Error("a process that had the pid before is alive")
	}
	if err := in.(io.Closer).Close(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if s, err := ReadStat(p.PID); err == nil && s.State == 'Z' {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no zombie")
		}
	}
	if alive(p) {
		t.Error("a zombie is alive")
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if alive(p) {
		t.Error("a reaped process is alive")
	}
	if _, err := Identify(p.PID); !errors.Is(err, unix.ESRCH) {
		t.Errorf("identify a reaped process: %v, want ESRCH", err)
	}
}

func TestTheZeroProcessIsNotAlive(t *testing.T) {
	for _, p := range []Process{{}, {PID: -1}} {
		if ok, err := p.Alive(); ok || err != nil {
			t.Errorf("%+v: %v, %v", p, ok, err)
		}
	}
	if diff := cmp.Diff(State{}.Init, Process{}); diff != "" {
		t.Error(diff)
	}
}
