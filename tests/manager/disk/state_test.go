package disk_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

// ends is a program that ends with a code when it is told to.
func ends(code int) string { return fmt.Sprintf("trap 'exit %d' TERM; sleep 1000 & wait", code) }

// TestFullStateDirectory fills the directory of tasks: none can be made, with words, and nothing is left of it; those that there are
// can be looked at, end with their own codes and be deleted, also over a kill of the manager.
func TestFullStateDirectory(t *testing.T) {
	t.Parallel()
	w := start(t, small(t, "state", 8*megabyte))
	w.run("steady", "sleep 1000")
	w.run("seven", ends(7))
	w.run("eight", ends(8))
	w.run("nine", ends(9))
	w.trapped("seven", "eight", "nine")
	places := w.bundles()
	ballast := leave(t, w.path("state"), 0)

	w.full("run", "-d", compat.ImageName, "refused", "true")
	w.Ctr("containers", "rm", "refused")
	w.runs("steady")
	if diff := cmp.Diff(places, w.bundles()); diff != "" {
		t.Errorf("bundles (-before +after):\n%s", diff)
	}
	w.Ctr("tasks", "kill", "-s", "TERM", "seven")
	w.endsWith("seven", 7)

	w.Kill()
	w.Start()
	w.runs("steady")
	w.full("run", "-d", compat.ImageName, "refused", "true")
	w.Ctr("containers", "rm", "refused")
	w.Ctr("tasks", "kill", "-s", "TERM", "eight")
	w.endsWith("eight", 8)

	pid := w.pid("nine")
	w.Kill()
	w.terminate(pid)
	w.Start()
	w.endsWith("nine", 9)
	w.stop("steady")
	remove(t, ballast)
	w.works("another")
	if left := w.bundles(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// runs wants a task to be as alive as it was. An exec has a file in the bundle, for which there is no room.
func (w *world) runs(id string) {
	w.t.Helper()
	if task, err := w.Task(id); err != nil || task.Status != "RUNNING" {
		w.t.Errorf("%s is %v, %v", id, task.Status, err)
	}
	if out := w.Ctr("tasks", "ps", id); len(out) == 0 {
		w.t.Errorf("%s has no processes", id)
	}
}

// trapped waits until these programs would end with their own codes.
func (w *world) trapped(ids ...string) {
	w.t.Helper()
	for _, id := range ids {
		if !harness.Until(20*time.Second, func() bool {
			_, err := w.Try("tasks", "exec", "--exec-id", "sleeps", id, "sh", "-c", "ps | grep -q '[s]leep 1000'")
			return err == nil
		}) {
			w.t.Errorf("%s does not sleep", id)
		}
	}
}

// bundles are the folders and records of tasks that there are.
func (w *world) bundles() (paths []string) {
	w.t.Helper()
	for _, pattern := range []string{"state/io.containerd.runtime.v2.task/*/*", "state/io.gantry.tasks.v1/*/*", "root/io.containerd.runtime.v2.task/*/*"} {
		found, err := filepath.Glob(w.path(pattern))
		if err != nil {
			w.t.Error(err)
		}
		paths = append(paths, found...)
	}
	return paths
}

func (w *world) pid(id string) int {
	w.t.Helper()
	task, err := w.Task(id)
	if err != nil || task.PID == 0 {
		w.t.Fatalf("%s: %v, %v", id, task, err)
	}
	return task.PID
}

// terminate ends a process, and waits for it.
func (w *world) terminate(pid int) {
	w.t.Helper()
	p, err := os.FindProcess(pid)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := p.Signal(unix.SIGTERM); err != nil {
		w.t.Fatal(err)
	}
	if !harness.Until(20*time.Second, func() bool { _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); return err != nil }) {
		w.t.Errorf("process %d does not end", pid)
	}
}

// endsWith wants a task to end with a code, as Wait and Delete say it, and removes the container.
func (w *world) endsWith(id string, code uint32) {
	w.t.Helper()
	w.gone(id)
	c, ctx := w.api()
	k, err := c.LoadContainer(ctx, id)
	if err != nil {
		w.t.Fatal(err)
	}
	task, err := k.Task(ctx, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	exit, err := task.Wait(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	status := <-exit
	if got, _, err := status.Result(); got != code || err != nil {
		w.t.Errorf("wait for %s: %d, %v; want %d", id, got, err, code)
	}
	deleted, err := task.Delete(ctx)
	if err != nil || deleted.ExitCode() != code {
		w.t.Errorf("delete of %s: %v, %v; want %d", id, deleted, err, code)
	}
	if err := k.Delete(ctx, containerd.WithSnapshotCleanup); err != nil {
		w.t.Errorf("delete the record of %s: %v", id, err)
	}
}
