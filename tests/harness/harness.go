// Package harness runs containers for the tests below tests/: it builds the runtime once,
// makes busybox bundles, and fails a test that leaves a cgroup, mount, process or state
// directory behind.
package harness

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Runtime is the binary under test: $GANTRY_RUNTIME (to prove a test against another
// runtime or build), or bin/runc of this tree, which `make build` makes.
func Runtime(t testing.TB) string {
	t.Helper()
	if r := os.Getenv("GANTRY_RUNTIME"); r != "" {
		return r
	}
	r := filepath.Join(Top(), "bin", "runc")
	if _, err := os.Stat(r); err != nil {
		t.Fatalf("%v: run make build first", err)
	}
	return r
}

// Top is the root of the source tree.
func Top() string {
	dir, err := os.Getwd()
	for ; err == nil && dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	return "/" // where nothing of it will be found
}

// NeedRoot skips a test that needs root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes namespaces, mounts and cgroups of the machine")
	}
}

// Env is one test's runtime: a root directory for states and a prefix for ids.
type Env struct {
	T      testing.TB
	Root   string
	prefix string
	ids    []string
}

var serial atomic.Int64

// New makes an Env and checks at the test's end that nothing is left.
func New(t testing.TB) *Env {
	t.Helper()
	NeedRoot(t)
	e := &Env{T: t, Root: filepath.Join(t.TempDir(), "root"), prefix: fmt.Sprintf("gt-%d-%d", os.Getpid(), serial.Add(1))}
	restoreControllers(t) // before cleanup is registered, so that it runs after it
	t.Cleanup(e.cleanup)
	return e
}

// restoreControllers takes back, at the test's end, what the runtime enables for the
// children of the v2 hierarchy's root: on the machine itself v1 may want those controllers.
func restoreControllers(t testing.TB) {
	t.Helper()
	const file = "/sys/fs/cgroup/unified/cgroup.subtree_control"
	before, err := os.ReadFile(file)
	if err != nil {
		return // no such hierarchy
	}
	t.Cleanup(func() {
		after, _ := os.ReadFile(file)
		for name := range strings.FieldsSeq(string(after)) {
			if slices.Contains(strings.Fields(string(before)), name) {
				continue
			}
			// EBUSY: another test's container has it.
			if err := os.WriteFile(file, []byte("-"+name), 0); err != nil && !errors.Is(err, unix.EBUSY) {
				t.Error(err)
			}
		}
	})
}

// ID makes a container id of this test, to be cleaned up and checked at its end.
func (e *Env) ID(name string) string {
	id := e.prefix + "-" + name
	e.ids = append(e.ids, id)
	return id
}

// Result is how a command ended.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Run runs the runtime with the Env's --root and arguments. It fails the test when the
// command takes longer than 60 s.
func (e *Env) Run(args ...string) Result { return e.RunWith(nil, args...) }

// RunWith is Run with changes to the command: stdin, environment, credentials.
func (e *Env) RunWith(change func(*exec.Cmd), args ...string) Result {
	e.T.Helper()
	cmd := exec.Command(Runtime(e.T), append([]string{"--root", e.Root}, args...)...)
	// Files, not pipes: a detached container keeps them open, and Wait would wait for it.
	dir := e.T.TempDir()
	stdout, stderr := createFile(e.T, dir, "stdout"), createFile(e.T, dir, "stderr")
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if change != nil {
		change(cmd)
	}
	if err := cmd.Start(); err != nil {
		e.T.Fatal(err)
	}
	timer := time.AfterFunc(Limit(60*time.Second), func() {
		e.T.Errorf("%v takes too long", cmd.Args)
		_ = cmd.Process.Kill()
	})
	err := cmd.Wait()
	timer.Stop()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		e.T.Fatal(err)
	}
	return Result{readBack(e.T, stdout), readBack(e.T, stderr), cmd.ProcessState.ExitCode()}
}

func createFile(t testing.TB, dir, name string) *os.File {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func readBack(t testing.TB, f *os.File) string {
	t.Helper()
	defer f.Close()
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// MustRun is Run for a command that has to succeed; it returns its stdout.
func (e *Env) MustRun(args ...string) string {
	e.T.Helper()
	r := e.Run(args...)
	if r.Code != 0 {
		e.T.Fatalf("%v: exit %d\nstdout: %s\nstderr: %s", args, r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// State is the runtime's answer to `state`.
func (e *Env) State(id string) specs.State {
	e.T.Helper()
	var st specs.State
	if err := json.Unmarshal([]byte(e.MustRun("state", id)), &st); err != nil {
		e.T.Fatal(err)
	}
	return st
}

// WaitStatus waits up to 10 s for a container to have the status.
func (e *Env) WaitStatus(id string, want specs.ContainerState) {
	e.T.Helper()
	if !Until(10*time.Second, func() bool { return e.State(id).Status == want }) {
		e.T.Fatalf("%s is %s, not %s", id, e.State(id).Status, want)
	}
}

// cleanup deletes what the test left running, and then demands that nothing is left.
func (e *Env) cleanup() {
	for _, id := range e.ids {
		_ = exec.Command(Runtime(e.T), "--root", e.Root, "delete", "--force", id).Run()
	}
	for _, what := range e.Leftovers() {
		e.T.Errorf("left behind: %s", what)
	}
}

// Leftovers lists cgroups, mounts, processes and state directories of this test.
func (e *Env) Leftovers() []string {
	var left []string
	for _, pattern := range []string{"/sys/fs/cgroup/*", "/sys/fs/cgroup/*/*", "/sys/fs/cgroup/*/*/*", "/sys/fs/cgroup/*/*/*/*"} {
		dirs, _ := filepath.Glob(pattern)
		for _, d := range dirs {
			if strings.HasPrefix(filepath.Base(d), e.prefix+"-") {
				left = append(left, "cgroup "+d)
			}
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, e.Root) {
			left = append(left, "mount "+strings.TrimSpace(line))
		}
	}
	for _, id := range e.ids {
		if _, err := os.Lstat(filepath.Join(e.Root, id)); err == nil {
			left = append(left, "state directory "+id)
		}
	}
	cmdlines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, c := range cmdlines {
		if b, err := os.ReadFile(c); err == nil && bytes.Contains(b, []byte(e.prefix)) {
			left = append(left, "process "+filepath.Dir(c)+" "+string(bytes.ReplaceAll(b, []byte{0}, []byte{' '})))
		}
	}
	return left
}
