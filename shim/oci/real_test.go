package oci_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/oci"
	"github.com/gantry-containers/gantry/tests/harness"
)

// runtimes are ours and those of the machine.
func runtimes(t *testing.T, run func(t *testing.T, binary string)) {
	harness.NeedRoot(t)
	for _, binary := range []string{harness.Runtime(t), "/usr/sbin/runc", "/usr/bin/crun"} {
		t.Run(strings.ReplaceAll(binary, "/", "_"), func(t *testing.T) {
			if _, err := os.Stat(binary); err != nil {
				t.Skip(err)
			}
			run(t, binary)
		})
	}
}

// container is a bundle and what a shim keeps in it.
type container struct {
	*oci.Runtime
	t          *testing.T
	id, bundle string
}

func newContainer(t *testing.T, binary string, change func(*specs.Spec)) *container {
	t.Helper()
	env := harness.New(t)
	bundle := env.Bundle("trap 'exit 3' TERM; while :; do sleep 0.1; done", func(s *specs.Spec) {
		s.Version = "1.0.2" // crun 1.8 refuses 1.1 and later
		if change != nil {
			change(s)
		}
	})
	return &container{
		Runtime: &oci.Runtime{Binary: binary, Root: env.Root, Log: filepath.Join(bundle, "log.json")},
		t:       t, id: env.ID("c"), bundle: bundle,
	}
}

// adoptOrphans makes the test the parent of the containers' processes, as a shim is.
func adoptOrphans(t *testing.T) {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) })
}

func (c *container) create(ctx context.Context) error {
	return c.Create(ctx, c.id, oci.CreateOptions{Bundle: c.bundle, PidFile: filepath.Join(c.bundle, "init.pid")})
}

func (c *container) pid(file string) int {
	c.t.Helper()
	text, err := os.ReadFile(filepath.Join(c.bundle, file))
	if err != nil {
		c.t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		c.t.Fatal(err)
	}
	return pid
}

func (c *container) must(what string, err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("%s: %v", what, err)
	}
}

func TestLife(t *testing.T) {
	runtimes(t, func(t *testing.T, binary string) {
		ctx, cancel := context.WithTimeout(context.Background(), harness.Limit(60*time.Second))
		defer cancel()
		adoptOrphans(t)
		c := newContainer(t, binary, nil)
		err := c.create(ctx)
		if err != nil && strings.Contains(err.Error(), "hybrid") {
			t.Skip(err) // crun does not run on such a machine
		}
		c.must("create", err)
		state, err := c.State(ctx, c.id)
		c.must("state", err)
		if state.Status != specs.StateCreated || state.Pid != c.pid("init.pid") {
			t.Errorf("created: %+v, pid %d", state, c.pid("init.pid"))
		}
		c.must("start", c.Start(ctx, c.id))
		c.must("exec", c.Exec(ctx, c.id, oci.ExecOptions{Process: c.process("sleep", "100"), PidFile: filepath.Join(c.bundle, "x.pid")}))
		pids, err := c.Pids(ctx, c.id)
		c.must("ps", err)
		if !slices.Contains(pids, c.pid("init.pid")) || !slices.Contains(pids, c.pid("x.pid")) {
			t.Errorf("ps: %v has not both of %d and %d", pids, c.pid("init.pid"), c.pid("x.pid"))
		}
		c.must("pause", c.Pause(ctx, c.id))
		c.must("resume", c.Resume(ctx, c.id))
		c.must("update", c.Update(ctx, c.id, []byte(`{"pids":{"limit":99}}`)))
		if err := c.Delete(ctx, c.id, false); err == nil || errors.Is(err, oci.ErrNotFound) {
			t.Errorf("delete of a running one: %v", err)
		}
		c.must("kill", c.Kill(ctx, c.id, 15, false))
		// A pid namespace's first process ends when all the others have been reaped, and this one is ours to reap.
		_, _ = unix.Wait4(c.pid("x.pid"), nil, 0, nil)
		var status unix.WaitStatus
		if _, err := unix.Wait4(c.pid("init.pid"), &status, 0, nil); err != nil || status.ExitStatus() != 3 {
			t.Errorf("init: %v %v", status, err)
		}
		if err := c.Kill(ctx, c.id, 9, false); !errors.Is(err, oci.ErrNotRunning) && !errors.Is(err, oci.ErrFinished) {
			t.Errorf("kill of a stopped one: %v", err)
		}
		c.must("delete", c.Delete(ctx, c.id, false))
		c.gone(ctx)
	})
}

// gone demands that every command says so of a container that is not there.
func (c *container) gone(ctx context.Context) {
	c.t.Helper()
	_, stateErr := c.State(ctx, c.id)
	_, psErr := c.Pids(ctx, c.id)
	for what, err := range map[string]error{
		"start": c.Start(ctx, c.id), "kill": c.Kill(ctx, c.id, 9, false), "delete": c.Delete(ctx, c.id, false),
		"state": stateErr, "ps": psErr, "pause": c.Pause(ctx, c.id),
		"exec": c.Exec(ctx, c.id, oci.ExecOptions{Process: c.process("true")}),
	} {
		if !errors.Is(err, oci.ErrNotFound) {
			c.t.Errorf("%s after delete: %v", what, err)
		}
	}
	if err := c.Delete(ctx, c.id, true); err != nil {
		c.t.Errorf("delete by force after delete: %v", err)
	}
	logs, _ := filepath.Glob(c.Log + "*")
	if len(logs) > 1 {
		c.t.Errorf("logs: %v", logs)
	}
}

func (c *container) process(args ...string) string {
	c.t.Helper()
	text, err := json.Marshal(specs.Process{Args: args, Cwd: "/", Env: []string{"PATH=/bin"}})
	c.must("process", err)
	file := filepath.Join(c.bundle, "process.json")
	c.must("process", os.WriteFile(file, text, 0o600))
	return file
}

// When the caller of create is killed half-way, one delete by force leaves nothing. Upstream's runc forgets cgroups that
// it made before it wrote its state.
func TestCallerDiesInCreate(t *testing.T) {
	if dir := os.Getenv("GANTRY_OCI_BUNDLE"); dir != "" {
		callCreate(t, dir)
		return
	}
	const rounds, step = 12, 5 * time.Millisecond
	runtimes(t, func(t *testing.T, binary string) {
		for i := range rounds {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				ctx, cancel := context.WithTimeout(context.Background(), harness.Limit(60*time.Second))
				defer cancel()
				c := newContainer(t, binary, nil)
				killCreate(c, time.Duration(i)*step)
				c.must("delete", c.Delete(ctx, c.id, true))
				c.noProcess()
				if binary != harness.Runtime(t) {
					c.removeCgroups()
				}
			})
		}
	})
}

// callCreate is what the process does that is killed: it is a shim.
func callCreate(t *testing.T, dir string) {
	adoptOrphans(t)
	r := &oci.Runtime{Binary: os.Getenv("GANTRY_OCI_BINARY"), Root: os.Getenv("GANTRY_OCI_ROOT"), Log: dir + "/log.json"}
	if err := os.WriteFile(dir+"/calling", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Log(r.Create(context.Background(), os.Getenv("GANTRY_OCI_ID"), oci.CreateOptions{Bundle: dir, PidFile: dir + "/init.pid"}))
	time.Sleep(time.Minute)
}

// killCreate kills a process that calls create, some time after it has begun to.
func killCreate(c *container, after time.Duration) {
	c.t.Helper()
	caller := exec.Command("/proc/self/exe", "-test.run=^TestCallerDiesInCreate$")
	caller.Env = append(os.Environ(), "GANTRY_OCI_BUNDLE="+c.bundle, "GANTRY_OCI_BINARY="+c.Binary,
		"GANTRY_OCI_ROOT="+c.Root, "GANTRY_OCI_ID="+c.id)
	c.must("the caller", caller.Start())
	if !harness.Until(10*time.Second, func() bool { _, err := os.Stat(c.bundle + "/calling"); return err == nil }) {
		c.t.Error("the caller does not call")
	}
	time.Sleep(after)
	c.must("kill", caller.Process.Kill())
	_ = caller.Wait()
}

// noProcess waits until no process of the container is left: none is in its cgroups, and no runtime still works for it,
// which might make another cgroup.
func (c *container) noProcess() {
	c.t.Helper()
	var left []string
	if !harness.Until(10*time.Second, func() bool { left = c.processes(); return len(left) == 0 }) {
		c.t.Errorf("processes are left: %v", left)
	}
}

func (c *container) processes() []string {
	var left []string
	for _, dir := range c.cgroups() {
		text, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		left = append(left, strings.Fields(string(text))...)
	}
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, line := range lines {
		text, _ := os.ReadFile(line)
		if slices.Contains(strings.Split(string(text), "\x00"), c.id) {
			left = append(left, filepath.Base(filepath.Dir(line)))
		}
	}
	slices.Sort(left)
	return slices.Compact(left)
}

func (c *container) cgroups() []string {
	var dirs []string
	for _, pattern := range []string{"/sys/fs/cgroup/*/", "/sys/fs/cgroup/*/*/*/"} {
		found, _ := filepath.Glob(pattern + c.id)
		dirs = append(dirs, found...)
	}
	return dirs
}

func (c *container) removeCgroups() {
	for _, dir := range c.cgroups() {
		_ = os.Remove(dir)
	}
}
