package containers

import (
	"testing"
	"time"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/tasks"
)

// nextRun waits until the policy has started a container again, n times by now.
func (w *world) nextRun(id string, n int) {
	w.t.Helper()
	w.until(id, func(c *container.Container) bool { return c.State.Status == container.Running && c.RestartCount == n })
}

func TestOnFailure(t *testing.T) {
	w := newWorld(t)
	id := w.run(request("one", policy("on-failure", 2)))
	for n := range 2 {
		w.manager.end(id, 1)
		w.nextRun(id, n+1)
	}
	w.manager.end(id, 1)
	if c := w.until(id, is(container.Exited)); c.RestartCount != 2 {
		t.Errorf("%+v", c)
	}
	w.must(w.Start(t.Context(), id))
	if c := w.until(id, is(container.Running)); c.RestartCount != 0 {
		t.Errorf("a client's start does not count anew: %+v", c)
	}
	w.manager.end(id, 0)
	w.until(id, is(container.Exited))
}

func TestStopWhileRestarting(t *testing.T) {
	w := newWorld(t)
	id := w.run(request("one", policy("always", 0)))
	w.runs.change(id, func(r *run) { r.pause = time.Hour }) // so that it waits long
	w.manager.end(id, 1)
	c := w.until(id, is(container.Restarting))
	if c.State.ExitCode != 1 || c.RestartCount != 1 {
		t.Errorf("%+v", c)
	}
	refused(t, w.Start(t.Context(), id), errdefs.ErrNotModified, "container is already running")
	refused(t, w.Pause(t.Context(), id), errdefs.ErrConflict, "Container "+id+" is restarting, wait until the container is running")
	refused(t, w.Remove(t.Context(), id, Remove{}), errdefs.ErrConflict,
		`cannot remove container "`+id+`": container is restarting: stop the container before removing or force remove`)
	stopped, err := w.Wait(t.Context(), id, api.WaitConditionNotRunning)
	w.must(err)
	w.must(w.Stop(t.Context(), id, Stop{}))
	if r := w.result(stopped); r.ExitCode != 1 {
		t.Errorf("waited for %+v", r)
	}
	w.until(id, is(container.Exited))
	w.must(w.Remove(t.Context(), id, Remove{}))
}

func TestRemoveWhileRestarting(t *testing.T) {
	w := newWorld(t)
	id := w.run(request("one", policy("always", 0)))
	w.runs.change(id, func(r *run) { r.pause = time.Hour })
	w.manager.end(id, 1)
	w.until(id, is(container.Restarting))
	w.must(w.Remove(t.Context(), id, Remove{Force: true}))
}

func TestFailedRestart(t *testing.T) {
	w := newWorld(t)
	id := w.run(request("one", policy("always", 0)))
	w.manager.mu.Lock()
	w.manager.createErr = errBroken
	w.manager.mu.Unlock()
	w.manager.end(id, 0)
	c := w.until(id, func(c *container.Container) bool { return c.State.Error != "" && c.State.Status == container.Exited })
	if c.State.ExitCode != codeUnknown {
		t.Errorf("%+v", c.State)
	}
}

func TestClientRestart(t *testing.T) {
	w := newWorld(t)
	id := w.run(request("one", autoRemove))
	first := w.until(id, is(container.Running)).State.Pid
	w.trace.take()
	w.must(w.Restart(t.Context(), "one", Stop{}))
	if c := w.until(id, is(container.Running)); c.State.Pid == first {
		t.Error("it is the same process")
	}
	got := w.trace.take("event")
	if len(got) != 5 || got[len(got)-1] != "event restart" {
		t.Errorf("got %v", got)
	}
	w.manager.end(id, 0)
	w.gone(id)
	idle := w.create(request("two"))
	w.must(w.Restart(t.Context(), idle, Stop{}))
	w.until(idle, is(container.Running))
	refused(t, w.Restart(t.Context(), "none", Stop{}), errdefs.ErrNotFound, "No such container: none")
}

func TestOutOfMemory(t *testing.T) {
	w := newWorld(t)
	id := w.run(request("one"))
	w.trace.take()
	w.manager.events <- tasks.Event{OOM: id}
	w.manager.end(id, 137)
	if c := w.until(id, is(container.Exited)); !c.State.OOMKilled {
		t.Errorf("%+v", c.State)
	}
	unlock := w.parts.Store.Lock(id)
	unlock()
	w.traced([]string{"event oom", "event die exitCode=137"}, "event")
}

func TestExecExits(t *testing.T) {
	w := newWorld(t)
	id := w.run(request("one"))
	w.trace.take()
	w.manager.events <- tasks.Event{Exit: &tasks.Exit{Container: id, Process: "p"}}
	w.manager.end(id, 0)
	w.until(id, is(container.Exited))
	w.traced([]string{"exec.Exited p", "exec.ContainerEnded"}, "exec.Exited", "exec.ContainerEnded")
}

func TestOldExitsDoNotMatter(t *testing.T) {
	w := newWorld(t)
	id := w.run(request("one"))
	w.manager.events <- tasks.Event{Exit: &tasks.Exit{Container: id, Pid: 1, Code: 9}}
	w.manager.events <- tasks.Event{OOM: id} // It is told after that.
	if c := w.until(id, func(c *container.Container) bool { return c.State.OOMKilled }); c.State.Status != container.Running {
		t.Errorf("%+v", c.State)
	}
}
