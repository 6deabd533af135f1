package task

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
)

func TestShimDies(t *testing.T) {
	for name, c := range map[string]struct {
		before func(w *world, s *fakeShim)
		code   uint32
	}{
		"running": {func(*world, *fakeShim) {}, killed},
		"after an exit that it recorded and nobody heard of": {func(w *world, s *fakeShim) {
			w.shims.silent = true
			s.exit("", 5, true)
		}, 5},
		"after an exit that it told": {func(_ *world, s *fakeShim) { s.exit("", 6, false) }, 6},
		"after an exit that State saw": {func(w *world, s *fakeShim) {
			w.shims.silent = true
			s.exit("", 7, false)
			w.stopped("a", 7)
		}, 7},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			s := w.run("a")
			c.before(w, s)
			s.die()
			exit, gone := (&exit{Status: c.code}).texts("a")
			w.told(exit, gone)
			w.stopped("a", c.code)
			w.entombed("a")
			list, err := w.m.List(w.ctx, &tasks.ListTasksRequest{})
			if err != nil || len(list.Tasks) != 1 || list.Tasks[0].Status != tasktypes.Status_STOPPED {
				t.Fatal(list, err)
			}
			w.restart()
			w.stopped("a", c.code)
			w.deleted("a", c.code)
			w.nothingLeft()
			w.told(exit, gone)
		})
	}
}

func TestManagerAndShimDie(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(s *fakeShim)
		code uint32
	}{
		"recorded": {func(s *fakeShim) { s.exit("", 5, true) }, 5},
		"unknown":  {func(*fakeShim) {}, killed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			s := w.run("a")
			w.kill()
			w.shims.silent = true
			c.end(s)
			s.die()
			w.start()
			exit, gone := (&exit{Status: c.code}).texts("a")
			w.told(exit, gone)
			w.stopped("a", c.code)
			w.restart()
			w.stopped("a", c.code)
			w.told(exit, gone)
			w.deleted("a", c.code)
			w.nothingLeft()
		})
	}
}

// The task that exits while no manager is there is what containerd 2.x forgets.
func TestExitInTheGap(t *testing.T) {
	w := newWorld(t)
	s := w.run("a")
	w.kill()
	w.shims.silent = true
	e := s.exit("", 5, false)
	w.start()
	w.stopped("a", 5)
	w.shims.silent = false
	s.tellExit("", e) // which the shim does until it is heard
	s.tellExit("", e)
	w.told("exit a 5")
	w.deleted("a", 5)
	w.told("exit a 5", "delete a 5")
	w.nothingLeft()
}

// A shim of containerd's has given up telling when there is a manager again, and nobody asks.
func TestExitThatNobodyTells(t *testing.T) {
	w := newWorld(t)
	s := w.run("a")
	w.exec("x")
	w.exec("lives")
	for _, id := range []string{"x", "lives", "deleted"} {
		if err := os.WriteFile(filepath.Join(s.bundle, id+".pid"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.kill()
	w.shims.silent = true
	ended := s.exit("x", 4, false)
	s.exit("", 3, false)
	w.start()
	w.told("exit x 4", "exit a 3")
	s.tellExit("x", ended)
	w.deleted("a", 3)
	w.told("exit x 4", "exit a 3", "delete a 3")
	w.nothingLeft()
}

func TestTombstones(t *testing.T) {
	dead := func(t *testing.T) *world {
		w := newWorld(t)
		w.run("a").die()
		w.told("exit a 137", "delete a 137")
		w.entombed("a")
		return w
	}
	t.Run("the container is removed", func(t *testing.T) {
		w := dead(t)
		w.containers.clear()
		w.m.Forget(namespace, "a")
		w.nothingLeft()
	})
	t.Run("the container is removed first", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		s := w.run("a")
		w.containers.clear()
		w.m.Forget(namespace, "a")
		if _, err := w.get("a"); err != nil {
			t.Fatal("it lives:", err)
		}
		s.die()
		w.told("exit a 137", "delete a 137")
		w.nothingLeft()
	})
	t.Run("the container is removed, and the manager dies", func(t *testing.T) {
		w := dead(t)
		w.containers.clear()
		w.restart()
		w.nothingLeft()
	})
	t.Run("a new one takes its place", func(t *testing.T) {
		w := dead(t)
		w.run("a").exit("", 3, true)
		w.deleted("a", 3)
		w.nothingLeft()
		w.told("exit a 137", "delete a 137", "exit a 3", "delete a 3")
	})
	t.Run("operations", func(t *testing.T) {
		w := dead(t)
		if err := w.m.Kill(w.ctx, &tasks.KillRequest{ContainerID: "a", Signal: 9}); !errdefs.IsNotFound(err) {
			t.Error("kill:", err)
		}
		if _, err := w.m.Start(w.ctx, &tasks.StartRequest{ContainerID: "a"}); !errdefs.IsFailedPrecondition(err) {
			t.Error("start:", err)
		}
		if err := w.m.Pause(w.ctx, &tasks.PauseTaskRequest{ContainerID: "a"}); !errdefs.IsFailedPrecondition(err) {
			t.Error("pause:", err)
		}
		if err := w.m.CloseIO(w.ctx, &tasks.CloseIORequest{ContainerID: "a", Stdin: true}); err != nil {
			t.Error("close stdin:", err)
		}
		if _, err := w.m.Get(w.ctx, &tasks.GetRequest{ContainerID: "a", ExecID: "x"}); !errdefs.IsNotFound(err) {
			t.Error("get of an exec:", err)
		}
		if r, err := w.m.ListPids(w.ctx, &tasks.ListPidsRequest{ContainerID: "a"}); err != nil || len(r.Processes) != 0 {
			t.Error("pids:", r, err)
		}
	})
	t.Run("a live task is not forgotten", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		s := w.run("a")
		w.m.Forget(namespace, "a")
		s.exit("", 0, true)
		w.deleted("a", 0)
	})
}

func TestManyWaitAndTheShimDies(t *testing.T) {
	w := newWorld(t)
	s := w.run("a")
	w.exec("x")
	codes := make([]uint32, 20)
	var wait sync.WaitGroup
	for i := range codes {
		r := &tasks.WaitRequest{ContainerID: "a"}
		if i%2 == 1 {
			r.ExecID = "x"
		}
		wait.Go(func() {
			r, err := w.m.Wait(w.ctx, r)
			if err != nil {
				t.Error(err)
			}
			codes[i] = r.GetExitStatus()
		})
	}
	seen := 0
	w.eventually("they all wait", func() bool {
		for _, c := range w.shims.called() {
			if c == "Wait" {
				seen++
			}
		}
		return seen == len(codes)
	})
	s.die()
	wait.Wait()
	for _, code := range codes {
		if code != killed {
			t.Fatal(codes)
		}
	}
}

func TestWaitingClientLeaves(t *testing.T) {
	w := newWorld(t)
	w.run("a")
	ctx, cancel := context.WithCancel(w.ctx)
	cancel()
	if _, err := w.m.Wait(ctx, &tasks.WaitRequest{ContainerID: "a"}); !errdefs.IsCanceled(err) {
		t.Fatal(err)
	}
}
