// Package root_test runs containers with the real binary, as root, and reads the truth
// back from inside them or from /proc, never from what the runtime says of itself.
//
// GANTRY_RUNTIME=/usr/sbin/runc GANTRY_ANY_TEXT=1 runs the same tests against another
// runtime, whatever words it has for its errors, which proves the tests more than the runtime.
package root_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

// sleeper is a program that ends only when it is told to.
const sleeper = "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"

// change edits a bundle's config.
type change = func(*specs.Spec)

// output runs a script in a container and returns what it printed.
func output(t *testing.T, script string, edit change) string {
	t.Helper()
	e := harness.New(t)
	return strings.TrimSpace(e.MustRun("run", "-b", e.Bundle(script, edit), e.ID("c")))
}

// expect runs a script in a container and compares what it printed.
func expect(t *testing.T, script, want string, edit change) {
	t.Helper()
	if diff := cmp.Diff(strings.TrimSpace(want), output(t, script, edit)); diff != "" {
		t.Errorf("inside the container (-want +got):\n%s", diff)
	}
}

// refuse wants `run` of a bundle to fail with all of these words on stderr.
func refuse(t *testing.T, edit change, words ...string) {
	t.Helper()
	e := harness.New(t)
	id := e.ID("c")
	r := e.Run("run", "-b", e.Bundle("echo started", edit), id)
	wantFailure(t, r, words...)
	if left := e.Leftovers(); len(left) > 0 {
		t.Errorf("before any delete: %v left", left)
	}
}

// wantFailure wants a command to have failed with all of these words on stderr.
func wantFailure(t *testing.T, r harness.Result, words ...string) {
	t.Helper()
	if r.Code == 0 || r.Stdout != "" {
		t.Errorf("exit %d, stdout %q; want a failure", r.Code, r.Stdout)
	}
	if os.Getenv("GANTRY_ANY_TEXT") != "" {
		return
	}
	for _, w := range words {
		if !strings.Contains(r.Stderr, w) {
			t.Errorf("stderr lacks %q: %s", w, r.Stderr)
		}
	}
}

// container is a running container that only sleeps.
type container struct {
	*harness.Env
	t      *testing.T
	id     string
	pid    int // on the host
	bundle string
}

// start runs a container in the background.
func start(t *testing.T, edit change, flags ...string) *container {
	t.Helper()
	e := harness.New(t)
	return startIn(t, e, e.Bundle(sleeper, edit), flags...)
}

func startIn(t *testing.T, e *harness.Env, bundle string, flags ...string) *container {
	t.Helper()
	c := &container{Env: e, t: t, id: e.ID("c"), bundle: bundle}
	e.MustRun(append(append([]string{"run", "-d", "-b", bundle}, flags...), c.id)...)
	c.pid = e.State(c.id).Pid
	if c.pid == 0 {
		t.Fatal("the container has no pid")
	}
	return c
}

// exec runs a script in the container and returns what it printed.
func (c *container) exec(script string, flags ...string) string {
	c.t.Helper()
	args := append(append([]string{"exec"}, flags...), c.id, "sh", "-c", script)
	return strings.TrimSpace(c.MustRun(args...))
}

// proc reads a file in the /proc directory of a process.
func proc(t *testing.T, pid int, name string) string {
	t.Helper()
	return read(t, filepath.Join("/proc", strconv.Itoa(pid), name))
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// status is one field of /proc/PID/status, with its columns parted by single spaces.
func status(t *testing.T, pid int, field string) string {
	t.Helper()
	for line := range strings.Lines(proc(t, pid, "status")) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.Join(strings.Fields(value), " ")
		}
	}
	t.Fatalf("no %s in /proc/%d/status", field, pid)
	return ""
}

// equal compares two values of anything.
func equal(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// write makes a file, with its directories, that every user may read.
func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// eventually waits up to 10 s for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	if !harness.Until(10*time.Second, holds) {
		t.Fatalf("%s: not within %v", what, harness.Limit(10*time.Second))
	}
}

// bind is a bind mount of a host path.
func bind(source, destination string, options ...string) specs.Mount {
	return specs.Mount{Source: source, Destination: destination, Type: "bind", Options: append([]string{"bind"}, options...)}
}

// withMounts adds mounts to a config.
func withMounts(mounts ...specs.Mount) change {
	return func(s *specs.Spec) { s.Mounts = append(s.Mounts, mounts...) }
}

// grant adds capabilities to all sets but ambient.
func grant(s *specs.Spec, names ...string) {
	c := s.Process.Capabilities
	c.Bounding = append(c.Bounding, names...)
	c.Effective = append(c.Effective, names...)
	c.Permitted = append(c.Permitted, names...)
}

func atoi(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func itoa(n int) string { return strconv.Itoa(n) }
