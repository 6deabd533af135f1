// Package cli tests the command line of bin/runc from outside: what it prints, where,
// and with which exit code, for everything that needs no container of its own.
package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gantry-containers/gantry/libcontainer/state"
	"github.com/gantry-containers/gantry/tests/harness"
)

// binary is the runc that TestMain built.
var binary string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "gantry-cli-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	// Some scripts run it as another user.
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if binary, err = harness.Built(dir, "runc", build); err != nil {
		fmt.Fprintln(os.Stderr, "build runc:", err)
		return 1
	}
	return m.Run()
}

// build builds runc with a version that no release has.
func build(to string) error {
	cmd := exec.Command("go", "build", "-tags", "urfave_cli_no_docs",
		"-ldflags", "-X main.version=1.2.3-test -X main.commit=c0ffee", "-o", to,
		"github.com/gantry-containers/gantry/runc")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	return cmd.Run()
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", filepath.Dir(binary)+":"+env.Getenv("PATH"))
			env.Setenv("ROOT", filepath.Join(env.WorkDir, "root"))
			return os.Chmod(filepath.Dir(env.WorkDir), 0o755)
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":     harness.Exits,
			"container": container,
			"sameas":    sameAs,
		},
	})
}

// sameas TEXT wants exactly the text on the last program's stdout, \n and \t expanded:
// the only way to see that a newline is missing.
func sameAs(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: sameas TEXT")
	}
	want, err := strconv.Unquote(`"` + args[0] + `"`)
	if err != nil {
		ts.Fatalf("%q: %v", args[0], err)
	}
	if got := ts.ReadFile("stdout"); (got == want) == neg {
		ts.Fatalf("stdout %q, want %q (negated: %v)", got, want, neg)
	}
}

// container STATUS ID makes the state of a container below $ROOT by hand. One that is
// created or running has a process of its own, a sleep; its number goes to $PID.
func container(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: container created|running|stopped ID")
	}
	status, id := args[0], args[1]
	st := &state.State{
		OCIVersion: "1.3.0", ID: id, Bundle: "/bundle", Rootfs: "/bundle/rootfs", PrivatePID: true,
		Created: time.Date(2026, 11, 23, 12, 0, 0, 5, time.UTC),
	}
	if status == "stopped" {
		// A process that can't be: the start time is wrong.
		st.Init, st.Started = state.Process{PID: os.Getpid(), StartTime: 1}, true
	} else {
		st.Init, st.Started = sleeper(ts), status == "running"
	}
	ts.Setenv("PID", strconv.Itoa(st.Init.PID))
	dir, err := state.Create(ts.Getenv("ROOT"), id)
	ts.Check(err)
	ts.Check(dir.Save(st))
	ts.Check(dir.Close())
}

func sleeper(ts *testscript.TestScript) state.Process {
	cmd := exec.Command("sleep", "600")
	ts.Check(cmd.Start())
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is killed, by the test or below
		close(ended)
	}()
	ts.Defer(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	process, err := state.Identify(cmd.Process.Pid)
	ts.Check(err)
	return process
}
