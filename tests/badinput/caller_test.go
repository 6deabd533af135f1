package badinput_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

func TestAPIDFileThatCannotBeWritten(t *testing.T) {
	e := harness.New(t)
	bundle, id := e.Bundle(script, nil), e.ID("a")
	dir := t.TempDir()
	write(t, dir+"/file", nil)
	try(t, os.Mkdir(dir+"/dir", 0o755))
	for _, c := range []struct{ name, file, want string }{
		{"in a directory that is missing", dir + "/none/pid", "--pid-file: " + dir + "/none/pid: no such file or directory"},
		{"below a file", dir + "/file/pid", "--pid-file: " + dir + "/file/pid: not a directory"},
		{"a directory", dir + "/dir", "--pid-file: "},
		{"in procfs", "/proc/pid", "--pid-file: "},
		{"with too long a name", dir + "/" + strings.Repeat("x", 300), "--pid-file: " + dir + "/x"},
		{"on a full device", "/dev/full/x", "--pid-file: /dev/full/x: not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := at(e, t)
			refused(e, c.want, "create", "-b", bundle, "--pid-file", c.file, id)
			refused(e, c.want, "run", "-d", "-b", bundle, "--pid-file", c.file, id)
			if temps, _ := filepath.Glob(dir + "/.*"); len(temps) > 0 {
				t.Errorf("left behind: %v", temps)
			}
		})
	}
	if got, _ := os.ReadDir(dir); len(got) != 2 {
		t.Errorf("left behind: %v", got)
	}
}

func TestAConsoleSocketThatIsUseless(t *testing.T) {
	e := harness.New(t)
	id := e.ID("a")
	bundle := e.Bundle(script, func(s *specs.Spec) { s.Process.Terminal = true })
	dir := t.TempDir()
	write(t, dir+"/file", nil)
	for _, c := range []struct{ name, socket, want string }{
		{"missing", dir + "/none", "--console-socket: connect " + dir + "/none: no such file or directory"},
		{"a file", dir + "/file", "--console-socket: connect " + dir + "/file: connection refused"},
		{"too long a path", dir + "/" + strings.Repeat("x", 200), "--console-socket: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			refused(at(e, t), c.want, "create", "-b", bundle, "--console-socket", c.socket, id)
		})
	}
	refused(e, "cannot allocate tty if runc will detach without setting console socket", "create", "-b", bundle, id)
	refused(e, "cannot allocate tty if runc will detach without setting console socket", "run", "-d", "-b", bundle, id)
	e.EditConfig(bundle, func(s *specs.Spec) { s.Process.Terminal = false })
	refused(e, "cannot use console socket if runc will not detach or allocate tty", "create", "-b", bundle, "--console-socket", dir+"/file", id)
	refused(e, "--pidfd-socket: "+dir+"/none: no such file", "create", "-b", bundle, "--pidfd-socket", dir+"/none", id)
	refused(e, "--preserve-fds: ", "create", "-b", bundle, "--preserve-fds", "5", id)
	refused(e, "--preserve-fds: ", "create", "-b", bundle, "--preserve-fds", "-1", id)
	refused(e, "--preserve-fds: ", "create", "-b", bundle, "--preserve-fds", "2000000000", id)
}

func TestAHookThatFails(t *testing.T) {
	e := harness.New(t)
	id := e.ID("a")
	bundle := e.Bundle(script, nil)
	fails := []struct {
		name, want string
		hook       specs.Hook
	}{
		{"missing", "", specs.Hook{Path: "/none"}},
		{"a directory", "", specs.Hook{Path: "/tmp"}},
		{"failing", "exit status 3, output: alas", specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", "echo alas; exit 3"}}},
		{"killed", "signal: killed", specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", "kill -9 $$"}}},
		{"hanging", "timed out after 1 s", specs.Hook{Path: "/bin/sleep", Args: []string{"sleep", "100"}, Timeout: new(1)}},
	}
	for _, kind := range []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart"} {
		for _, c := range fails {
			if c.name == "hanging" && kind != "createRuntime" && kind != "startContainer" {
				continue // a second each
			}
			t.Run(kind+" "+c.name, func(t *testing.T) {
				e := at(e, t)
				e.EditConfig(bundle, func(s *specs.Spec) { s.Hooks = hooks(kind, c.hook) })
				want := fmt.Sprintf("hooks.%s[0]: error running %s hook #0: %s", kind, kind, c.want)
				refused(e, want, "run", "-b", bundle, id)
				if kind == "startContainer" || kind == "poststart" {
					e.MustRun("create", "-b", bundle, id)
					(&attempt{env: e, args: []string{"start", id}, leaves: true}).refused(want)
					if status := e.State(id).Status; status != specs.StateStopped {
						t.Errorf("after the failed hook the status is %s", status)
					}
					e.MustRun("delete", id)
					nothingLeft(e)
				} else {
					refused(e, want, "create", "-b", bundle, id)
				}
				if ran(bundle) && kind != "poststart" {
					t.Error("the program has run")
				}
			})
		}
	}
}

func hooks(kind string, h specs.Hook) *specs.Hooks {
	list := []specs.Hook{h}
	switch kind {
	case "prestart":
		return &specs.Hooks{Prestart: list} //nolint:staticcheck // deprecated, and still used by Docker
	case "createRuntime":
		return &specs.Hooks{CreateRuntime: list}
	case "createContainer":
		return &specs.Hooks{CreateContainer: list}
	case "startContainer":
		return &specs.Hooks{StartContainer: list}
	case "poststart":
		return &specs.Hooks{Poststart: list}
	}
	return &specs.Hooks{Poststop: list}
}

func TestAPoststopHookThatFailsStopsNothing(t *testing.T) {
	e := harness.New(t)
	id := e.ID("a")
	bundle := e.Bundle(script, func(s *specs.Spec) { s.Hooks = hooks("poststop", specs.Hook{Path: "/none"}) })
	e.MustRun("run", "-b", bundle, id)
	nothingLeft(e)
}

// shell runs a command behind words of the shell.
func shell(words string) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		cmd.Args = append([]string{"sh", "-c", words, "sh", cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/sh"
	}
}

func TestACallerInADireState(t *testing.T) {
	e := harness.New(t)
	id := e.ID("a")
	bundle := e.Bundle(script, nil)
	gone := filepath.Join(t.TempDir(), "gone")
	for _, c := range []struct{ name, shell string }{
		{"20 descriptors, and more if it asks", `ulimit -Sn 20; exec "$@"`},
		{"stdin is closed", `exec "$@" <&-`},
		{"all of stdio is closed", `exec "$@" <&- >&- 2>&-`},
		{"the working directory was deleted", "mkdir " + gone + "; cd " + gone + "; rmdir " + gone + `; exec "$@"`},
		{"no PATH", `unset PATH; exec "$@"`},
		{"no environment", `exec env -i "$@"`},
		{"signals are ignored", `trap '' PIPE TERM INT HUP CHLD; exec "$@"`},
		{"a umask that forbids all", `umask 777; exec "$@"`},
		{"a full stdout", `exec "$@" >/dev/full`},
		{"little stack", `ulimit -s 64; exec "$@"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := at(e, t)
			for _, args := range [][]string{{"run", "-b", bundle, id}, {"create", "-b", bundle, id}, {"start", id}} {
				if r := e.RunWith(shell(c.shell), args...); r.Code != 0 || r.Stderr != "" {
					t.Errorf("%s: exit %d, %s", args[0], r.Code, r.Stderr)
				}
			}
			e.WaitStatus(id, specs.StateStopped)
			if !ran(bundle) {
				t.Error("the program has not run")
			}
			if r := e.RunWith(shell(c.shell), "delete", id); r.Code != 0 || r.Stderr != "" {
				t.Errorf("delete: exit %d, %s", r.Code, r.Stderr)
			}
			nothingLeft(e)
			try(t, os.Remove(bundle+"/rootfs/ran"))
		})
	}
}

func TestTooFewDescriptorsForALaunch(t *testing.T) {
	e := harness.New(t)
	id := e.ID("a")
	// Without limits of its own, which not everybody may raise again.
	bundle := e.Bundle(script, func(s *specs.Spec) { s.Process.Rlimits = nil })
	for _, verb := range []string{"create", "run"} {
		// How many are enough depends on the machine's hierarchies of cgroups.
		for n := 5; ; n++ {
			r := e.RunWith(shell("ulimit -n "+strconv.Itoa(n)+`; exec "$@"`), verb, "-b", bundle, id)
			if r.Code == 0 && n > 9 {
				e.MustRun("delete", "--force", id)
				break
			}
			if r.Code != 1 || !strings.HasSuffix(r.Stderr, "too many open files\"\n") || strings.Count(r.Stderr, "\n") != 1 {
				t.Fatalf("%s with %d descriptors: exit %d, %s", verb, n, r.Code, r.Stderr)
			}
			nothingLeft(e)
		}
	}
}

func TestARelativePathFromADeletedDirectory(t *testing.T) {
	e := harness.New(t)
	id := e.ID("a")
	gone := filepath.Join(t.TempDir(), "gone")
	a := &attempt{env: e, args: []string{"create", id}, change: shell("mkdir " + gone + "; cd " + gone + "; rmdir " + gone + `; exec "$@"`)}
	a.refused("--bundle: working directory: no such file or directory")
}

func TestNobodyReadsTheOutput(t *testing.T) {
	e := harness.New(t)
	id := e.ID("a")
	bundle := e.Bundle("yes", nil)
	// The program dies of SIGPIPE, not the runtime.
	r := e.RunWith(shell(`{ "$@"; echo $? >&2; } | true`), "run", "-b", bundle, id)
	if r.Stderr != "141\n" && r.Stderr != "1\n" && !strings.Contains(r.Stderr, "Broken pipe") {
		t.Errorf("run: %+v", r)
	}
	nothingLeft(e)
	// The error is lost with its reader, the exit code is not.
	r = e.RunWith(shell(`{ "$@" 2>&1; echo $? >&3; } 3>&2 | true`), "state", id)
	if r.Stderr != "1\n" {
		t.Errorf("state: %+v", r)
	}
}

func TestALogThatCannotBeWritten(t *testing.T) {
	e := harness.New(t)
	for _, c := range []struct{ log, want string }{
		{"/none/log", "--log: open /none/log: no such file or directory"},
		{"/", "--log: open /: is a directory"},
	} {
		r := e.Run("--log", c.log, "state", "x")
		if r.Code != 1 || !strings.Contains(r.Stderr, c.want) {
			t.Errorf("--log %s: exit %d, %s", c.log, r.Code, r.Stderr)
		}
	}
	if r := e.Run("--log", "/dev/full", "state", "x"); r.Code != 1 || r.Stderr != "container does not exist\n" {
		t.Errorf("--log /dev/full: exit %d, %s", r.Code, r.Stderr)
	}
	if r := e.Run("--log-format", "xml", "state", "x"); r.Code != 1 || !strings.Contains(r.Stderr, "invalid log-format: xml") {
		t.Errorf("--log-format xml: exit %d, %s", r.Code, r.Stderr)
	}
}
