package tasks_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/engine/tasks"
	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/engine/rig"
	"github.com/gantry-containers/gantry/tests/harness"
)

// TestMain gives the managers a /run of their own.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := compat.Private(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// managers are those that the engine works with.
var managers = []compat.Generation{compat.Gantry, compat.Containerd24, compat.Containerd16}

func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.Limit(30*time.Second))
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until an event comes that is wanted.
func eventually(t *testing.T, events <-chan tasks.Event, wanted func(tasks.Event) bool) tasks.Event {
	t.Helper()
	timeout := time.After(harness.Limit(20 * time.Second))
	for {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatal("the events ended")
			}
			if wanted(e) {
				return e
			}
		case <-timeout:
			t.Fatal("an event did not come")
		}
	}
}

func isGap(e tasks.Event) bool { return e.Gap }

func exitOf(id, process string) func(tasks.Event) bool {
	return func(e tasks.Event) bool { return e.Exit != nil && e.Exit.Container == id && e.Exit.Process == process }
}

func create(t *testing.T, r *rig.Rig, id, script string) int {
	t.Helper()
	ctx := limited(t)
	if err := r.Root(ctx, id); err != nil {
		t.Fatal(err)
	}
	pid, err := r.Tasks.Create(ctx, tasks.Create{
		ID: id, Spec: r.Spec(id, script), Labels: map[string]string{"whose": "mine"},
		Snapshotter: rig.Snapshotter, Snapshot: id,
	})
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestLife(t *testing.T) {
	for _, g := range managers {
		t.Run(string(g), func(t *testing.T) {
			t.Parallel()
			r := rig.Start(t, g)
			events := r.Tasks.Events(t.Context())
			eventually(t, events, isGap)
			t.Run("exit", func(t *testing.T) { testExit(t, r, events) })
			t.Run("signals", func(t *testing.T) { testSignals(t, r, events) })
			t.Run("failures", func(t *testing.T) { testFailures(t, r) })
			t.Run("missing", func(t *testing.T) { testMissing(t, r) })
			t.Run("gap", func(t *testing.T) { testGap(t, r, events) })
		})
	}
}

func testExit(t *testing.T, r *rig.Rig, events <-chan tasks.Event) {
	ctx, id := limited(t), r.ID("exit")
	pid := create(t, r, id, "exit 7")
	st, err := r.Tasks.Status(ctx, id, "")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(tasks.Status{Container: id, Created: true, Pid: pid}, st); d != "" {
		t.Error(d)
	}
	if err := r.Tasks.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	told := eventually(t, events, exitOf(id, "")).Exit
	if told.Code != 7 || told.Pid != pid || time.Since(told.At).Abs() > time.Hour {
		t.Errorf("told %+v, want code 7 of %d, now", told, pid)
	}
	list, err := r.Tasks.List(ctx)
	if err != nil || len(list) != 1 || list[0].Exit == nil || list[0].Exit.Code != 7 || list[0].Container != id {
		t.Errorf("list: %+v, %v", list, err)
	}
	if l, err := r.Tasks.Labels(ctx, id); err != nil || l["whose"] != "mine" {
		t.Errorf("labels %v, %v", l, err)
	}
	if s, err := r.Tasks.Spec(ctx, id); err != nil || s.Process.Args[2] != "exit 7" {
		t.Errorf("spec %+v, %v", s, err)
	}
	exit, err := r.Tasks.Delete(ctx, id)
	if err != nil || exit == nil || exit.Code != 7 || exit.Pid != pid {
		t.Errorf("delete: %+v, %v", exit, err)
	}
	if exit, err = r.Tasks.Delete(ctx, id); err != nil || exit != nil {
		t.Errorf("delete again: %+v, %v", exit, err)
	}
}

func testSignals(t *testing.T, r *rig.Rig, events <-chan tasks.Event) {
	ctx, id := limited(t), r.ID("signals")
	create(t, r, id, "exec sleep 1000")
	must(t, r.Tasks.Start(ctx, id))
	must(t, r.Tasks.Pause(ctx, id))
	if st, err := r.Tasks.Status(ctx, id, ""); err != nil || !st.Paused || !st.Running {
		t.Errorf("paused: %+v, %v", st, err)
	}
	must(t, r.Tasks.Resume(ctx, id))
	shares := uint64(512)
	must(t, r.Tasks.Update(ctx, id, &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}}))
	if m, _, err := r.Tasks.Metrics(ctx, id); err != nil || m == nil {
		t.Errorf("metrics %v, %v", m, err)
	}
	process := &specs.Process{Args: []string{"sh", "-c", "exit 3"}, Cwd: "/", Env: []string{"PATH=/bin"}}
	pid, err := r.Tasks.Exec(ctx, id, "one", process, tasks.IO{})
	must(t, err)
	if e := eventually(t, events, exitOf(id, "one")).Exit; e.Code != 3 || e.Pid != pid {
		t.Errorf("exec told %+v, want code 3 of %d", e, pid)
	}
	if e, err := r.Tasks.DeleteExec(ctx, id, "one"); err != nil || e == nil || e.Code != 3 {
		t.Errorf("exec deleted %+v, %v", e, err)
	}
	process.Args = []string{"/nothing"}
	if _, err := r.Tasks.Exec(ctx, id, "two", process, tasks.IO{}); err == nil || !strings.Contains(err.Error(), "no such file or directory") {
		t.Errorf("exec of nothing: %v", err)
	}
	if _, err := r.Tasks.Status(ctx, id, "two"); !errdefs.IsNotFound(err) {
		t.Errorf("an exec that failed is left: %v", err)
	}
	if pids, err := r.Tasks.Pids(ctx, id); err != nil || len(pids) != 1 {
		t.Errorf("pids %v, %v", pids, err)
	}
	if _, err := r.Tasks.Delete(ctx, id); err == nil {
		t.Error("a running task was deleted")
	}
	must(t, r.Tasks.Kill(ctx, id, "", syscall.SIGKILL, false))
	if e := eventually(t, events, exitOf(id, "")).Exit; e.Code != 137 {
		t.Errorf("told %+v, want 137", e)
	}
	if _, err := r.Tasks.Destroy(ctx, id); err != nil {
		t.Error(err)
	}
}

func testFailures(t *testing.T, r *rig.Rig) {
	ctx, id := limited(t), r.ID("failures")
	must(t, r.Root(ctx, id))
	spec := r.Spec(id, "")
	spec.Process.Args = []string{"nothing"}
	c := tasks.Create{ID: id, Spec: spec, Snapshotter: rig.Snapshotter, Snapshot: id}
	_, err := r.Tasks.Create(ctx, c)
	if err == nil || !strings.Contains(err.Error(), `exec: "nothing": executable file not found in $PATH`) {
		t.Errorf("create with a missing program: %v", err)
	}
	if _, err := r.Tasks.Labels(ctx, id); !errdefs.IsNotFound(err) {
		t.Errorf("a record is left: %v", err)
	}
	c.Snapshot = "none"
	if _, err := r.Tasks.Create(ctx, c); !errdefs.IsNotFound(err) {
		t.Errorf("create without a snapshot: %v", err)
	}
	// What an engine left that was killed in the middle of a start.
	c.Snapshot, c.Spec = id, r.Spec(id, "exec sleep 1000")
	for range 2 {
		if _, err := r.Tasks.Create(ctx, c); err != nil {
			t.Fatalf("create: %v", err)
		}
	}
	if exit, err := r.Tasks.Destroy(ctx, id); err != nil || exit == nil {
		t.Errorf("destroy what was created: %+v, %v", exit, err)
	}
	if exit, err := r.Tasks.Destroy(ctx, id); err != nil || exit != nil {
		t.Errorf("destroy again: %+v, %v", exit, err)
	}
}

func testMissing(t *testing.T, r *rig.Rig) {
	ctx := limited(t)
	_, status := r.Tasks.Status(ctx, "missing", "")
	_, pids := r.Tasks.Pids(ctx, "missing")
	for name, err := range map[string]error{
		"status": status, "pids": pids,
		"start":  r.Tasks.Start(ctx, "missing"),
		"kill":   r.Tasks.Kill(ctx, "missing", "", syscall.SIGTERM, false),
		"pause":  r.Tasks.Pause(ctx, "missing"),
		"resume": r.Tasks.Resume(ctx, "missing"),
		"resize": r.Tasks.Resize(ctx, "missing", "", 1, 1),
		"stdin":  r.Tasks.CloseStdin(ctx, "missing", ""),
	} {
		if !errdefs.IsNotFound(err) {
			t.Errorf("%s: %v, want not found", name, err)
		}
	}
}

// testGap kills the manager under a running container, and lets that end meanwhile.
func testGap(t *testing.T, r *rig.Rig, events <-chan tasks.Event) {
	ctx, id, after := limited(t), r.ID("gap"), r.ID("after")
	pid := create(t, r, id, "exec sleep 1000")
	must(t, r.Tasks.Start(ctx, id))
	r.Daemon.Kill()
	must(t, syscall.Kill(pid, syscall.SIGKILL))
	must(t, r.Daemon.Restart())
	eventually(t, events, isGap)
	var st tasks.Status
	if !harness.Until(20*time.Second, func() bool {
		s, err := r.Tasks.Status(ctx, id, "")
		st = s
		return err == nil && s.Exit != nil || errdefs.IsNotFound(err)
	}) {
		t.Errorf("the manager does not know of the end: %+v", st)
	}
	if _, err := r.Tasks.Destroy(ctx, id); err != nil {
		t.Error(err)
	}
	// What comes from now on is told again.
	create(t, r, after, "exit 9")
	must(t, r.Tasks.Start(ctx, after))
	if e := eventually(t, events, exitOf(after, "")).Exit; e.Code != 9 {
		t.Errorf("told %+v, want 9", e)
	}
	if _, err := r.Tasks.Delete(ctx, after); err != nil {
		t.Error(err)
	}
}

func TestEventsEnd(t *testing.T) {
	r := rig.Start(t, compat.Gantry)
	ctx, cancel := context.WithCancel(t.Context())
	events := r.Tasks.Events(ctx)
	eventually(t, events, isGap)
	cancel()
	for range events { // It is closed.
	}
	if err := ctx.Err(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
