package badinput_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

func TestABadID(t *testing.T) {
	e := harness.New(t)
	bundle := e.Bundle(script, nil)
	for name, id := range map[string]string{
		"the parent":           "..",
		"the root itself":      ".",
		"a slash":              "/",
		"a path":               "a/b",
		"a path upwards":       "../x",
		"an absolute path":     "/etc",
		"empty":                "",
		"5,000 characters":     strings.Repeat("x", 5000),
		"256 characters":       strings.Repeat("x", 256),
		"a newline":            "a\nb",
		"a space":              "a b",
		"not ASCII":            "ä",
		"not UTF-8":            "a\xff",
		"an escape sequence":   "a\x1b[31m",
		"a quote":              `a"b`,
		"a star":               "*",
		"a trailing slash":     "a/",
		"a separator of lists": "a,b",
	} {
		t.Run(name, func(t *testing.T) {
			e := at(e, t)
			for _, args := range [][]string{
				{"create", "-b", bundle, id},
				{"run", "-b", bundle, id},
				{"start", id},
				{"state", id},
				{"kill", id},
				{"delete", id},
				{"delete", "--force", id},
				{"exec", id, "true"},
				{"pause", id},
				{"resume", id},
				{"ps", id},
			} {
				refused(e, "invalid container ID format", args...)
			}
		})
	}
	if files, _ := filepath.Glob(e.Root + "/*"); len(files) > 0 {
		t.Errorf("made: %v", files)
	}
}

func TestAnIDThatLooksLikeAFlag(t *testing.T) {
	e := harness.New(t)
	bundle := e.Bundle(script, nil)
	a := &attempt{env: e, args: []string{"create", "-b", bundle, "-x"}}
	if msg, code := a.fail(); code != 1 || !strings.Contains(msg, "flag provided but not defined") {
		t.Errorf("exit %d, %q", code, msg)
	}
}

func TestASecondContainerWithTheID(t *testing.T) {
	e := harness.New(t)
	bundle, id := e.Bundle(script, nil), e.ID("a")
	e.MustRun("create", "-b", bundle, id)
	for _, verb := range []string{"create", "run"} {
		(&attempt{env: e, leaves: true, args: []string{verb, "-b", bundle, id}}).refused("container with given ID already exists")
	}
	if status := e.State(id).Status; status != specs.StateCreated {
		t.Errorf("the first container is %s now", status)
	}
	e.MustRun("start", id)
	e.WaitStatus(id, specs.StateStopped)
	if !ran(bundle) {
		t.Error("the first container's program did not run")
	}
	e.MustRun("delete", id)
	nothingLeft(e)
}

func TestOfManyCreatesAtTheSameMomentOneWins(t *testing.T) {
	for _, n := range []int{2, 10} {
		e := harness.New(t)
		bundle, id := e.Bundle(script, nil), e.ID("a")
		for range 5 {
			race(e, n, bundle, id)
			e.MustRun("start", id)
			e.WaitStatus(id, specs.StateStopped)
			if !ran(bundle) {
				t.Error("the winner's program did not run")
			}
			e.MustRun("delete", id)
			nothingLeft(e)
			if t.Failed() {
				return
			}
		}
	}
}

// race starts creates of one id and wants one to succeed, and the others to say why not.
func race(e *harness.Env, n int, bundle, id string) {
	e.T.Helper()
	var all sync.WaitGroup
	won := 0
	var mu sync.Mutex
	for range n {
		cmd := exec.Command(harness.Runtime(e.T), "--root", e.Root, "create", "-b", bundle, id)
		dir := e.T.TempDir()
		all.Go(func() {
			// A file: the winner's container would keep a pipe open.
			cmd.Args = append([]string{cmd.Args[0], "--log", dir + "/log"}, cmd.Args[1:]...)
			err := cmd.Run()
			mu.Lock()
			defer mu.Unlock()
			log, readErr := exec.Command("cat", dir+"/log").Output()
			switch {
			case err == nil:
				won++
			case readErr != nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(log), "container with given ID already exists"):
				e.T.Errorf("a loser: %v: %s", err, log)
			}
		})
	}
	all.Wait()
	if won != 1 {
		e.T.Errorf("%d of %d creates won", won, n)
	}
}
