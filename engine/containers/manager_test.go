package containers

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/spec"
	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/engine/rig"
	"github.com/gantry-containers/gantry/tests/harness"
)

// TestMain gives managers a /run of their own. Who is not root has no need of it.
func TestMain(m *testing.M) {
	flag.Parse()
	if os.Geteuid() == 0 {
		if err := compat.Private(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// realRoots are snapshots with a busybox in them.
type realRoots struct {
	roots
	rig *rig.Rig
}

func (r realRoots) Create(ctx context.Context, id string, _ digest.Digest) error {
	return r.rig.Root(ctx, id)
}

func (r realRoots) Remove(ctx context.Context, id string) error {
	err := r.rig.SnapshotService(rig.Snapshotter).Remove(ctx, id)
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// realSpecs run a container's command.
type realSpecs struct{ rig *rig.Rig }

func (s realSpecs) Build(in spec.Input) (*specs.Spec, error) {
	oci := s.rig.Spec(in.Container.ID, "")
	oci.Process.Args = append([]string{in.Container.Path}, in.Container.Args...)
	return oci, nil
}

// realWorld is one whose containers run by a manager.
func realWorld(t *testing.T, g compat.Generation) (*world, *rig.Rig) {
	t.Helper()
	r := rig.Start(t, g)
	w := &world{t: t, dir: t.TempDir(), manager: newManager(), trace: &trace{}, fail: &failures{}}
	f := fakes{w.trace, w.fail}
	w.parts = Parts{
		Tasks: r.Tasks, Images: imageStore{f}, Roots: realRoots{roots{f}, r}, Mounts: f, Networks: nets{f}, Streams: streams{f},
		Events: f, Health: f, Execs: f, Specs: realSpecs{r},
		Settings: fixed(Settings{Owner: t.Name(), Snapshotter: rig.Snapshotter}),
	}
	w.boot()
	return w, r
}

func command(req Create, args ...string) Create {
	req.Config.Cmd = args
	return req
}

func TestManagers(t *testing.T) {
	for _, g := range []compat.Generation{compat.Gantry, compat.Containerd16} {
		t.Run(string(g), func(t *testing.T) {
			t.Parallel()
			w, r := realWorld(t, g)
			t.Run("ends", func(t *testing.T) { testEnds(t, w) })
			t.Run("refuses", func(t *testing.T) { testRefuses(t, w) })
			t.Run("acts", func(t *testing.T) { testActs(t, w) })
			t.Run("survives", func(t *testing.T) { testSurvives(t, w, r) })
		})
	}
}

func testEnds(t *testing.T, w *world) {
	id := w.run(command(request("ends"), "sh", "-c", "exit 7"))
	if c := w.until(id, is(container.Exited)); c.State.ExitCode != 7 || time.Since(c.State.FinishedAt).Abs() > time.Hour {
		t.Errorf("%+v", c.State)
	}
	id = w.run(command(request("short", autoRemove), "true"))
	w.gone(id)
	id = w.run(command(request("fails", policy("on-failure", 1)), "false"))
	if c := w.until(id, func(c *container.Container) bool { return c.State.Status == container.Exited && c.RestartCount == 1 }); c.State.ExitCode != 1 {
		t.Errorf("%+v", c.State)
	}
	for _, name := range []string{"ends", "fails"} {
		w.must(w.Remove(t.Context(), name, Remove{}))
	}
}

func testRefuses(t *testing.T, w *world) {
	for command0, tc := range map[string]struct {
		code int
		text string
	}{
		"nothing": {codeNotFound, `exec: "nothing": executable file not found in $PATH`},
		"/etc":    {codeCannotInvoke, "permission denied"},
	} {
		id := w.create(command(request("refused"), command0))
		err := w.Start(t.Context(), id)
		class := fault.Class(err)
		if err == nil || !strings.Contains(err.Error(), tc.text) || !errdefs.IsInvalidArgument(class) {
			t.Errorf("start %s: %v", command0, err)
		}
		if c := w.until(id, is(container.Created)); c.State.ExitCode != tc.code || c.State.Error != err.Error() {
			t.Errorf("%+v", c.State)
		}
		w.must(w.Remove(t.Context(), id, Remove{}))
	}
}

func testActs(t *testing.T, w *world) {
	id := w.run(command(request("acts"), "sleep", "1000"))
	w.must(w.Pause(t.Context(), id))
	zero := 0
	w.must(w.Stop(t.Context(), id, Stop{Timeout: &zero}))
	if c := w.until(id, is(container.Exited)); c.State.ExitCode != 137 {
		t.Errorf("%+v", c.State)
	}
	w.must(w.Restart(t.Context(), id, Stop{}))
	w.must(w.Kill(t.Context(), id, "KILL"))
	w.must(w.Start(t.Context(), id))
	w.must(w.Remove(t.Context(), id, Remove{Force: true}))
}

// testSurvives kills the engine, then the manager, and lets containers live and end meanwhile.
func testSurvives(t *testing.T, w *world, r *rig.Rig) {
	lives := w.run(command(request("lives"), "sleep", "1000"))
	ends := w.run(command(request("meanwhile"), "sleep", "1000"))
	removed := w.run(command(request("removed", autoRemove), "sleep", "1000"))
	again := w.run(command(request("again", policy("always", 0)), "sleep", "1000"))
	pid := func(id string) int { return w.until(id, is(container.Running)).State.Pid }
	before, oldAgain := pid(lives), pid(again)
	w.kill()
	for _, id := range []string{ends, removed, again} {
		w.must(syscall.Kill(pid(id), syscall.SIGKILL))
	}
	w.boot()
	if c := w.until(ends, is(container.Exited)); c.State.ExitCode != 137 {
		t.Errorf("ended while the engine was away: %+v", c.State)
	}
	w.gone(removed)
	w.nextRun(again, 1)
	if pid(again) == oldAgain || pid(lives) != before {
		t.Error("the wrong one was started again")
	}
	r.Daemon.Kill()
	w.must(syscall.Kill(pid(again), syscall.SIGKILL))
	w.must(r.Daemon.Restart())
	w.until(again, func(c *container.Container) bool { return c.State.Status == container.Running && c.RestartCount == 2 })
	if pid(lives) != before {
		t.Error("it does not live")
	}
	for _, id := range []string{lives, ends, again} {
		w.must(w.Remove(t.Context(), id, Remove{Force: true}))
	}
	if list, err := w.parts.Tasks.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("left %v, %v", list, err)
	}
	if !harness.Until(time.Second, func() bool { return len(w.parts.Store.List()) == 0 }) {
		t.Errorf("left %v", w.parts.Store.List())
	}
}
