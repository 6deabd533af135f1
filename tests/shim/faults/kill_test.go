package faults_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/api/tasktypes"
	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
	"github.com/gantry-containers/gantry/tests/shim/client"
)

// What a daemon does when a shim's connection ends: it runs the shim's delete action, and publishes an exit and a
// delete of its own with what that prints (2.4.2: cleanupAfterDeadShim in core/runtime/v2/shim.go), whether or not the
// shim had told of the exit. So a subscriber sees the exit of a task whose shim dies after it a second time: from the
// daemon, which no shim can prevent. What a shim owes is that both say the same.

// TestShimKilledInCreate kills the shim while the runtime creates the container: before it has begun, and when it is
// done but has not said so.
func TestShimKilledInCreate(t *testing.T) {
	t.Parallel()
	for _, r := range []compat.Generation{newest, debian} {
		for _, when := range []string{"before", "after"} {
			t.Run(string(r)+"/"+when, func(t *testing.T) {
				t.Parallel()
				s := start(t, r)
				sub := s.Subscribe(t.Context())
				failed := make(chan error, 1)
				c := container{id: "creating", script: "sleep 1000", runtime: s.waits(when)}
				go func() { _, err := s.create(limited(t), c); failed <- err }()
				if !harness.Until(20*time.Second, func() bool { return !missing(s.path("creating")) }) {
					t.Fatal("the runtime is not asked to create")
				}
				killShim(t, s.shimOf(t, "creating"))
				if err := <-failed; err == nil {
					t.Error("create succeeds though its shim is dead")
				}
				s.write("go", "", 0o600) // what is orphaned goes on, and finds nothing to do
				if p, err := s.Get(limited(t), "creating", ""); err == nil {
					t.Errorf("there is a task: %v", p.Status)
				}
				s.forget(t, "creating")
				time.Sleep(harness.Slow(time.Second))
				neverWas(t, sub.Of("creating", ""))
				s.nothingOf(t, "creating")
			})
		}
	}
}

// waits makes a runtime that makes the file "creating" and waits for the file "go", before or after it creates a
// container.
func (s *service) waits(when string) string {
	run, wait := s.path("bin/runc")+` "$@"`, fmt.Sprintf("echo $$ >%s; until [ -e %s ]; do sleep 0.02; done", s.path("creating"), s.path("go"))
	first, second := wait, run
	if when == "after" {
		first, second = run, wait
	}
	return s.write("bin/waits", fmt.Sprintf("#!/bin/sh\ncase \" $* \" in *' create '*)\n%s\n%s;;\n*) exec %s;;\nesac\n", first, second, run), 0o755)
}

// neverWas wants no events of a container that was not created; the daemon may tell an end of it.
func neverWas(t *testing.T, events []client.Event) {
	t.Helper()
	if count(events, "create")+count(events, "start") > 0 || count(events, "exit") > 1 || count(events, "delete") > 1 {
		t.Errorf("of a container that never was is told: %v", texts(events))
	}
}

func killShim(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

func count(events []client.Event, topic string) int {
	n := 0
	for _, e := range events {
		if e.Topic == topic {
			n++
		}
	}
	return n
}

// nothingOf looks for what is left of a container whose task has gone: bundle, runtime's state. What else there may be
// is looked for when the test ends.
func (s *service) nothingOf(t *testing.T, id string) {
	t.Helper()
	for _, path := range []string{s.bundle(id), filepath.Join(s.path("runc"), s.marker, id), filepath.Join(s.path("root"), "io.containerd.runtime.v2.task", s.marker, id)} {
		if !harness.Until(10*time.Second, func() bool { return missing(path) }) {
			t.Errorf("left behind: %s", path)
		}
	}
}

// TestShimKilledRunning kills the shim of a running container: it is killed, too, and that is told once.
func TestShimKilledRunning(t *testing.T) {
	t.Parallel()
	for _, r := range []compat.Generation{newest, debian} {
		t.Run(string(r), func(t *testing.T) {
			t.Parallel()
			s := start(t, r)
			sub := s.Subscribe(t.Context())
			pid := s.run(t, container{id: "running", script: "sleep 1000 & sleep 1000"})
			killShim(t, s.shimOf(t, "running"))
			s.gone(t, "running")
			if !harness.Until(10*time.Second, func() bool { return errors.Is(unix.Kill(int(pid), 0), unix.ESRCH) }) {
				t.Errorf("process %d lives", pid)
			}
			s.forget(t, "running")
			time.Sleep(harness.Slow(time.Second))
			// Whether the daemon took the event that it was just sent a shim that is killed can't note: it may be told again.
			events := sub.Of("running", "")
			t.Logf("%v", texts(events))
			events = slices.CompactFunc(events, func(a, b client.Event) bool { return a.Topic == "start" && b.Topic == "start" })
			var c tally
			c.check(events, []string{"create", "start", "exit", "delete"}, 137)
			c.report(t, 1, "container killed with its shim")
			s.nothingOf(t, "running")
		})
	}
}

// heard waits for an event.
func heard(t *testing.T, sub *client.Subscription, id, topic string) {
	t.Helper()
	began := time.Now()
	if !harness.Until(told, func() bool { return count(sub.Of(id, ""), topic) > 0 }) {
		t.Errorf("%s: no event of %s", id, topic)
		return
	}
	t.Logf("%s of %s is told after %v", topic, id, time.Since(began).Round(time.Millisecond))
}

// gone waits until the daemon has no such task. Our manager keeps it for its client to see how it ended, who deletes it.
func (s *service) gone(t *testing.T, id string) {
	t.Helper()
	if !s.daemon.Generation.Upstream() {
		if !harness.Until(20*time.Second, func() bool {
			p, err := s.Get(limited(t), id, "")
			return err == nil && p.Status == tasktypes.Status_STOPPED
		}) {
			t.Errorf("the task of %s does not stop", id)
		}
		if _, err := s.Delete(limited(t), id, ""); err != nil {
			t.Errorf("delete %s: %v", id, err)
		}
	}
	if !harness.Until(20*time.Second, func() bool { _, err := s.Get(limited(t), id, ""); return err != nil }) {
		t.Errorf("the task of %s is still there", id)
	}
}

// TestShimKilledAfterExit kills the shim of a task that has ended: the daemon, which asks the delete action, says the
// same as the shim had.
func TestShimKilledAfterExit(t *testing.T) {
	t.Parallel()
	for _, r := range []compat.Generation{newest, debian} {
		t.Run(string(r), func(t *testing.T) {
			t.Parallel()
			s := start(t, r)
			sub := s.Subscribe(t.Context())
			s.run(t, container{id: "ended", script: "exit 7"})
			exit, err := s.Wait(limited(t), "ended", "")
			if err != nil || exit.Code != 7 {
				t.Fatalf("code %d, %v; want 7", exit.Code, err)
			}
			if !harness.Until(10*time.Second, func() bool { return count(sub.Of("ended", ""), "exit") == 1 }) {
				t.Fatal("no exit event")
			}
			killShim(t, s.shimOf(t, "ended"))
			s.gone(t, "ended")
			s.forget(t, "ended")
			time.Sleep(harness.Slow(time.Second))
			s.sameExit(t, sub, "ended", 7, false)
			s.nothingOf(t, "ended")
		})
	}
}

// sameExit wants the exit told by the shim, by the daemon or by both (or before, to another subscriber), but with the same
// words, and one delete.
func (s *service) sameExit(t *testing.T, sub *client.Subscription, id string, code uint32, before bool) {
	t.Helper()
	events := sub.Of(id, "")
	var first *client.Event
	for i, e := range events {
		if e.Topic != "exit" && e.Topic != "delete" {
			continue
		}
		if first == nil {
			first = &events[i]
		}
		if e.Code != code || e.Pid != first.Pid || !e.At.Equal(first.At) {
			t.Errorf("%v; want code %d, and the same as %v", e, code, first)
		}
	}
	if n := count(events, "exit"); n < 1 && !before || n > 2 {
		t.Errorf("%d exit events: %v", n, texts(events))
	}
	if n := count(events, "delete"); n != 1 {
		t.Errorf("%d delete events: %v", n, texts(events))
	}
}

// TestShimKilledUndelivered kills the shim while the daemon is stopped and has not heard of the exit.
func TestShimKilledUndelivered(t *testing.T) {
	t.Parallel()
	s := start(t, newest)
	sub := s.Subscribe(t.Context())
	ready := s.path("io/ready")
	pid := s.run(t, container{
		id: "unheard", script: "trap 'exit 8' USR1; echo ready; while :; do sleep 0.05; done",
		io: client.IO{Stdout: "file://" + ready, Stderr: "file://" + ready}, // 2.4.2 panics without the second
	})
	said(t, ready, "ready")
	s.suspend(t)
	if err := unix.Kill(int(pid), unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if !harness.Until(10*time.Second, func() bool { return errors.Is(unix.Kill(int(pid), 0), unix.ESRCH) }) {
		t.Fatal("the container goes on")
	}
	time.Sleep(harness.Slow(500 * time.Millisecond)) // for the shim to write it down
	killShim(t, s.shimOf(t, "unheard"))
	s.resume(t)
	s.gone(t, "unheard")
	s.forget(t, "unheard")
	time.Sleep(harness.Slow(time.Second))
	s.sameExit(t, sub, "unheard", 8, false)
	s.nothingOf(t, "unheard")
}

// said waits until a file has the text.
func said(t *testing.T, file, text string) {
	t.Helper()
	if !harness.Until(20*time.Second, func() bool { b, _ := os.ReadFile(file); return strings.Contains(string(b), text) }) {
		t.Fatalf("%s does not come to have %q", file, text)
	}
}

// TestDaemonThenShimKilled kills the daemon, then shims, and starts the daemon again: nothing is left of tasks that
// ran, that had ended, or that were created only, and clients are told how they ended.
func TestDaemonThenShimKilled(t *testing.T) {
	t.Parallel()
	for _, r := range []compat.Generation{newest, debian} {
		t.Run(string(r), func(t *testing.T) {
			t.Parallel()
			s := start(t, r)
			s.Subscribe(t.Context()) // our manager remembers for those who were there
			pids := s.threeTasks(t)
			s.run(t, container{id: "spared", script: "sleep 1000"})
			codes := map[string]uint32{"running": 137, "ended": 9, "created": 137}
			s.daemon.Kill()
			for id := range codes {
				killShim(t, s.shimOf(t, id))
			}
			sub := s.Subscribe(t.Context())
			s.daemon.Start()
			for id := range codes {
				s.gone(t, id)
				s.forget(t, id)
				s.nothingOf(t, id)
			}
			for _, pid := range pids {
				if !harness.Until(10*time.Second, func() bool { return errors.Is(unix.Kill(int(pid), 0), unix.ESRCH) }) {
					t.Errorf("process %d lives", pid)
				}
			}
			if p, err := s.Get(limited(t), "spared", ""); err != nil || p.Status != tasktypes.Status_RUNNING {
				t.Errorf("spared: %v, %v; want RUNNING", p.GetStatus(), err)
			}
			s.stop(t, "spared")
			heard(t, sub, "spared", "delete")
			for id, code := range codes {
				heard(t, sub, id, "delete")
				s.sameExit(t, sub, id, code, id == "ended") // whose exit was told before
			}
		})
	}
}

// threeTasks makes a task that runs, one that has ended with 9, and one that is created only, and returns the
// processes of the first and the last.
func (s *service) threeTasks(t *testing.T) []uint32 {
	t.Helper()
	running := s.run(t, container{id: "running", script: "sleep 1000"})
	s.run(t, container{id: "ended", script: "exit 9"})
	if _, err := s.Wait(limited(t), "ended", ""); err != nil {
		t.Fatal(err)
	}
	created, err := s.create(limited(t), container{id: "created", script: "exit 9"})
	if err != nil {
		t.Fatal(err)
	}
	return []uint32{running, created}
}
