package task

import (
	"testing"

	"github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
)

func (w *world) getExec() (*tasktypes.Process, error) {
	r, err := w.m.Get(w.ctx, &tasks.GetRequest{ContainerID: "a", ExecID: "x"})
	return r.GetProcess(), err
}

func (w *world) waitExec() (*tasks.WaitResponse, error) {
	return w.m.Wait(w.ctx, &tasks.WaitRequest{ContainerID: "a", ExecID: "x"})
}

func (w *world) deleteExec() (*tasks.DeleteResponse, error) {
	return w.m.DeleteProcess(w.ctx, &tasks.DeleteProcessRequest{ContainerID: "a", ExecID: "x"})
}

func TestExec(t *testing.T) {
	w := newWorld(t)
	s := w.run("a")
	for range 2 { // an id is free again
		w.exec("x")
		if p, err := w.getExec(); err != nil || p.ID != "x" || p.Status != tasktypes.Status_RUNNING || p.Pid == 0 {
			t.Fatal(p, err)
		}
		s.exit("x", 4, false)
		if r, err := w.waitExec(); err != nil || r.ExitStatus != 4 {
			t.Fatal(r, err)
		}
		if r, err := w.deleteExec(); err != nil || r.ExitStatus != 4 || r.ID != "x" || r.Pid == 0 {
			t.Fatal(r, err)
		}
		if _, err := w.waitExec(); !errdefs.IsNotFound(err) {
			t.Fatal(err)
		}
	}
	w.told("exit x 4", "exit x 4")
	for id, is := range map[string]func(error) bool{"": errdefs.IsInvalidArgument, "../x": errdefs.IsInvalidArgument} {
		if err := w.m.Exec(w.ctx, &tasks.ExecProcessRequest{ContainerID: "a", ExecID: id}); !is(err) {
			t.Errorf("exec id %q: %v", id, err)
		}
	}
}

// The shim dies: an exec that ended has its code, and is gone when it was deleted.
func TestExecOfADeadShim(t *testing.T) {
	w := newWorld(t)
	s := w.run("a")
	w.exec("x")
	s.exit("x", 4, false)
	s.die()
	w.entombed("a")
	if r, err := w.waitExec(); err != nil || r.ExitStatus != 4 {
		t.Fatal(r, err)
	}
	if r, err := w.deleteExec(); err != nil || r.ExitStatus != 4 {
		t.Fatal(r, err)
	}
	if _, err := w.deleteExec(); !errdefs.IsNotFound(err) {
		t.Fatal(err)
	}
	if _, err := w.waitExec(); !errdefs.IsNotFound(err) {
		t.Fatal(err)
	}
}
