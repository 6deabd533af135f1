package takeover_test

import (
	"cmp"
	"context"
	"fmt"
	"testing"
	"time"

	eventtypes "github.com/containerd/containerd/api/events"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/runtime/restart"
	"github.com/containerd/typeurl/v2"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

// TestTakeover has our manager take over what a containerd was doing, and the newest containerd take it back.
func TestTakeover(t *testing.T) {
	for _, c := range []struct {
		name string
		from compat.Generation
		own  bool // over the shim of its series
		kill bool // not ended in peace
	}{
		{"2.4/own/kill", compat.Containerd24, true, true},
		{"2.4/own/term", compat.Containerd24, true, false},
		{"2.4/ours/kill", compat.Containerd24, false, true},
		{"2.4/ours/term", compat.Containerd24, false, false},
		{"2.2/own/kill", compat.Containerd22, true, true},
		{"2.2/ours/term", compat.Containerd22, false, false},
		{"1.7/own/kill", compat.Containerd17, true, true},
		{"1.6/own/term", compat.Containerd16, true, false},
		{"1.6/ours/kill", compat.Containerd16, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			harness.NeedRoot(t)
			w := newWorld(t, c.from, c.own)
			w.furnish()
			w.work()
			before := w.stores()
			w.replace(compat.Gantry, c.kill)
			w.same("our manager", before)
			w.finish()
			w.startFrom("stays")
			w.fresh("under-ours", w.named())
			w.fresh("under-ours-path", w.other)
			before = w.stores()
			w.replace(compat.Containerd24, c.kill)
			w.same("containerd", before)
			w.givenBack()
			w.clear()
		})
	}
}

// work makes a container in each state, and one that will end while there is no manager.
func (w *world) work() {
	w.t.Helper()
	w.run("stays", "sleep 100000", w.named())
	w.run("lives", "sleep 100000", w.named())
	w.exec("lives", "goes-on", "sleep 100000")
	w.mortal("lives", "ends", w.exec("lives", "ends", dies(77)), 77)
	w.mortal("dies", "", w.run("dies", dies(9), w.named()), 9)
	w.run("paused", "sleep 100000", w.named())
	w.must(w.task("paused").Pause(w.ctx))
	w.run("ended", "exit 4", w.named())
	w.await("ended", 4)
	w.create("created", "exit 5", w.named())
	w.run("grouped", "sleep 100000", w.named(), grouped)
	w.mortal("grouped-dies", "", w.run("grouped-dies", dies(11), w.named(), grouped), 11)
	if pids := w.ctr.ShimPIDs("grouped-dies"); len(pids) > 0 {
		w.t.Errorf("a container has a shim of its own, %v, and was to share one", pids)
	}
	w.run("orphan", "sleep 100000", w.named())
	w.shims = w.ctr.ShimPIDs("orphan")
	w.mortal("kept", "", w.run("kept", dies(12), w.named()), 12)
	w.keep("kept", true)
	w.states(map[string]containerd.ProcessStatus{
		"grouped": containerd.Running, "grouped-dies": containerd.Running, "orphan": containerd.Running, "kept": containerd.Running,
		"stays": containerd.Running, "lives": containerd.Running, "dies": containerd.Running,
		"paused": containerd.Paused, "ended": containerd.Stopped, "created": containerd.Created,
	})
}

// finish uses all that work has made.
func (w *world) finish() {
	w.t.Helper()
	w.ends()
	w.states(map[string]containerd.ProcessStatus{
		"stays": containerd.Running, "lives": containerd.Running, "dies": containerd.Stopped, "kept": containerd.Running,
		"grouped": containerd.Running, "grouped-dies": containerd.Stopped, "orphan": containerd.Stopped,
		"paused": containerd.Paused, "ended": containerd.Stopped, "created": containerd.Created,
	})
	w.usable("stays")
	w.usable("lives")
	w.must(w.process("lives", "goes-on").Kill(w.ctx, 9))
	w.gone("lives", "goes-on", 137)
	w.gone("lives", "ends", 77)
	w.kill("lives")
	w.must(w.task("paused").Resume(w.ctx))
	w.usable("paused")
	w.kill("paused")
	w.await("ended", 4)
	w.remove("ended", 4)
	w.must(w.task("created").Start(w.ctx))
	w.await("created", 5)
	w.remove("created", 5)
	w.remove("dies", 9)
	w.usable("grouped")
	w.remove("grouped-dies", 11)
	w.usable("grouped")
	w.kill("grouped")
	w.keep("kept", false)
	w.usable("kept")
	w.kill("kept")
	w.await("orphan", 137)
	w.remove("orphan", 137)
}

// keep has the manager's restart monitor keep a container running, or no longer.
func (w *world) keep(id string, so bool) {
	w.t.Helper()
	w.must(w.container(id).Update(w.ctx, func(_ context.Context, _ *containerd.Client, c *containers.Container) error {
		delete(c.Labels, restart.StatusLabel)
		if so {
			c.Labels[restart.StatusLabel] = string(containerd.Running)
			w.mortals[len(w.mortals)-1].again = true
		}
		return nil
	}))
}

// givenBack uses what our manager has started, under containerd.
func (w *world) givenBack() {
	w.t.Helper()
	want := map[string]containerd.ProcessStatus{
		"stays": containerd.Running, "under-ours": containerd.Running, "under-ours-path": containerd.Running,
	}
	w.states(want)
	for id := range want {
		w.usable(id)
	}
	w.fresh("back", w.other)
	w.usable("back")
	for id := range want {
		w.kill(id)
	}
	w.kill("back")
}

// fresh runs a container of an image that was there, which sees the image's files.
func (w *world) fresh(id, runtime string) {
	w.t.Helper()
	w.run(id, "grep -q ^nobody /etc/passwd && sleep 100000", runtime)
	w.usable(id)
}

// startFrom stops a task and starts it again on the files that it had.
func (w *world) startFrom(id string) {
	w.t.Helper()
	w.do(id, "echo kept > /kept", 0)
	w.must(w.task(id).Kill(w.ctx, 9))
	w.await(id, 137)
	_, err := w.task(id).Delete(w.ctx)
	w.must(err)
	w.start(w.container(id))
	w.do(id, "grep -q kept /kept", 0)
}

// ends wants what ended in the gap to have done so at its time.
func (w *world) ends() {
	w.t.Helper()
	for _, m := range w.mortals {
		if m.again {
			if !harness.Until(20*time.Second, func() bool {
				task, err := w.container(m.id).Task(w.ctx, nil)
				if err != nil || task.Pid() == m.pid {
					return false
				}
				s, err := task.Status(w.ctx)
				return err == nil && s.Status == containerd.Running
			}) {
				w.t.Errorf("%s is not started again", m.id)
			}
			continue
		}
		p := w.process(m.id, m.exec)
		if s, err := p.Status(w.ctx); err != nil || s.Status != containerd.Stopped || s.ExitStatus != m.code {
			w.t.Errorf("%s %s: %+v, %v; want stopped with %d", m.id, m.exec, s, err, m.code)
		}
		exited, err := p.Wait(w.ctx)
		w.must(err)
		if at := (<-exited).ExitTime(); at.Sub(m.died).Abs() > time.Second {
			w.t.Errorf("%s %s has exited at %v; want %v", m.id, m.exec, at, m.died)
		}
	}
	w.told()
	w.mortals = nil
}

// told subscribes, as dockerd does that was cut off, and wants to hear of all that has ended in the gap.
func (w *world) told() {
	w.t.Helper()
	want := map[string]uint32{}
	for _, m := range w.mortals {
		want[m.id+" "+cmp.Or(m.exec, m.id)] = m.code
	}
	ctx, cancel := context.WithTimeout(w.ctx, harness.Limit(30*time.Second))
	defer cancel()
	events, failed := w.Subscribe(ctx, fmt.Sprintf("namespace==%q,topic==%q", w.ctr.Namespace, "/tasks/exit"))
	for len(want) > 0 {
		select {
		case e := <-events:
			var exit eventtypes.TaskExit
			w.must(typeurl.UnmarshalTo(e.Event, &exit))
			process := exit.ContainerID + " " + exit.ID
			if code, ok := want[process]; ok && exit.ExitStatus != code {
				w.t.Errorf("%s is told to have ended with %d; want %d", process, exit.ExitStatus, code)
			}
			delete(want, process)
		case err := <-failed:
			w.t.Fatalf("not told: %v, %v", want, err)
		}
	}
}
