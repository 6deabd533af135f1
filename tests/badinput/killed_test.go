package badinput_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

// kills is how many system calls of each kind of victim are tried; all with
// GANTRY_EVERY_STEP=1 in the environment.
const kills = 25

// traced runs a command of the runtime and has a tracer kill the victim at its n-th
// system call.
func traced(e *harness.Env, victim string, n int, args ...string) (report, harness.Result) {
	e.T.Helper()
	file := filepath.Join(e.T.TempDir(), "report")
	self, err := os.Executable()
	try(e.T, err)
	result := e.RunWith(func(cmd *exec.Cmd) {
		cmd.Args = append([]string{self, victim, strconv.Itoa(n), cmd.Path}, cmd.Args[1:]...)
		cmd.Path = self
		cmd.Env = append(os.Environ(), traceReport+"="+file)
	}, args...)
	b, err := os.ReadFile(file)
	if err != nil {
		e.T.Fatalf("%v: %+v", err, result)
	}
	var r report
	try(e.T, json.Unmarshal(b, &r))
	return r, result
}

// steps spreads the kills over all calls.
func steps(calls int) []int {
	n := max(1, int(kills/harness.Slowness()))
	if os.Getenv("GANTRY_EVERY_STEP") != "" {
		n = calls
	}
	var list []int
	for i := range min(n, calls) {
		list = append(list, 1+i*calls/min(n, calls))
	}
	return list
}

func TestTheRuntimeIsKilledAtAnySystemCall(t *testing.T) {
	for verb, before := range map[string]string{"create": "", "run": "", "start": "create", "delete": "create", "exec": "run"} {
		t.Run(verb, func(t *testing.T) {
			e := harness.New(t)
			bundle, id := e.Bundle(script, nil), e.ID("a")
			args := []string{verb, id}
			switch verb {
			case "create", "run":
				args = []string{verb, "-b", bundle, id}
			case "exec":
				args = append(args, "true")
				e.EditConfig(bundle, func(s *specs.Spec) { s.Process.Args = []string{"sleep", "100"} })
			}
			prepare(e, before, bundle, id)
			all, _ := traced(e, victimRuntime, 0, args...)
			if all.Exit != 0 || all.Calls < 20 {
				t.Fatalf("unkilled: %+v", all)
			}
			afterwards(e, id, bundle)
			for _, n := range steps(all.Calls) {
				prepare(e, before, bundle, id)
				r, result := traced(e, victimRuntime, n, args...)
				if r.Killed != (r.Exit == 137) {
					t.Errorf("step %d: %+v: %+v", n, r, result)
				}
				checkMark(e, verb, id, bundle)
				afterwards(e, id, bundle)
				if t.Failed() {
					t.Fatalf("killed at system call %d of %d", n, all.Calls)
				}
			}
		})
	}
}

// prepare brings the container to where the command to be killed takes over.
func prepare(e *harness.Env, before, bundle, id string) {
	e.T.Helper()
	switch before {
	case "create":
		e.MustRun("create", "-b", bundle, id)
	case "run":
		e.MustRun("run", "-d", "-b", bundle, id)
	}
}

// checkMark wants the program not to have run, unless the runtime has recorded it.
func checkMark(e *harness.Env, verb, id, bundle string) {
	e.T.Helper()
	time.Sleep(time.Millisecond)
	if !ran(bundle) {
		return
	}
	if verb == "create" || verb == "delete" {
		e.T.Error("the program has run without start")
	}
	// A whole run has deleted the container; any other that ran it has recorded it.
	st, err := os.ReadFile(filepath.Join(e.Root, id, "state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var recorded struct {
		Init    struct{ PID int }
		Started bool
	}
	if err != nil || json.Unmarshal(st, &recorded) != nil || recorded.Init.PID == 0 || !recorded.Started {
		e.T.Errorf("the program has run, recorded is %s %v", st, err)
	}
}

// afterwards wants delete --force to remove everything, and the id to be free.
func afterwards(e *harness.Env, id, bundle string) {
	e.T.Helper()
	e.MustRun("delete", "--force", id)
	goneSoon(e)
	works(e, id, bundle)
	if err := os.Remove(filepath.Join(bundle, "rootfs", "ran")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		e.T.Fatal(err)
	}
}

// goneSoon gives a child that nobody has recorded the time to see that its runtime died.
func goneSoon(e *harness.Env) {
	e.T.Helper()
	harness.Until(time.Second, func() bool { return len(e.Leftovers()) == 0 })
	nothingLeft(e)
}

func TestTheChildIsKilledAtAnySystemCall(t *testing.T) {
	for _, verb := range []string{"create", "run"} {
		t.Run(verb, func(t *testing.T) {
			e := harness.New(t)
			bundle, id := e.Bundle(script, nil), e.ID("a")
			all, _ := traced(e, victimChild, 0, verb, "-b", bundle, id)
			if all.Exit != 0 || all.Calls < 100 {
				t.Fatalf("unkilled: %+v", all)
			}
			afterwards(e, id, bundle)
			for _, n := range steps(all.Calls) {
				killChild(e, n, verb, id, bundle)
				if t.Failed() {
					t.Fatalf("killed at system call %d of %d", n, all.Calls)
				}
			}
			works(e, id, bundle)
		})
	}
}

// killChild kills the child of a launch before its n-th system call.
func killChild(e *harness.Env, n int, verb, id, bundle string) {
	e.T.Helper()
	r, result := traced(e, victimChild, n, verb, "-b", bundle, id)
	switch {
	case !r.Killed:
		e.T.Errorf("%+v", r)
	case r.Exit == 0: // a container that ended before it was started
		e.MustRun("delete", id)
	case r.Exit != 1 && (verb != "run" || r.Exit != 137):
		e.T.Errorf("%+v: %+v", r, result)
	case r.Exit == 1 && strings.Count(result.Stderr, "\n") != 1:
		e.T.Errorf("not one line: %q", result.Stderr)
	}
	nothingLeft(e)
	if ran(bundle) {
		e.T.Error("the program has run")
	}
}

func TestTheRuntimeIsKilledAtAnyTime(t *testing.T) {
	e := harness.New(t)
	bundle, id := e.Bundle(script, nil), e.ID("a")
	for _, verb := range []string{"create", "run"} {
		for delay := time.Duration(0); delay < harness.Slow(12*time.Millisecond); delay += harness.Slow(700 * time.Microsecond) {
			cmd := exec.Command(harness.Runtime(t), "--root", e.Root, verb, "-b", bundle, id)
			try(t, cmd.Start())
			time.Sleep(delay)
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			checkMark(e, verb, id, bundle)
			afterwards(e, id, bundle)
			if t.Failed() {
				t.Fatalf("%s killed after %v", verb, delay)
			}
		}
	}
}

func TestACreateThatIsKilledHarmsNobodyInItsCgroup(t *testing.T) {
	e := harness.New(t)
	other, id := e.ID("b"), e.ID("a")
	bundle := e.Bundle("sleep 100", func(s *specs.Spec) { s.Linux.CgroupsPath = "/" + other })
	e.MustRun("run", "-d", "-b", bundle, other)
	all, _ := traced(e, victimRuntime, 0, "create", "-b", bundle, id)
	if all.Exit != 1 {
		t.Fatalf("unkilled: %+v", all)
	}
	for _, n := range steps(all.Calls) {
		_, _ = traced(e, victimRuntime, n, "create", "-b", bundle, id)
		if r := e.Run("delete", "--force", id); r.Code != 0 {
			t.Errorf("delete: %+v", r)
		}
		noState(e, id)
		if status := e.State(other).Status; status != specs.StateRunning {
			t.Fatalf("killed at system call %d of %d: the other container is %s", n, all.Calls, status)
		}
	}
	e.MustRun("delete", "--force", other)
	nothingLeft(e)
}
