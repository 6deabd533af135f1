package task

import (
	"slices"
	"sync"
	"testing"

	"github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

// A whole life, and which questions it costs: the answers of Create and Start have the pid.
func TestLife(t *testing.T) {
	w := newWorld(t)
	pid := w.create("a").Pid
	started, err := w.m.Start(w.ctx, &tasks.StartRequest{ContainerID: "a"})
	if err != nil || started.Pid != pid {
		t.Fatal(started, err, pid)
	}
	s := w.shims.of("a")
	p, err := w.get("a")
	if err != nil || p.Status != tasktypes.Status_RUNNING || p.Pid != pid || p.Stdout != "/out" {
		t.Fatal(p, err)
	}
	if diff := cmp.Diff([]string{"start", "Connect", "Create", "Create done", "Start", "State"}, w.shims.called()); diff != "" {
		t.Error(diff)
	}
	if _, err := w.delete("a"); !errdefs.IsFailedPrecondition(err) {
		t.Fatal("delete of a running task:", err)
	}
	s.exit("", 5, true)
	w.stopped("a", 5)
	r, err := w.m.Wait(w.ctx, &tasks.WaitRequest{ContainerID: "a"})
	if err != nil || r.ExitStatus != 5 {
		t.Fatal(r, err)
	}
	w.shims.called()
	w.deleted("a", 5)
	if diff := cmp.Diff([]string{"Delete", "Delete done", "Shutdown"}, w.shims.called()[:3]); diff != "" {
		t.Error(diff)
	}
	w.nothingLeft()
	w.told("exit a 5", "delete a 5")
}

func TestSameIDAgain(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		w.run("a").exit("", 1, true)
		w.deleted("a", 1)
	}
	w.nothingLeft()
	w.told("exit a 1", "delete a 1", "exit a 1", "delete a 1", "exit a 1", "delete a 1")
}

func TestTwoCreateTheSame(t *testing.T) {
	w := newWorld(t)
	w.container("a")
	var wait sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wait.Go(func() { _, errs[i] = w.m.Create(w.ctx, &tasks.CreateTaskRequest{ContainerID: "a"}) })
	}
	wait.Wait()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errdefs.IsAlreadyExists(err):
			t.Error(err)
		}
	}
	if won != 1 {
		t.Fatalf("%d have won", won)
	}
	if n := len(slices.DeleteFunc(w.shims.called(), func(c string) bool { return c != "start" })); n != 1 {
		t.Errorf("%d shims were started", n)
	}
	w.deleted("a", killed)
	w.nothingLeft()
}

func TestUnknown(t *testing.T) {
	w := newWorld(t)
	_, err := w.get("a")
	if want := `container "a" in namespace "tests": not found`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	w.container("a")
	_, err = w.get("a")
	if want := "task a not found"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
