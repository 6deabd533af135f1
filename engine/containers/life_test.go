package containers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	api "github.com/moby/moby/api/types/container"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
)

func (w *world) traced(want []string, kinds ...string) {
	w.t.Helper()
	if !w.trace.becomes(want, kinds...) {
		w.t.Error(cmp.Diff(want, w.trace.take(kinds...)))
	}
}

// refused checks an error's class and text.
func refused(t *testing.T, err, class error, text string) {
	t.Helper()
	if err == nil || err.Error() != text {
		t.Errorf("got %v, want %q", err, text)
	}
	if got := fault.Class(err); !errors.Is(got, class) {
		t.Errorf("%v is of class %v, want %v", err, got, class)
	}
}

func TestRun(t *testing.T) {
	w := newWorld(t)
	id := w.create(request("one"))
	w.traced([]string{"mounts.Resolve", "roots.Create", "mounts.CopyUp", "event create"}, "mounts.Resolve", "roots.Create", "mounts.CopyUp", "event")
	c := w.until(id, is(container.Created))
	if c.Path != "sh" || c.Config.Hostname != id[:12] || !cmp.Equal(c.Config.Env, []string{"A=image", "B=image"}) {
		t.Errorf("created %+v %+v", c, c.Config)
	}
	next, err := w.Wait(t.Context(), "one", api.WaitConditionNextExit)
	w.must(err)
	w.must(w.Start(t.Context(), "one"))
	c = w.until(id, is(container.Running))
	if c.State.Pid == 0 || c.State.StartedAt.IsZero() || !c.Started {
		t.Errorf("started %+v", c.State)
	}
	if name := w.manager.images[id]; name != "docker.io/library/busybox:latest" {
		t.Errorf("the manager is told the image %q", name)
	}
	refused(t, w.Start(t.Context(), "one"), errdefs.ErrNotModified, "container is already running")
	w.manager.end(id, 3)
	if r := w.result(next); r != (Result{ExitCode: 3}) {
		t.Errorf("waited for %+v", r)
	}
	c = w.until(id, is(container.Exited))
	if c.State.ExitCode != 3 || c.State.Pid != 0 || c.State.FinishedAt.Before(c.State.StartedAt) {
		t.Errorf("ended %+v", c.State)
	}
	if w.manager.has(id) {
		t.Error("the task is left")
	}
	unlock := w.parts.Store.Lock(id) // The end's work is done.
	unlock()
	w.traced([]string{
		"networks.Connect", "health.Watch", "event start", "health.Unwatch", "streams.Drained", "streams.Close",
		"exec.ContainerEnded", "networks.Release", "mounts.Finish", "event die exitCode=3",
	}, "networks.Connect", "health.Watch", "event", "health.Unwatch", "streams.Drained", "streams.Close", "exec.ContainerEnded", "networks.Release", "mounts.Finish")
	w.must(w.Remove(t.Context(), "one", Remove{}))
	w.traced([]string{"event destroy"}, "event")
	if _, err := os.Stat(w.parts.Store.Dir(id)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is there: %v", err)
	}
	_, err = w.Wait(t.Context(), id, api.WaitConditionNotRunning)
	refused(t, err, errdefs.ErrNotFound, "No such container: "+id)
}

func TestAutoRemove(t *testing.T) {
	w := newWorld(t)
	id := w.create(request("one", autoRemove))
	removed, err := w.Wait(t.Context(), id, api.WaitConditionRemoved)
	w.must(err)
	w.must(w.Start(t.Context(), id))
	w.manager.end(id, 5)
	if r := w.result(removed); r != (Result{ExitCode: 5}) {
		t.Errorf("waited for %+v", r)
	}
	w.create(request("one")) // The name is free.
	if got := w.trace.take("mounts.Release(true)", "roots.Remove"); len(got) != 2 {
		t.Errorf("removed %v", got)
	}
}

func TestCreateRefuses(t *testing.T) {
	w := newWorld(t)
	id := w.create(request("taken"))
	noCommand := request("x")
	noCommand.Config = &api.Config{}
	noImage := request("x")
	noImage.Config = &api.Config{Image: "nothing"}
	for name, tc := range map[string]struct {
		req   Create
		class error
		text  string
	}{
		"no config":  {Create{}, errdefs.ErrInvalidArgument, "config cannot be empty in order to create a container"},
		"no image":   {noImage, errdefs.ErrNotFound, "No such image: nothing:latest"},
		"no command": {noCommand, errdefs.ErrInvalidArgument, "no command specified"},
		"bad name":   {request("a/b"), errdefs.ErrInvalidArgument, "Invalid container name (a/b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"},
		"taken": {
			request("/taken"), errdefs.ErrAlreadyExists, `Conflict. The container name "/taken" is already in use by container "` + id +
				`". You have to remove (or rename) that container to be able to reuse that name.`,
		},
		"policy with --rm": {request("x", autoRemove, policy("always", 0)), errdefs.ErrInvalidArgument, "can't create 'AutoRemove' container with restart policy"},
		"link to nothing": {
			request("xx", func(h *api.HostConfig) { h.NetworkMode, h.Links = "bridge", []string{"none:a"} }),
			errdefs.ErrInvalidArgument, "could not get container for none: No such container: none",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.Create(t.Context(), tc.req)
			refused(t, err, tc.class, tc.text)
		})
	}
	if l := w.parts.Store.List(); len(l) != 1 {
		t.Errorf("%d containers", len(l))
	}
}

func TestFailedCreateLeavesNothing(t *testing.T) {
	for _, call := range []string{"mounts.Resolve", "roots.Create", "mounts.CopyUp"} {
		t.Run(call, func(t *testing.T) {
			w := newWorld(t)
			w.fail.set(call, errBroken)
			if _, err := w.Create(t.Context(), request("one")); !errors.Is(err, errBroken) {
				t.Fatal(err)
			}
			want := []string{"mounts.Release(true)"}
			if call != "mounts.Resolve" {
				want = append([]string{"roots.Remove"}, want...)
			}
			w.traced(want, "mounts.Release(true)", "roots.Remove", "event")
			entries, err := os.ReadDir(w.dir)
			if err != nil || len(entries) != 0 {
				t.Errorf("left %v, %v", entries, err)
			}
			w.fail.set(call, nil)
			w.create(request("one"))
		})
	}
}

// TestCreateUnpacks what is there of an image, but not yet as snapshots.
func TestCreateUnpacks(t *testing.T) {
	w := newWorld(t)
	w.fail.set("roots.Create", errdefs.ErrNotFound)
	w.create(request("one"))
	w.traced([]string{"roots.Create", "images.Unpack", "roots.Create"}, "roots.Create", "images.Unpack")
	w.fail.set("roots.Create", errdefs.ErrNotFound)
	w.fail.set("images.Unpack", errBroken)
	if _, err := w.Create(t.Context(), request("two")); !errors.Is(err, errBroken) {
		t.Error(err)
	}
}

func TestFailedStart(t *testing.T) {
	const prefix = "failed to create task for container: "
	for name, tc := range map[string]struct {
		create, start error
		call          string
		class         error
		text          string
		code          int
	}{
		"not found": {
			create: errors.New(`exec: "x": executable file not found in $PATH: unknown`), class: errdefs.ErrInvalidArgument,
			text: prefix + `exec: "x": executable file not found in $PATH: unknown`, code: 127,
		},
		"not allowed": {
			create: errors.New("exec /x: permission denied"), class: errdefs.ErrInvalidArgument,
			text: prefix + "exec /x: permission denied", code: 126,
		},
		"a folder": {
			create: errors.New("exec /: is a directory"), class: errdefs.ErrInvalidArgument,
			text: prefix + "exec /: is a directory: permission denied", code: 126,
		},
		"a file for a folder": {
			create: errors.New("mount: not a directory"), class: errdefs.ErrInvalidArgument, code: 127,
			text: prefix + "mount: not a directory: Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type",
		},
		"unknown":          {create: errBroken, class: errdefs.ErrUnknown, text: prefix + "broken", code: 128},
		"by start":         {start: errors.New("no such file or directory"), class: errdefs.ErrInvalidArgument, text: "no such file or directory", code: 127},
		"mounts.Prepare":   {call: "mounts.Prepare", text: "broken", code: 128},
		"networks.Prepare": {call: "networks.Prepare", text: "broken", code: 128},
		"networks.Connect": {call: "networks.Connect", text: "broken", code: 128},
		"streams.Open":     {call: "streams.Open", text: prefix + "broken", code: 128},
		"spec.Build":       {call: "spec.Build", text: "broken", code: 128},
		"roots.Open":       {call: "roots.Open", text: "broken", code: 128},
	} {
		for _, rm := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " rm=", rm), func(t *testing.T) {
				w := newWorld(t)
				id := w.create(request("one", func(h *api.HostConfig) { h.AutoRemove = rm }))
				w.manager.createErr, w.manager.startErr = tc.create, tc.start
				w.fail.set(tc.call, errBroken)
				w.trace.take()
				refused(t, w.Start(t.Context(), "one"), tc.class, tc.text)
				w.takenBack(id)
				c, err := w.parts.Store.Get(id)
				if rm {
					refused(t, err, errdefs.ErrNotFound, "No such container: "+id)
					return
				}
				w.must(err)
				if c.State.Status != container.Created || c.State.ExitCode != tc.code || c.State.Error != tc.text {
					t.Errorf("state %+v", c.State)
				}
				w.manager.createErr, w.manager.startErr = nil, nil
				w.fail.set(tc.call, nil)
				w.startsAnyway(id)
			})
		}
	}
}

// takenBack checks that nothing is left of a start.
func (w *world) takenBack(id string) {
	w.t.Helper()
	calls := w.trace.take()
	for _, call := range []string{"networks.Release", "mounts.Finish", "streams.Close"} {
		if !slices.Contains(calls, call) {
			w.t.Errorf("no %s among %v", call, calls)
		}
	}
	if w.manager.has(id) {
		w.t.Error("the task is left")
	}
}

// startsAnyway starts what could not be started before.
func (w *world) startsAnyway(id string) {
	w.t.Helper()
	w.must(w.Start(w.t.Context(), id))
	if c := w.until(id, is(container.Running)); c.State.Error != "" || c.State.ExitCode != 0 {
		w.t.Errorf("state %+v", c.State)
	}
}

func TestStop(t *testing.T) {
	zero, wrong := 0, "SIGWRONG"
	for name, tc := range map[string]struct {
		stubborn bool
		paused   bool
		how      Stop
		want     []string
		code     int
	}{
		"by its signal":  {want: []string{"event kill signal=15", "event die exitCode=143", "event stop"}, code: 143},
		"by another one": {how: Stop{Signal: "KILL"}, want: []string{"event kill signal=9", "event die exitCode=137", "event stop"}, code: 137},
		"with force": {
			stubborn: true, how: Stop{Timeout: &zero}, code: 137,
			want: []string{"event kill signal=15", "event kill signal=9", "event die exitCode=137", "event stop"},
		},
		"paused": {
			paused: true, code: 143,
			want: []string{"event kill signal=15", "event unpause", "event die exitCode=143", "event stop"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.manager.stubborn = tc.stubborn
			id := w.run(request("one", policy("always", 0)))
			if tc.paused {
				w.must(w.Pause(t.Context(), id))
			}
			w.trace.take()
			w.must(w.Stop(t.Context(), "one", tc.how))
			c := w.until(id, is(container.Exited))
			if c.State.ExitCode != tc.code || !c.StopRequested {
				t.Errorf("%+v", c)
			}
			w.traced(tc.want, "event")
			refused(t, w.Stop(t.Context(), "one", Stop{}), errdefs.ErrNotModified, "container is already stopped")
		})
	}
	w := newWorld(t)
	w.run(request("one"))
	refused(t, w.Stop(t.Context(), "one", Stop{Signal: wrong}), errdefs.ErrInternal, "cannot stop container: one: invalid signal: SIGWRONG")
}

func TestKill(t *testing.T) {
	w := newWorld(t)
	id := w.create(request("one"))
	refused(t, w.Kill(t.Context(), "one", ""), errdefs.ErrConflict, "cannot kill container: one: container "+id+" is not running")
	refused(t, w.Kill(t.Context(), "one", "SIGX"), errdefs.ErrInvalidArgument, "cannot kill container: one: invalid signal: SIGX")
	refused(t, w.Kill(t.Context(), "two", ""), errdefs.ErrNotFound, "cannot kill container: two: No such container: two")
	w.must(w.Start(t.Context(), "one"))
	w.must(w.Kill(t.Context(), "one", "HUP"))
	if c := w.until(id, is(container.Running)); !c.StopRequested {
		t.Error("the signal is not remembered")
	}
	w.must(w.Kill(t.Context(), "one", "")) // It waits for the end.
	if c, err := w.parts.Store.Get(id); err != nil || c.State.Status != container.Exited {
		t.Errorf("%+v, %v", c, err)
	}
	// The manager's word of the end is lost, and its task, too.
	w.must(w.Start(t.Context(), "one"))
	w.manager.deaf = true
	w.manager.end(id, 1)
	_, err := w.manager.Delete(t.Context(), id)
	w.must(err)
	w.must(w.Kill(t.Context(), "one", ""))
	if c := w.until(id, is(container.Exited)); c.State.ExitCode != codeLost {
		t.Errorf("%+v", c.State)
	}
}

func TestPause(t *testing.T) {
	w := newWorld(t)
	id := w.create(request("one"))
	refused(t, w.Pause(t.Context(), "one"), errdefs.ErrConflict, "container "+id+" is not running")
	refused(t, w.Unpause(t.Context(), "one"), errdefs.ErrInternal, "Container "+id+" is not paused")
	w.must(w.Start(t.Context(), "one"))
	w.must(w.Pause(t.Context(), "one"))
	refused(t, w.Pause(t.Context(), "one"), errdefs.ErrConflict, "container "+id+" is already paused")
	refused(t, w.Start(t.Context(), "one"), errdefs.ErrConflict, "cannot start a paused container, try unpause instead")
	refused(t, w.Remove(t.Context(), "one", Remove{}), errdefs.ErrConflict,
		`cannot remove container "one": container is paused and must be unpaused first`)
	w.must(w.Unpause(t.Context(), "one"))
	w.until(id, is(container.Running))
	w.traced([]string{"event create", "event start", "event pause", "event unpause"}, "event")
}

func TestRename(t *testing.T) {
	w := newWorld(t)
	w.create(request("one"))
	two := w.create(request("two"))
	refused(t, w.Rename(t.Context(), "one", ""), errdefs.ErrInvalidArgument, "Neither old nor new names may be empty")
	refused(t, w.Rename(t.Context(), "one", "/one"), errdefs.ErrInvalidArgument, "Renaming a container with the same name as its current name")
	refused(t, w.Rename(t.Context(), "one", "two"), errdefs.ErrAlreadyExists,
		`Error when allocating new name: Conflict. The container name "/two" is already in use by container "`+two+
			`". You have to remove (or rename) that container to be able to reuse that name.`)
	refused(t, w.Rename(t.Context(), "one", "a b"), errdefs.ErrInvalidArgument,
		"Error when allocating new name: Invalid container name (/a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
	w.trace.take()
	w.must(w.Rename(t.Context(), "one", "three"))
	w.traced([]string{"event rename oldName=/one"}, "event")
	w.must(w.Rename(t.Context(), "two", "one"))
}

func TestRemove(t *testing.T) {
	w := newWorld(t)
	id := w.run(request("one"))
	refused(t, w.Remove(t.Context(), "one", Remove{}), errdefs.ErrConflict,
		`cannot remove container "one": container is running: stop the container before removing or force remove`)
	w.trace.take()
	w.must(w.Remove(t.Context(), "one", Remove{Force: true, Volumes: true}))
	w.traced([]string{"event kill signal=9", "event die exitCode=137", "mounts.Release(true)", "event destroy"}, "event", "mounts.Release(true)")
	if w.manager.has(id) {
		t.Error("the task is left")
	}
	id = w.create(request("two"))
	w.fail.set("roots.Remove", errBroken)
	removed, err := w.Wait(t.Context(), id, api.WaitConditionRemoved)
	w.must(err)
	refused(t, w.Remove(t.Context(), "two", Remove{}), errdefs.ErrInternal, `cannot remove container "two": broken`)
	if r := w.result(removed); r.Error != "broken" {
		t.Errorf("waited for %+v", r)
	}
	if c := w.until(id, is(container.Dead)); c.State.RemovalInProgress || c.State.Error != "broken" {
		t.Errorf("%+v", c.State)
	}
	refused(t, w.Start(t.Context(), "two"), errdefs.ErrConflict, "container is marked for removal and cannot be started")
	w.fail.set("roots.Remove", nil)
	w.must(w.Remove(t.Context(), "two", Remove{}))
	refused(t, w.Remove(t.Context(), "two", Remove{}), errdefs.ErrNotFound, "No such container: two")
}

func TestPrune(t *testing.T) {
	w := newWorld(t)
	labelled := request("labelled")
	labelled.Config.Labels = map[string]string{"keep": "yes"}
	w.run(request("running"))
	w.create(labelled)
	id := w.create(request("idle"))
	report, err := w.Prune(t.Context(), Prune{Labels: func(l map[string]string) bool { return l["keep"] == "" }})
	w.must(err)
	if d := cmp.Diff(&api.PruneReport{ContainersDeleted: []string{id}, SpaceReclaimed: 5}, report); d != "" {
		t.Error(d)
	}
	report, err = w.Prune(t.Context(), Prune{Until: w.until(w.create(request("late")), is(container.Created)).Created.Add(-1)})
	w.must(err)
	if len(report.ContainersDeleted) != 1 {
		t.Errorf("%+v", report)
	}
}

func TestUpdate(t *testing.T) {
	w := newWorld(t)
	id := w.run(request("one"))
	_, err := w.Update(t.Context(), "one", api.UpdateConfig{Resources: api.Resources{CPUShares: 512}, RestartPolicy: api.RestartPolicy{Name: "always"}}, "1.50")
	w.must(err)
	c := w.until(id, is(container.Running))
	if c.HostConfig.CPUShares != 512 || !c.HostConfig.RestartPolicy.IsAlways() || w.manager.resources == nil || *w.manager.resources.CPU.Shares != 512 {
		t.Errorf("%+v, %+v", c.HostConfig, w.manager.resources)
	}
}

func TestLog(t *testing.T) {
	w := newWorld(t)
	req := request("one", func(h *api.HostConfig) {
		h.LogConfig = api.LogConfig{Type: "json-file", Config: map[string]string{
			"labels": "a,none", "labels-regex": "^b", "env": "A", "tag": "{{.Name}}/{{.ID}}",
		}}
	})
	req.Config.Labels = map[string]string{"a": "1", "b1": "2", "c": "3"}
	c := w.until(w.create(req), is(container.Created))
	l, err := logOf(c, "/dir")
	w.must(err)
	want := map[string]string{"a": "1", "b1": "2", "A": "image", "tag": "one/" + c.ID[:12]}
	if d := cmp.Diff(want, l.Attrs); d != "" || l.Path != filepath.Join("/dir", c.ID+"-json.log") {
		t.Errorf("%s %s", l.Path, d)
	}
}
