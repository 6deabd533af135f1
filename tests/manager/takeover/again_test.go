package takeover_test

import (
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

// TestAgain has our manager come back after a containerd that has deleted the tasks it knew, and made others of the same
// names: what it remembers must not be taken for what there is.
func TestAgain(t *testing.T) {
	for name, own := range map[string]bool{"own": true, "ours": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			harness.NeedRoot(t)
			w := newWorld(t, compat.Gantry, own)
			same := w.firstLives()
			w.replace(compat.Containerd24, own)
			must := w.secondLives()
			must["same"] = same
			w.replace(compat.Gantry, own)
			w.thirdLives(must)
		})
	}
}

// firstLives are under our manager; they return the process of the task that has no other.
func (w *world) firstLives() (same uint32) {
	w.t.Helper()
	for _, id := range []string{"another", "vanished", "tombstone"} {
		w.run(id, "sleep 100000", w.named())
	}
	for _, id := range []string{"ended", "vanished-ended"} {
		w.run(id, "exit 6", w.named())
		w.await(id, 6)
	}
	w.loseShim("tombstone")
	return w.run("same", "sleep 100000", w.named())
}

// secondLives are under containerd; they return the processes of tasks that are new.
func (w *world) secondLives() map[string]uint32 {
	w.t.Helper()
	pids := map[string]uint32{}
	for _, id := range []string{"another", "ended"} {
		w.deleteTask(id)
		pids[id] = w.start(w.container(id))
	}
	pids["tombstone"] = w.start(w.container("tombstone"))
	w.deleteTask("vanished")
	w.deleteTask("vanished-ended")
	pids["new"] = w.run("new", "sleep 100000", w.named())
	return pids
}

// thirdLives wants our manager to have these tasks and no others.
func (w *world) thirdLives(must map[string]uint32) {
	w.t.Helper()
	for id, pid := range must {
		task := w.task(id)
		if s, err := task.Status(w.ctx); err != nil || s.Status != containerd.Running && id != "ended" || task.Pid() != pid {
			w.t.Errorf("%s is %+v, %v, process %d; want running, %d", id, s, err, task.Pid(), pid)
		}
	}
	for _, id := range []string{"vanished", "vanished-ended"} {
		if task, err := w.container(id).Task(w.ctx, nil); !errdefs.IsNotFound(err) {
			w.t.Errorf("%s: %v, %v; want none", id, task, err)
		}
		w.must(w.container(id).Delete(w.ctx, containerd.WithSnapshotCleanup))
	}
	w.await("ended", 6)
	w.remove("ended", 6)
	for _, id := range []string{"same", "another", "tombstone", "new"} {
		w.usable(id)
		w.kill(id)
	}
}

// loseShim kills a task's shim and waits until the manager has seen it.
func (w *world) loseShim(id string) {
	w.t.Helper()
	for _, pid := range w.ctr.ShimPIDs(id) {
		w.must(unix.Kill(pid, unix.SIGKILL))
	}
	w.await(id, 137)
}

// deleteTask kills a task, should it live, and deletes it, but not its container. Containerd forgets at its start what has
// ended under its own shim.
func (w *world) deleteTask(id string) {
	w.t.Helper()
	task, err := w.container(id).Task(w.ctx, nil)
	if errdefs.IsNotFound(err) && w.daemon.Own {
		return
	}
	w.must(err)
	if err := task.Kill(w.ctx, unix.SIGKILL); err != nil && !errdefs.IsNotFound(err) {
		w.t.Error(err)
	}
	exited, err := task.Wait(w.ctx)
	w.must(err)
	<-exited
	_, err = task.Delete(w.ctx)
	w.must(err)
}
