// Package badinput_test gives the runtime what it must refuse, and kills it at its work:
// each error must be one clear line, and nothing may be left behind.
package badinput_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

func TestMain(m *testing.M) {
	if os.Getenv(traceReport) != "" {
		os.Exit(traceMain())
	}
	os.Exit(m.Run())
}

// script is what bundles run unless a test wants something else. It leaves a mark.
const script = "touch /ran"

// ran reports whether the program of the bundle has run.
func ran(bundle string) bool {
	_, err := os.Stat(filepath.Join(bundle, "rootfs", "ran"))
	return err == nil
}

// prefixes stand before the errors of commands that make processes.
var prefixes = map[string]string{
	"create": "runc create failed: ", "run": "runc run failed: ", "exec": "exec failed: ",
}

// logLine is a line of a JSON log.
type logLine struct{ Level, Msg, Time, Code, Field string }

// fieldOf finds what an error's text says of its field, behind the command's prefix.
var fieldOf = regexp.MustCompile(`^(?:runc [a-z]+ failed: |exec failed: )?(--[a-z-]+|(?:process|root|mounts|hooks|linux|annotations)(?:[.\[][^: ]*)?|hostname|domainname|ociVersion): `)

// at is the Env for a subtest; its ids are made before.
func at(e *harness.Env, t *testing.T) *harness.Env {
	sub := *e
	sub.T = t
	return &sub
}

// attempt is a command that must fail.
type attempt struct {
	env    *harness.Env
	args   []string // the command and its arguments
	change func(*exec.Cmd)
	// leaves says that something of the test's remains, which is no fault.
	leaves bool
}

// refused runs a command that has to fail with the exit code 1 (exec: 255), and with an
// error that begins with want, behind the command's prefix.
func refused(e *harness.Env, want string, args ...string) {
	e.T.Helper()
	(&attempt{env: e, args: args}).refused(want)
}

func (a *attempt) refused(want string) {
	t := a.env.T
	t.Helper()
	before := mounts(t)
	msg, code := a.fail()
	wantCode := 1
	if a.args[0] == "exec" {
		wantCode = 255
	}
	if code != wantCode {
		t.Errorf("%.200v: exit %d, want %d", a.args, code, wantCode)
	}
	text, ok := strings.CutPrefix(msg, prefixes[a.args[0]])
	if !ok || !strings.HasPrefix(text, want) {
		t.Errorf("%.200v: error %q, want %q…", a.args, msg, prefixes[a.args[0]]+want)
	}
	if diff := cmp.Diff(before, mounts(t)); diff != "" {
		t.Errorf("mounts changed: %s", diff)
	}
	if left := a.env.Leftovers(); !a.leaves && len(left) > 0 {
		t.Errorf("%.200v: left behind: %q", a.args, left)
	}
}

// fail runs the command, and wants the same one line in a JSON log and on stderr.
func (a *attempt) fail() (msg string, code int) {
	t := a.env.T
	t.Helper()
	log := filepath.Join(t.TempDir(), "log.json")
	r := a.env.RunWith(a.change, append([]string{"--log", log, "--log-format", "json"}, a.args...)...)
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.100q: %d: %.300s", a.args, r.Code, r.Stderr)
	var line logLine
	if err := json.Unmarshal(b, &line); err != nil || strings.Count(string(b), "\n") != 1 {
		t.Fatalf("%.200v: exit %d, stderr %q: the log is not one line of JSON: %q", a.args, r.Code, r.Stderr, b)
	}
	if _, err := time.Parse(time.RFC3339, line.Time); err != nil || line.Level != "error" {
		t.Errorf("log line %q: no error with its time", b)
	}
	if r.Stderr != line.Msg+"\n" || strings.Contains(line.Msg, "\n") {
		t.Errorf("stderr is %q, want the one line %q", r.Stderr, line.Msg)
	}
	if line.Code == "" || line.Code == "internal" {
		t.Errorf("code %q for %s", line.Code, line.Msg)
	}
	if m := fieldOf.FindStringSubmatch(line.Msg); m != nil && line.Field != m[1] {
		t.Errorf("field %q for %s", line.Field, line.Msg)
	}
	return line.Msg, r.Code
}

// mounts are the mount points of the test's mount namespace, but for those of other tests
// that run at the same time.
func mounts(t testing.TB) []string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var points []string
	name, _, _ := strings.Cut(t.Name(), "/")
	for line := range strings.Lines(string(b)) {
		point := strings.Fields(line)[4]
		if strings.HasPrefix(point, "/run/netns/") {
			continue // of tests that run beside these
		}
		if !strings.HasPrefix(point, os.TempDir()+"/") || strings.Contains(point, name) {
			points = append(points, point)
		}
	}
	return points
}

// works wants that a container with the id can be made from the bundle, and be deleted.
func works(e *harness.Env, id, bundle string) {
	e.T.Helper()
	e.MustRun("create", "-b", bundle, id)
	if status := e.State(id).Status; status != specs.StateCreated {
		e.T.Errorf("the status is %s, want created", status)
	}
	e.MustRun("delete", id)
	nothingLeft(e)
}

func nothingLeft(e *harness.Env) {
	e.T.Helper()
	if left := e.Leftovers(); len(left) > 0 {
		e.T.Errorf("left behind: %q", left)
	}
}

// privately runs a command behind shell commands in a mount namespace of its own.
func privately(setup string) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		path, err := exec.LookPath("unshare")
		if err != nil {
			cmd.Err = err
			return
		}
		cmd.Args = append([]string{"unshare", "-m", "sh", "-ec", setup + "\nexec \"$@\"", "sh", cmd.Path}, cmd.Args[1:]...)
		cmd.Path = path
	}
}

func write(t testing.TB, file string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// try fails the test when a preparation fails.
func try(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
