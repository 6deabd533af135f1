package compat

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gantry-containers/gantry/tests/harness"
)

// Scripts runs every script of a directory with these variables. Beside testscript's own
// commands there are
//
//	exits CODE PROGRAM ARG...    wants the exit code
//	[!] until SECONDS PROGRAM ARG...  repeats the program until it succeeds (with !, fails)
//	prints TEXT SECONDS PROGRAM ARG...  repeats it until its stdout has the text
//	tty PROGRAM ARG...           runs it in a terminal; $LINE, if set, is typed when $READY, a command, succeeds
//	keep NAME                    keeps the last stdout, without spaces around, as $NAME
//
// and commands of the caller's.
func Scripts(t *testing.T, dir string, env map[string]string, commands map[string]Command) {
	t.Helper()
	scripts := ScriptSet{Name: filepath.Base(dir), Files: Folder(t, dir), Env: env, Commands: commands}
	scripts.Run(t)
}

// Folder lists the scripts in a folder.
func Folder(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in %s: %v", dir, err)
	}
	return files
}

// ScriptSet says which scripts are run, and how.
type ScriptSet struct {
	Name     string   // of the group in the test's name
	Files    []string // run at the same time
	Env      map[string]string
	Commands map[string]Command
	Holds    map[string]bool                  // conditions, [NAME], beside the harness's features
	After    func(script string, failed bool) // called at the end of each, with its name
}

// Run runs them.
func (s *ScriptSet) Run(t *testing.T) {
	t.Helper()
	all := map[string]Command{"exits": harness.Exits, "until": until, "prints": prints, "tty": tty, "keep": keep}
	maps.Copy(all, s.Commands)
	// The scripts are parallel subtests: the group ends when all of them have.
	t.Run(s.Name, func(t *testing.T) {
		work := t.TempDir()        // what testscript makes itself it leaves when -run leaves scripts out
		harness.Reachable(t, work) // by other users, too
		testscript.Run(t, testscript.Params{
			Files:               s.Files,
			WorkdirRoot:         work,
			RequireExplicitExec: true,
			Cmds:                all,
			Setup:               s.setup,
			Condition:           s.condition,
			Deadline:            time.Now().Add(harness.Limit(10 * time.Minute)), // for all: a program that hangs is ended
		})
	})
}

func (s *ScriptSet) setup(e *testscript.Env) error {
	for _, name := range slices.Sorted(maps.Keys(s.Env)) {
		e.Setenv(name, s.Env[name])
	}
	if s.After != nil {
		// $WORK is script-NAME.
		name := strings.TrimPrefix(filepath.Base(e.WorkDir), "script-")
		test, _ := e.T().(interface{ Failed() bool })
		e.Defer(func() { s.After(name, test != nil && test.Failed()) })
	}
	return nil
}

// Command is a command of a script.
type Command = func(ts *testscript.TestScript, neg bool, args []string)

// condition knows the features of the harness: [criu], [cgroup2], [controller:memory].
func (s *ScriptSet) condition(cond string) (bool, error) {
	if holds, ok := s.Holds[cond]; ok {
		return holds, nil
	}
	return harness.Feature(cond).Probe() == nil, nil
}

func until(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: until SECONDS PROGRAM [ARG...]")
	}
	repeat(ts, args[0], func() bool { return (ts.Exec(args[1], args[2:]...) == nil) != neg })
}

func prints(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: prints TEXT SECONDS PROGRAM [ARG...]")
	}
	repeat(ts, args[1], func() bool {
		return ts.Exec(args[2], args[3:]...) == nil && strings.Contains(ts.ReadFile("stdout"), args[0])
	})
}

func repeat(ts *testscript.TestScript, seconds string, so func() bool) {
	n, err := strconv.Atoi(seconds)
	ts.Check(err)
	if !harness.Until(time.Duration(n)*time.Second, so) {
		ts.Fatalf("not so within %s s", seconds)
	}
}

// tty gives the program a terminal: script(1) is one.
func tty(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 1 {
		ts.Fatalf("usage: tty PROGRAM [ARG...]")
	}
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
	}
	command := "exec script -qefc \"$0\" /dev/null </dev/null"
	if ts.Getenv("LINE") != "" {
		// The program must be reading before it is typed at, and the terminal stay open until it has read.
		pause := harness.Slow(2 * time.Second).Seconds()
		if ts.Getenv("READY") != "" {
			pause /= 2
		}
		command = fmt.Sprintf(`{ timeout 30 sh -c "until ${READY:-true}; do sleep 0.1; done"; sleep %[1]v; printf '%%s\n' "$LINE"; sleep %[1]v; } | script -qefc "$0" /dev/null`, pause)
	}
	limit := strconv.Itoa(int(harness.Limit(time.Minute).Seconds())) // a program that hangs must not do so with the test
	if err := ts.Exec("timeout", limit, "sh", "-c", command, strings.Join(quoted, " ")); (err != nil) != neg {
		ts.Fatalf("%v (negated: %v)", err, neg)
	}
}

func keep(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: keep NAME")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}
