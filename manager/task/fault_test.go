package task

import (
	"slices"
	"testing"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/errdefs"
)

// Every call of a shim fails, breaks the connection by the shim's death, or hangs: the client gets its answer within the
// limits, and afterwards the task can be deleted with a code that is true, the id used again, and nothing is left.
func TestFaults(t *testing.T) {
	operations := map[string]struct {
		prepare func(w *world)
		do      func(w *world) error
	}{
		"Create":      {nil, func(w *world) error { return w.tryCreate("a") }},
		"Create done": {nil, func(w *world) error { return w.tryCreate("a") }},
		"Start": {func(w *world) { w.create("a") }, func(w *world) error {
			_, err := w.m.Start(w.ctx, &tasks.StartRequest{ContainerID: "a"})
			return err
		}},
		"State": {func(w *world) { w.run("a") }, func(w *world) error { _, err := w.get("a"); return err }},
		"Kill": {func(w *world) { w.run("a") }, func(w *world) error {
			return w.m.Kill(w.ctx, &tasks.KillRequest{ContainerID: "a", Signal: 9})
		}},
		"Exec": {func(w *world) { w.run("a") }, func(w *world) error {
			return w.m.Exec(w.ctx, &tasks.ExecProcessRequest{ContainerID: "a", ExecID: "x"})
		}},
		"Pause": {func(w *world) { w.run("a") }, func(w *world) error {
			return w.m.Pause(w.ctx, &tasks.PauseTaskRequest{ContainerID: "a"})
		}},
		"Resume": {func(w *world) { w.run("a") }, func(w *world) error {
			return w.m.Resume(w.ctx, &tasks.ResumeTaskRequest{ContainerID: "a"})
		}},
		"ResizePty": {func(w *world) { w.run("a") }, func(w *world) error {
			return w.m.ResizePty(w.ctx, &tasks.ResizePtyRequest{ContainerID: "a"})
		}},
		"CloseIO": {func(w *world) { w.run("a") }, func(w *world) error {
			return w.m.CloseIO(w.ctx, &tasks.CloseIORequest{ContainerID: "a", Stdin: true})
		}},
		"Update": {func(w *world) { w.run("a") }, func(w *world) error {
			return w.m.Update(w.ctx, &tasks.UpdateTaskRequest{ContainerID: "a"})
		}},
		"Pids": {func(w *world) { w.run("a") }, func(w *world) error {
			_, err := w.m.ListPids(w.ctx, &tasks.ListPidsRequest{ContainerID: "a"})
			return err
		}},
		"Stats": {func(w *world) { w.run("a") }, func(w *world) error {
			r, err := w.m.Metrics(w.ctx, &tasks.MetricsRequest{})
			if err == nil && len(r.Metrics) == 0 {
				err = errBroken // those that fail are left out
			}
			return err
		}},
		"Delete":      {func(w *world) { w.run("a").exit("", 7, true) }, func(w *world) error { _, err := w.delete("a"); return err }},
		"Delete done": {func(w *world) { w.run("a").exit("", 7, true) }, func(w *world) error { _, err := w.delete("a"); return err }},
	}
	for method, operation := range operations {
		for _, kind := range []string{"fails", "crashes", "hangs"} {
			t.Run(method+" "+kind, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				if operation.prepare != nil {
					operation.prepare(w)
				}
				w.shims.on(method, map[string]fault{"fails": fails, "crashes": crashes, "hangs": hangs(w.shims)}[kind])
				err := operation.do(w)
				w.checkFault(method, kind, err)
				w.endAll()
			})
		}
	}
}

func (w *world) tryCreate(id string) error {
	w.container(id)
	_, err := w.m.Create(w.ctx, &tasks.CreateTaskRequest{ContainerID: id})
	return err
}

// checkFault wants the answer that belongs to the fault.
func (w *world) checkFault(method, kind string, err error) {
	w.t.Helper()
	dies := kind == "crashes"
	switch {
	case dies && (method == "CloseIO" || method == "Pids" || method == "State"):
		if err != nil {
			w.t.Fatalf("of a task that has ended: %v", err)
		}
	case dies && (method == "Delete" || method == "Delete done"):
		if err != nil {
			w.t.Fatalf("delete of a task whose shim dies: %v", err)
		}
	case err == nil:
		w.t.Fatal("it succeeded")
	case kind == "hangs" && method != "Stats" && !errdefs.IsDeadlineExceeded(err):
		w.t.Fatalf("got %v, want deadline exceeded", err)
	}
}

// endAll brings the task to its end, whatever has happened to it, and makes another of its id.
func (w *world) endAll() {
	w.t.Helper()
	if _, err := w.get("a"); err == nil || !errdefs.IsNotFound(err) {
		if err := w.m.Kill(w.ctx, &tasks.KillRequest{ContainerID: "a", Signal: 9}); err != nil && !errdefs.IsNotFound(err) {
			w.t.Fatal("kill:", err)
		}
		r, err := w.delete("a")
		if err != nil {
			w.t.Fatal("delete:", err)
		}
		if r.ExitStatus != killed && r.ExitStatus != 7 || r.Pid == 0 {
			w.t.Fatal("delete:", r)
		}
	}
	w.run("a").exit("", 3, true)
	w.deleted("a", 3)
	w.nothingLeft()
	w.eventually("the last delete", func() bool { return slices.Contains(w.log.told(), "delete a 3") })
	w.inOrder()
}

// inOrder wants each exit once, and each delete once, after its exit.
func (w *world) inOrder() {
	w.t.Helper()
	told := w.log.told()
	for i, e := range told {
		if i%2 == 0 && e[:4] != "exit" || i%2 == 1 && e[:6] != "delete" {
			w.t.Fatalf("exits and deletes: %v", told)
		}
	}
}

// The shim hangs in Delete, then dies: the code is the true one.
func TestHungDeleteThenDeath(t *testing.T) {
	w := newWorld(t)
	s := w.run("a")
	s.exit("", 7, true)
	w.shims.on("Delete", hangs(w.shims), hangs(w.shims))
	for range 2 {
		if _, err := w.delete("a"); !errdefs.IsDeadlineExceeded(err) {
			t.Fatal(err)
		}
		w.stopped("a", 7)
	}
	s.die()
	w.deleted("a", 7)
	w.nothingLeft()
	w.told("exit a 7", "delete a 7")
}

// Shims that forget events: what they told in the answer is told by the manager.
func TestForgottenEvents(t *testing.T) {
	w := newWorld(t)
	w.shims.silent = true
	w.run("a").exit("", 9, false)
	w.deleted("a", 9)
	w.told("exit a 9", "delete a 9")
	w.nothingLeft()
}

// The log is full for a moment.
func TestLogRefuses(t *testing.T) {
	w := newWorld(t)
	s := w.run("a")
	w.shims.silent = true
	e := s.exit("", 9, false)
	w.shims.silent = false
	w.log.fail = 1
	if err := w.m.Forward(w.ctx, s.exitEnvelope(e)); !errdefs.IsUnavailable(err) {
		t.Fatal(err)
	}
	w.stopped("a", 9) // it is known nevertheless
	for range 3 {
		if err := w.m.Forward(w.ctx, s.exitEnvelope(e)); err != nil {
			t.Fatal(err)
		}
	}
	w.told("exit a 9")
}

// Shutdown fails or hangs: the shim ends nevertheless.
func TestShutdownFaults(t *testing.T) {
	for name, f := range map[string]func(w *world) fault{
		"fails":   func(*world) fault { return fails },
		"crashes": func(*world) fault { return crashes },
		"hangs":   func(w *world) fault { return hangs(w.shims) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.limits[deleteLimit] = time.Minute // the launcher has limits of its own
			w.restart()
			w.run("a").exit("", 2, true)
			w.shims.on("Shutdown", f(w), f(w))
			w.deleted("a", 2)
			w.nothingLeft()
			w.told("exit a 2", "delete a 2")
		})
	}
}

// The log refuses when the shim dies, or as the manager ends: the end is told later, or by the next.
func TestEndIsToldLater(t *testing.T) {
	w := newWorld(t)
	a, b := w.run("a"), w.run("b")
	w.log.refuse(1)
	a.die()
	w.told("exit a 137", "delete a 137")
	w.log.refuse(1000)
	b.die()
	w.entombed("b")
	w.kill()
	w.log.refuse(0)
	w.start()
	w.told("exit a 137", "delete a 137", "exit b 137", "delete b 137")
	w.deleted("a", killed)
	w.deleted("b", killed)
	w.nothingLeft()
}

// The delete action fails: the end is told, and the rest removed later, or by the client.
func TestDeleteActionFails(t *testing.T) {
	for name, f := range map[string]func(w *world) fault{
		"fails":         func(*world) fault { return fails },
		"hangs":         func(w *world) fault { return hangs(w.shims) },
		"has no binary": func(*world) fault { return func(*fakeShim) error { return errdefs.ErrNotFound } },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			s := w.run("a")
			w.shims.on("delete", f(w))
			s.die()
			w.told("exit a 137", "delete a 137")
			w.deleted("a", killed)
			w.nothingLeft()
		})
	}
}
