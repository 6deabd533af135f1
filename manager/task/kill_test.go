package task

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
)

// The manager dies in every call, and so may the shim, before there is another manager.
func TestKilledInCreate(t *testing.T) {
	for _, method := range []string{"start", "Create", "Create done"} {
		for _, dies := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, shim dies: %v", method, dies), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.container("a")
				w.dieWithManager = dies && method != "start"
				w.killIn(method, func() { w.tryCreate("a") }) //nolint:errcheck // nobody hears the answer
				if _, err := w.get("a"); !errdefs.IsNotFound(err) {
					t.Fatal("nobody was told of it:", err)
				}
				w.run("a").exit("", 3, true) // at once
				w.deleted("a", 3)
				w.nothingLeft()
			})
		}
	}
}

func TestKilledInDelete(t *testing.T) {
	for _, method := range []string{"Delete", "Delete done", "Shutdown"} {
		for _, dies := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, shim dies: %v", method, dies), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.run("a").exit("", 7, true)
				w.dieWithManager = dies
				w.killIn(method, func() { w.delete("a") }) //nolint:errcheck // nobody hears the answer
				w.stopped("a", 7)
				w.deleted("a", 7)
				w.nothingLeft()
				w.told("exit a 7", "delete a 7")
			})
		}
	}
}

// The manager dies while it cleans up after a shim.
func TestKilledInEntomb(t *testing.T) {
	w := newWorld(t)
	s := w.run("a")
	w.killIn("delete", func() { w.shims.of("a").die() })
	_ = s
	w.stopped("a", killed)
	w.told("exit a 137", "delete a 137")
	w.deleted("a", killed)
	w.nothingLeft()
}

// What is running is adopted without a question, but for one later: whether it runs still.
func TestAdopt(t *testing.T) {
	w := newWorld(t)
	const n = 20
	for i := range n {
		w.run(fmt.Sprint("t", i))
	}
	w.shims.called()
	w.restart()
	if calls := slices.DeleteFunc(w.shims.called(), func(c string) bool { return c == "load" || c == "Connect" || c == "State" }); len(calls) > 0 {
		t.Error("more was asked:", calls)
	}
	list, err := w.m.List(w.ctx, &tasks.ListTasksRequest{})
	if err != nil || len(list.Tasks) != n {
		t.Fatal(list, err)
	}
	for i := range n {
		id := fmt.Sprint("t", i)
		if err := w.m.Kill(w.ctx, &tasks.KillRequest{ContainerID: id, Signal: 9}); err != nil {
			t.Fatal(err)
		}
		w.deleted(id, killed)
	}
	w.nothingLeft()
}

// A shim that hangs does not keep the others waiting, nor a client; when it answers, it is as if nothing had been.
func TestHungAtLoad(t *testing.T) {
	w := newWorld(t)
	w.run("good")
	bad := w.run("bad")
	w.limits[patienceLimit] = 50 * time.Millisecond
	goOn := make(chan struct{})
	w.kill()
	for range 100 {
		w.shims.on("Connect", func(s *fakeShim) error {
			if s == bad {
				<-goOn
			}
			return nil
		})
	}
	w.start()
	if p, err := w.get("good"); err != nil || p.Status != tasktypes.Status_RUNNING {
		t.Fatal(p, err)
	}
	if _, err := w.get("bad"); !errdefs.IsUnavailable(err) {
		t.Fatal(err)
	}
	list, err := w.m.List(w.ctx, &tasks.ListTasksRequest{})
	if err != nil || len(list.Tasks) != 2 || list.Tasks[0].Status != tasktypes.Status_UNKNOWN || list.Tasks[0].Pid == 0 {
		t.Fatal(list, err)
	}
	if err := w.tryCreate("bad"); !errdefs.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	if err := w.m.Kill(w.ctx, &tasks.KillRequest{ContainerID: "bad", Signal: 9}); !errdefs.IsUnavailable(err) {
		t.Fatal(err)
	}
	if _, err := w.delete("bad"); !errdefs.IsUnavailable(err) {
		t.Fatal(err)
	}
	close(goOn)
	w.eventually("it is adopted", func() bool { p, err := w.get("bad"); return err == nil && p.Status == tasktypes.Status_RUNNING })
	bad.exit("", 1, true)
	w.deleted("bad", 1)
	w.nothingLeft("good")
}

// Bundles of a containerd have no record in the ledger.
func TestForeignBundles(t *testing.T) {
	prepare := func(t *testing.T) (*world, *fakeShim) {
		w := newWorld(t)
		s := w.run("a")
		w.kill()
		if err := os.RemoveAll(filepath.Join(w.dir, "ledger")); err != nil {
			t.Fatal(err)
		}
		return w, s
	}
	t.Run("running", func(t *testing.T) {
		w, s := prepare(t)
		w.start()
		if p, err := w.get("a"); err != nil || p.Status != tasktypes.Status_RUNNING || p.Stdout != "/out" {
			t.Fatal(p, err)
		}
		s.exit("", 4, true)
		w.deleted("a", 4)
		w.nothingLeft()
	})
	t.Run("ended, no pids", func(t *testing.T) {
		w, s := prepare(t)
		w.shims.silent = true
		s.exit("", 4, false)
		w.start()
		w.stopped("a", 4)
		w.deleted("a", 4)
		w.nothingLeft()
	})
	t.Run("the shim is dead", func(t *testing.T) {
		w, s := prepare(t)
		s.die()
		w.start()
		w.stopped("a", killed)
		w.deleted("a", killed)
		w.nothingLeft()
	})
	t.Run("the shim and the container are gone", func(t *testing.T) {
		w, s := prepare(t)
		s.die()
		w.containers.clear()
		w.start()
		w.nothingLeft()
	})
	t.Run("never created", func(t *testing.T) {
		w, s := prepare(t)
		s.mu.Lock()
		clear(s.processes)
		s.mu.Unlock()
		w.start()
		if _, err := w.get("a"); !errdefs.IsNotFound(err) {
			t.Fatal(err)
		}
		w.nothingLeft()
	})
}

// Another manager, a containerd, has deleted a task and made one of the same name: what the ledger has of the first, in
// whatever stage, is not true of the second.
func TestAnotherManager(t *testing.T) {
	for _, end := range []string{"running", "ended", "tombstone"} {
		t.Run(end, func(t *testing.T) {
			w := newWorld(t)
			file, old := w.firstLife(end)
			second := w.run("a")
			p, err := w.get("a")
			if err != nil {
				t.Fatal(err)
			}
			w.kill()
			if err := os.WriteFile(file, old, 0o600); err != nil {
				t.Fatal(err)
			}
			w.shims.called()
			w.start()
			if got, err := w.get("a"); err != nil || got.Status != tasktypes.Status_RUNNING || got.Pid != p.Pid {
				t.Errorf("got %v, %v; want running, %d", got, err, p.Pid)
			}
			if calls := w.shims.called(); slices.Contains(calls, "delete") {
				t.Error("what lives was cleaned up:", calls)
			}
			second.exit("", 5, true)
			w.deleted("a", 5)
			w.nothingLeft()
		})
	}
}

// firstLife is that of a task which has been deleted, and the record of it from before that, when it was in this state.
func (w *world) firstLife(end string) (file string, old []byte) {
	w.t.Helper()
	first := w.run("a")
	switch end {
	case "ended":
		first.exit("", 3, true)
		w.stopped("a", 3)
	case "tombstone":
		first.die()
		w.entombed("a")
	}
	file = w.m.ledger.file(key{namespace, "a"})
	old, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	if end == "running" {
		first.exit("", 3, true)
	}
	if _, err := w.delete("a"); err != nil {
		w.t.Fatal(err)
	}
	return file, old
}

// What a manager that was killed leaves in the ledger without a bundle, or another manager after it.
func TestRecordsWithoutBundle(t *testing.T) {
	end := &exit{Pid: 7, Status: 9, At: time.Now()}
	w := newWorld(t)
	w.container("alive", "deleted", "ended")
	for id, r := range map[string]record{
		"creating": {Stage: creating},
		"alive":    {Stage: alive, Pid: 7},
		"deleted":  {Stage: deleted, Pid: 7, Exit: end, ExitTold: true},
		"ended":    {Stage: ended, Pid: 7, Exit: end, ExitTold: true, DeleteTold: true},
		"unwanted": {Stage: ended, Pid: 7, Exit: end, ExitTold: true, DeleteTold: true},
	} {
		if err := w.m.ledger.write(key{namespace, id}, r); err != nil {
			t.Fatal(err)
		}
	}
	w.kill()
	broken := filepath.Join(w.dir, "ledger", namespace, "broken.json")
	if err := os.WriteFile(broken, []byte(`{"stage"`), 0o600); err != nil {
		t.Fatal(err)
	}
	w.start()
	if p, err := w.get("alive"); !errdefs.IsNotFound(err) {
		t.Errorf("another manager has deleted it: %v, %v", p, err)
	}
	w.stopped("deleted", 9)
	w.stopped("ended", 9)
	w.deleted("deleted", 9)
	w.deleted("ended", 9)
	w.nothingLeft()
	got := w.log.told()
	slices.Sort(got)
	if want := []string{"delete deleted 9"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Nothing of a task is left in the manager either.
func TestNoGoroutinesAreLeft(t *testing.T) {
	w := newWorld(t)
	w.run("first").exit("", 0, true)
	w.deleted("first", 0)
	w.nothingLeft()
	idle := func() bool {
		w.m.mu.Lock()
		defer w.m.mu.Unlock()
		return len(w.m.leaving) == 0 && len(w.m.tasks) == 0
	}
	w.eventually("the first is forgotten", idle)
	before := runtime.NumGoroutine()
	for i := range 20 {
		id := fmt.Sprint("t", i)
		s := w.run(id)
		if i%2 == 0 {
			s.exit("", 0, true)
			w.deleted(id, 0)
			continue
		}
		s.die()
		w.entombed(id)
		w.deleted(id, killed)
	}
	w.nothingLeft()
	w.eventually("all are forgotten", idle)
	w.eventually(fmt.Sprintf("there are %d goroutines again", before), func() bool { return runtime.NumGoroutine() <= before })
}
