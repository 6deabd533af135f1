package containers

import (
	"errors"
	"io/fs"
	"os"
	"testing"
	"time"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/tasks"
)

// TestRestore kills the engine, lets something happen, and looks what the next one makes of it.
func TestRestore(t *testing.T) {
	lost := func(w *world, id string) {
		w.manager.mu.Lock()
		defer w.manager.mu.Unlock()
		delete(w.manager.tasks, id)
	}
	edit := func(change func(*container.Container)) func(*world, string) {
		return func(w *world, id string) {
			_, err := w.parts.Store.Update(id, func(c *container.Container) error {
				change(c)
				return nil
			})
			w.must(err)
		}
	}
	for name, tc := range map[string]struct {
		req    Create
		idle   bool // it was created only
		before func(*world, string)
		status container.Status // "" for gone
		code   int
		want   []string // events, and what was opened again
	}{
		"lives":       {req: request("one"), status: container.Running, want: []string{"streams.Open", "health.Watch"}},
		"lives, --rm": {req: request("one", autoRemove), status: container.Running, want: []string{"streams.Open", "health.Watch"}},
		"ended":       {req: request("one"), before: func(w *world, id string) { w.manager.end(id, 4) }, status: container.Exited, code: 4, want: []string{"event die exitCode=4"}},
		"ended, --rm": {req: request("one", autoRemove), before: func(w *world, id string) { w.manager.end(id, 4) }, want: []string{"event die exitCode=4", "event destroy"}},
		"lost":        {req: request("one"), before: lost, status: container.Exited, code: codeLost, want: []string{"event die exitCode=255"}},
		"ended, on-failure": {
			req: request("one", policy("on-failure", 0)), before: func(w *world, id string) { w.manager.end(id, 4) }, status: container.Running,
			want: []string{"event die exitCode=4", "streams.Open", "health.Watch", "event start"},
		},
		"waited for its restart": {
			req: request("one", policy("always", 0)), status: container.Running, want: []string{"streams.Open", "health.Watch", "event start"},
			before: func(w *world, id string) {
				lost(w, id)
				edit(func(c *container.Container) { c.State.Status, c.State.Pid = container.Restarting, 0 })(w, id)
			},
		},
		"paused meanwhile": {
			req: request("one"), status: container.Paused, want: []string{"streams.Open", "health.Watch"},
			before: func(w *world, id string) { w.must(w.manager.Pause(t.Context(), id)) },
		},
		"killed before the record of the start": {
			req: request("one"), status: container.Running, want: []string{"event start", "streams.Open", "health.Watch"},
			before: edit(func(c *container.Container) { c.State, c.Started = container.State{Status: container.Created}, false }),
		},
		"killed before the record of the start, ended": {
			req: request("one"), status: container.Exited, code: 4, want: []string{"event die exitCode=4"},
			before: func(w *world, id string) {
				w.manager.end(id, 4)
				edit(func(c *container.Container) { c.State, c.Started = container.State{Status: container.Created}, false })(w, id)
			},
		},
		"killed before the program ran": {
			req: request("one"), idle: true, status: container.Created,
			before: func(w *world, id string) {
				_, err := w.manager.Create(t.Context(), tasks.Create{ID: id})
				w.must(err)
			},
		},
		"killed before the task was deleted": {
			req: request("one"), status: container.Exited,
			before: func(w *world, id string) {
				w.manager.end(id, 0)
				edit(func(c *container.Container) {
					c.State.Status, c.State.Pid, c.State.FinishedAt = container.Exited, 0, time.Now().Add(time.Hour)
				})(w, id)
			},
		},
		"killed while it was removed": {
			req: request("one"), idle: true, want: []string{"event destroy"},
			before: edit(func(c *container.Container) { c.State.RemovalInProgress = true }),
		},
		"killed while it was removed by force": {
			req: request("one"), want: []string{"streams.Open", "health.Watch", "event kill signal=9", "event die exitCode=137", "event destroy"},
			before: edit(func(c *container.Container) { c.State.RemovalInProgress = true }),
		},
		"ended with --rm, killed before it was removed": {
			req: request("one", autoRemove), want: []string{"event destroy"},
			before: func(w *world, id string) {
				lost(w, id)
				edit(func(c *container.Container) { c.State.Status, c.State.Pid = container.Exited, 0 })(w, id)
			},
		},
		"created with --rm": {req: request("one", autoRemove), idle: true, status: container.Created},
		"always, though stopped": {
			req: request("one", policy("always", 0)), status: container.Running, want: []string{"streams.Open", "health.Watch", "event start"},
			before: func(w *world, id string) {
				lost(w, id)
				edit(func(c *container.Container) { c.State.Status, c.State.Pid, c.StopRequested = container.Exited, 0, true })(w, id)
			},
		},
		"unless-stopped, and stopped": {
			req: request("one", policy("unless-stopped", 0)), status: container.Exited,
			before: func(w *world, id string) {
				lost(w, id)
				edit(func(c *container.Container) { c.State.Status, c.State.Pid, c.StopRequested = container.Exited, 0, true })(w, id)
			},
		},
		"always, but never started": {req: request("one", policy("always", 0)), idle: true, status: container.Created},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			id := w.create(tc.req)
			if !tc.idle {
				w.must(w.Start(t.Context(), id))
			}
			w.kill()
			if tc.before != nil {
				tc.before(w, id)
			}
			w.trace.take()
			// The next engine does not hear again what the last one heard.
			w.manager.events = make(chan tasks.Event, 1000)
			w.boot()
			if tc.status == "" {
				w.gone(id)
			} else if c := w.until(id, is(tc.status)); c.State.ExitCode != tc.code {
				t.Errorf("state %+v, want code %d", c.State, tc.code)
			}
			if tc.status != container.Running && tc.status != container.Paused && w.manager.has(id) {
				t.Error("the task is left")
			}
			unlock := w.parts.Store.Lock(id)
			unlock()
			w.traced(tc.want, "event", "streams.Open", "health.Watch")
		})
	}
}

func TestSweep(t *testing.T) {
	w := newWorld(t)
	w.parts.Settings = fixed(Settings{Owner: "me"})
	w.kill()
	// A create that never finished, and a task whose container is gone; another one is somebody else's.
	const orphan = "orphan"
	w.must(os.Mkdir(w.parts.Store.Dir(orphan), 0o700))
	for id, owner := range map[string]string{orphan: "me", "ours": "me", "theirs": "other"} {
		_, err := w.manager.Create(t.Context(), tasks.Create{ID: id, Labels: map[string]string{ownerLabel: owner}})
		w.must(err)
	}
	w.trace.take()
	w.boot()
	if w.manager.has(orphan) || w.manager.has("ours") || !w.manager.has("theirs") {
		t.Errorf("tasks %v", w.manager.tasks)
	}
	if _, err := os.Stat(w.parts.Store.Dir(orphan)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is left: %v", err)
	}
	w.traced([]string{"roots.Sweep"}, "roots.Sweep")
}

// TestGap lets the manager be away under the engine.
func TestGap(t *testing.T) {
	w := newWorld(t)
	lives, ended, lost := w.run(request("lives")), w.run(request("ended")), w.run(request("lost", policy("always", 0)))
	w.trace.take()
	w.manager.mu.Lock()
	w.manager.deaf = true
	w.manager.endLocked(ended, 6)
	delete(w.manager.tasks, lost)
	w.manager.mu.Unlock()
	w.manager.events <- tasks.Event{Gap: true}
	if c := w.until(ended, is(container.Exited)); c.State.ExitCode != 6 {
		t.Errorf("%+v", c.State)
	}
	w.nextRun(lost, 1)
	if c := w.until(lives, is(container.Running)); c.RestartCount != 0 {
		t.Errorf("%+v", c)
	}
}
