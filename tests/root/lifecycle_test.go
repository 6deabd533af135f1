package root_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

func TestLifecycle(t *testing.T) {
	e := harness.New(t)
	id := e.ID("c")
	bundle := e.Bundle("echo started >/started; "+sleeper, nil)
	started := filepath.Join(bundle, "rootfs", "started")
	pidFile := filepath.Join(t.TempDir(), "pid")
	e.MustRun("create", "-b", bundle, "--pid-file", pidFile, id)
	st := e.State(id)
	equal(t, "status after create", specs.StateCreated, st.Status)
	equal(t, "pid file", strconv.Itoa(st.Pid), read(t, pidFile))
	b, err := os.ReadFile(pidFile)
	if err != nil || strings.ContainsAny(string(b), "\n ") {
		t.Errorf("pid file %q, %v", b, err)
	}
	if _, err := os.Stat(started); err == nil {
		t.Error("the program ran before start")
	}
	e.MustRun("start", id)
	eventually(t, "the program runs", func() bool { _, err := os.Stat(started); return err == nil })
	equal(t, "pid", st.Pid, e.State(id).Pid)
	wantFailure(t, e.Run("start", id), "cannot start an already running container")
	wantFailure(t, e.Run("delete", id), "cannot delete container "+id+" that is not stopped: running")
	e.MustRun("kill", id, "TERM")
	e.WaitStatus(id, specs.StateStopped)
	wantFailure(t, e.Run("kill", id, "TERM"), "container not running")
	wantFailure(t, e.Run("start", id), "cannot start a container that has stopped")
	e.MustRun("delete", id)
	wantFailure(t, e.Run("state", id), "does not exist")
	if left := e.Leftovers(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestStartOfWhatCannotBeExecuted(t *testing.T) {
	for _, tc := range []struct {
		name, content, arg string
		mode               os.FileMode
		atCreate           bool // found before start
		errno              string
	}{
		{"interpreter missing", "#!/none/interpreter\n", "/program", 0o755, false, "no such file or directory"},
		{"no program at all", "nonsense\n", "/program", 0o755, false, "exec format error"},
		{"not executable", "#!/bin/sh\n", "/program", 0o644, true, "permission denied"},
		{"missing", "", "/nothing", 0, true, "no such file or directory"},
		{"missing in PATH", "", "nothing", 0, true, "executable file not found in $PATH"},
		{"a directory", "", "/bin", 0, true, "is a directory: permission denied"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := harness.New(t)
			id := e.ID("c")
			bundle := e.Bundle("", func(s *specs.Spec) { s.Process.Args = []string{tc.arg} })
			if tc.content != "" {
				file := filepath.Join(bundle, "rootfs", "program")
				write(t, file, tc.content)
				if err := os.Chmod(file, tc.mode); err != nil {
					t.Fatal(err)
				}
			}
			r := e.Run("create", "-b", bundle, id)
			if !tc.atCreate {
				equal(t, "create", harness.Result{}, r)
				r = e.Run("start", id)
				e.WaitStatus(id, specs.StateStopped)
			}
			wantFailure(t, r, tc.errno, tc.arg)
			run := e.Run("run", "-b", bundle, e.ID("run"))
			wantFailure(t, run, tc.errno, tc.arg)
			if !tc.atCreate { // as a shell would say it: runc's suite wants the line and nothing else
				equal(t, "stderr of run", "exec /program: "+tc.errno+"\n", run.Stderr)
			}
		})
	}
}

func TestExitStatus(t *testing.T) {
	for script, want := range map[string]int{"exit 7": 7, "true": 0, "exit 255": 255, "kill -9 $$": 128 + 9, "kill -TERM $$; sleep 9": 128 + 15} {
		t.Run(script, func(t *testing.T) {
			e := harness.New(t)
			// As pid 1 of its namespace a process would survive its own signals.
			bundle := e.Bundle(script, func(s *specs.Spec) {
				s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(ns specs.LinuxNamespace) bool { return ns.Type == specs.PIDNamespace })
			})
			id := e.ID("c")
			equal(t, "run", want, e.Run("run", "-b", bundle, id).Code)
			if left := e.Leftovers(); len(left) > 0 {
				t.Errorf("run leaves %v", left)
			}
		})
	}
}

func TestRunKeep(t *testing.T) {
	e := harness.New(t)
	id := e.ID("c")
	e.MustRun("run", "--keep", "-b", e.Bundle("true", nil), id)
	equal(t, "status", specs.StateStopped, e.State(id).Status)
	e.MustRun("delete", id)
}

func TestRunReadsStdin(t *testing.T) {
	e := harness.New(t)
	r := e.RunWith(func(cmd *exec.Cmd) { cmd.Stdin = strings.NewReader("typed\n") }, "run", "-b", e.Bundle("read x; echo got $x; echo bad >&2", nil), e.ID("c"))
	equal(t, "result", harness.Result{Stdout: "got typed\n", Stderr: "bad\n"}, r)
}

func TestDuplicateID(t *testing.T) {
	harness.NeedRoot(t)
	c := start(t, nil)
	wantFailure(t, c.Run("create", "-b", c.bundle, c.id), "already exists")
	equal(t, "the first", specs.StateRunning, c.State(c.id).Status)
}

func TestPauseAndResume(t *testing.T) {
	harness.NeedRoot(t)
	c := start(t, func(s *specs.Spec) {
		s.Process.Args = []string{"sh", "-c", "while :; do echo x >>/ticks; sleep 0.02; done"}
	})
	ticks := func() int64 {
		info, err := os.Stat(filepath.Join(c.bundle, "rootfs", "ticks"))
		if err != nil {
			return 0
		}
		return info.Size()
	}
	eventually(t, "it ticks", func() bool { return ticks() > 0 })
	c.MustRun("pause", c.id)
	equal(t, "status", specs.ContainerState("paused"), c.State(c.id).Status)
	at := ticks()
	wantFailure(t, c.Run("exec", c.id, "true"), "cannot exec in a paused container")
	equal(t, "ticks while paused", at, ticks())
	c.MustRun("resume", c.id)
	equal(t, "status", specs.StateRunning, c.State(c.id).Status)
	eventually(t, "it ticks again", func() bool { return ticks() > at })
	c.MustRun("pause", c.id)
	c.MustRun("delete", "--force", c.id)
}

func TestPs(t *testing.T) {
	harness.NeedRoot(t)
	c := start(t, func(s *specs.Spec) { s.Process.Args = []string{"sh", "-c", "sleep 1001 & sleep 1002 & wait"} })
	var want []string
	eventually(t, "three processes", func() bool {
		want = nil
		tasks, _ := filepath.Glob("/proc/[0-9]*/ns/pid")
		for _, f := range tasks {
			pid := strings.Split(f, "/")[2]
			if link, err := os.Readlink(f); err == nil && link == namespacesOf(t, c.pid)["pid"] {
				want = append(want, pid)
			}
		}
		return len(want) == 3
	})
	got := strings.FieldsFunc(c.MustRun("ps", "--format", "json", c.id), func(r rune) bool { return strings.ContainsRune("[], \n", r) })
	slices.Sort(want)
	slices.Sort(got)
	equal(t, "processes", want, got)
	table := c.MustRun("ps", c.id)
	equal(t, "sleeps in the table", 2, strings.Count(table, "sleep 100")-strings.Count(table, "sh -c"+" sleep 1001 & sleep 1002")*2)
}

func TestKillAll(t *testing.T) {
	harness.NeedRoot(t)
	c := start(t, func(s *specs.Spec) {
		s.Process.Args = []string{"sh", "-c", "sleep 1001 & echo $! >/child; wait"}
		s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(ns specs.LinuxNamespace) bool { return ns.Type == specs.PIDNamespace })
	})
	file := filepath.Join(c.bundle, "rootfs", "child")
	eventually(t, "the child runs", func() bool { b, err := os.ReadFile(file); return err == nil && len(b) > 0 })
	child := int(atoi(t, read(t, file)))
	c.MustRun("kill", "--all", c.id, "KILL")
	eventually(t, "init and child end", func() bool {
		for _, pid := range []int{c.pid, child} {
			if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !strings.Contains(string(b), ") Z ") {
				return false
			}
		}
		return true
	})
}

func TestKillSignals(t *testing.T) {
	harness.NeedRoot(t)
	c := start(t, func(s *specs.Spec) {
		s.Process.Args = []string{"sh", "-c", "for s in USR1 USR2 HUP TERM; do trap \"echo $s >>/got\" $s; done; echo ready >/got; while :; do sleep 0.02; done"}
	})
	file := filepath.Join(c.bundle, "rootfs", "got")
	lines := func() string { b, _ := os.ReadFile(file); return strings.Join(strings.Fields(string(b)), " ") }
	want := "ready"
	for _, signal := range [][2]string{{"USR1", "USR1"}, {"sigusr2", "USR2"}, {"1", "HUP"}, {"", "TERM"}} {
		eventually(t, want, func() bool { return lines() == want })
		args := []string{"kill", c.id}
		if signal[0] != "" {
			args = append(args, signal[0])
		}
		c.MustRun(args...)
		want += " " + signal[1]
	}
	eventually(t, want, func() bool { return lines() == want })
	wantFailure(t, c.Run("kill", c.id, "NONSENSE"), "NONSENSE")
}

func TestDeleteForce(t *testing.T) {
	e := harness.New(t)
	bundle := e.Bundle(sleeper, nil)
	for _, verb := range [][]string{{"create"}, {"run", "-d"}} {
		id := e.ID(verb[0])
		e.MustRun(append(verb, "-b", bundle, id)...)
		pid := e.State(id).Pid
		e.MustRun("delete", "--force", id)
		if _, err := os.Stat(fmt.Sprintf("/proc/%d/root/bin", pid)); err == nil {
			t.Errorf("after %v and delete --force the process lives", verb)
		}
	}
	e.MustRun("delete", "--force", "never-was")
	if left := e.Leftovers(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestSignalsEndWhatWaitsForStart: whoever sends them, `kill` or the holder of a pidfd; a first
// process of a pid namespace without handlers would not notice.
func TestSignalsEndWhatWaitsForStart(t *testing.T) {
	e := harness.New(t)
	bundle := e.Bundle(sleeper, nil)
	for _, sig := range []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGABRT, unix.SIGTERM, unix.SIGKILL} {
		id := e.ID(strconv.Itoa(int(sig)))
		e.MustRun("create", "-b", bundle, id)
		if err := unix.Kill(e.State(id).Pid, sig); err != nil {
			t.Fatal(err)
		}
		e.WaitStatus(id, specs.StateStopped)
		e.MustRun("delete", id)
	}
	id := e.ID("ignored")
	e.MustRun("create", "-b", bundle, id)
	e.MustRun("kill", id, "USR1")
	e.MustRun("start", id)
	e.MustRun("kill", id, "KILL")
}
