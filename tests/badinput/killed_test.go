package badinput_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/gantry-containers/gantry/tests/harness"
)

// kills is how many system calls of each kind of victim are tried; all with
// GANTRY_EVERY_STEP=1 in the environment.
const kills = 30

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
	n := kills
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
	for _, verb := range []string{"create", "run"} {
		t.Run(verb, func(t *testing.T) {
			e := harness.New(t)
			bundle, id := e.Bundle(script, nil), e.ID("a")
			all, _ := traced(e, victimRuntime, 0, verb, "-b", bundle, id)
			if all.Exit != 0 || all.Calls < 50 {
				t.Fatalf("unkilled: %+v", all)
			}
			afterwards(e, id, bundle)
			for _, n := range steps(all.Calls) {
				r, result := traced(e, victimRuntime, n, verb, "-b", bundle, id)
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

// checkMark wants the program not to have run, unless the runtime has recorded it.
func checkMark(e *harness.Env, verb, id, bundle string) {
	e.T.Helper()
	time.Sleep(time.Millisecond)
	if !ran(bundle) {
		return
	}
	if verb == "create" {
		e.T.Error("the program has run without start")
	}
	// A whole run has deleted the container; any other that ran it has recorded it.
	st, err := os.ReadFile(filepath.Join(e.Root, id, "state.json"))
	if os.IsNotExist(err) {
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
	if err := os.Remove(filepath.Join(bundle, "rootfs", "ran")); err != nil && !os.IsNotExist(err) {
		e.T.Fatal(err)
	}
}

// goneSoon gives a child that nobody has recorded the time to see that its runtime died.
func goneSoon(e *harness.Env) {
	e.T.Helper()
	for range 200 {
		if len(e.Leftovers()) == 0 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
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
				r, result := traced(e, victimChild, n, verb, "-b", bundle, id)
				if !r.Killed {
					t.Errorf("step %d: %+v", n, r)
				}
				if r.Exit == 0 { // a container that ended before it was started
					e.MustRun("delete", id)
				} else if r.Exit == 1 && result.Stderr == "" {
					t.Errorf("step %d: no error text", n)
				}
				nothingLeft(e)
				if ran(bundle) {
					t.Error("the program has run")
				}
				if t.Failed() {
					t.Fatalf("killed at system call %d of %d: exit %d, %s", n, all.Calls, r.Exit, result.Stderr)
				}
			}
			works(e, id, bundle)
		})
	}
}

func TestTheRuntimeIsKilledAtAnyTime(t *testing.T) {
	e := harness.New(t)
	bundle, id := e.Bundle(script, nil), e.ID("a")
	for _, verb := range []string{"create", "run"} {
		for delay := time.Duration(0); delay < 12*time.Millisecond; delay += 700 * time.Microsecond {
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
