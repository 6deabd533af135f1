package task

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	eventtypes "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/services/tasks/v1"
	coreevents "github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/gantry-containers/gantry/manager/events"
)

func (w *world) forward(topic string, event any) {
	w.t.Helper()
	a, err := typeurl.MarshalAny(event)
	if err != nil {
		w.t.Fatal(err)
	}
	e := &coreevents.Envelope{Timestamp: time.Now(), Namespace: namespace, Topic: topic, Event: a}
	if err := w.m.Forward(w.ctx, e); err != nil {
		w.t.Fatal(err)
	}
}

func exitEvent(id, process string, pid, code uint32, at time.Time) *eventtypes.TaskExit {
	return &eventtypes.TaskExit{ContainerID: id, ID: process, Pid: pid, ExitStatus: code, ExitedAt: timestamppb.New(at)}
}

func deleteEvent(id string, pid, code uint32, at time.Time) *eventtypes.TaskDelete {
	return &eventtypes.TaskDelete{ContainerID: id, Pid: pid, ExitStatus: code, ExitedAt: timestamppb.New(at)}
}

func TestForward(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		do   func(w *world, pid uint32)
		want []string
	}{
		"a delete without its exit": {func(w *world, pid uint32) {
			w.forward("/tasks/delete", deleteEvent("a", pid, 3, now))
			w.forward("/tasks/exit", exitEvent("a", "a", pid, 3, now))
		}, []string{"exit a 3", "delete a 3"}},
		"everything twice": {func(w *world, pid uint32) {
			for range 2 {
				w.forward("/tasks/exit", exitEvent("a", "x", 77, 1, now))
				w.forward("/tasks/exit", exitEvent("a", "a", pid, 3, now))
				w.forward("/tasks/delete", deleteEvent("a", pid, 3, now))
			}
		}, []string{"exit x 1", "exit a 3", "delete a 3"}},
		"an exec's number is used again": {func(w *world, _ uint32) {
			w.forward("/tasks/exit", exitEvent("a", "x", 77, 1, now))
			w.forward("/tasks/exit", exitEvent("a", "x", 77, 1, now.Add(1)))
		}, []string{"exit x 1", "exit x 1"}},
		"of a task that is unknown": {func(w *world, _ uint32) {
			for range 2 {
				w.forward("/tasks/exit", exitEvent("u", "u", 77, 1, now))
				w.forward("/tasks/delete", deleteEvent("u", 77, 1, now))
			}
		}, []string{"exit u 1", "delete u 1"}},
		"of an earlier task with this id": {func(w *world, pid uint32) {
			w.forward("/tasks/exit", exitEvent("a", "a", pid-1, 1, now))
			w.forward("/tasks/delete", deleteEvent("a", pid-1, 1, now))
			if p, err := w.get("a"); err != nil || p.ExitStatus != 0 {
				w.t.Error(p, err)
			}
		}, []string{"exit a 1", "delete a 1"}},
		"the delete of an exec": {func(w *world, pid uint32) {
			e := deleteEvent("a", 77, 1, now)
			e.ID = "x"
			w.forward("/tasks/delete", e)
			w.forward("/tasks/exit", exitEvent("a", "a", pid, 3, now))
		}, []string{"delete a 1", "exit a 3"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.run("a")
			pid := w.m.find(key{namespace, "a"}).snapshot().Pid
			c.do(w, pid)
			w.told(c.want...)
		})
	}
}

// What is no event of its topic is the log's to judge.
func TestForwardGarbage(t *testing.T) {
	w := newWorld(t)
	for _, any := range []typeurl.Any{nil, &anypb.Any{TypeUrl: "containerd.events.TaskExit", Value: []byte{0xff}}, &anypb.Any{TypeUrl: "x"}} {
		e := &coreevents.Envelope{Timestamp: time.Now(), Namespace: namespace, Topic: "/tasks/exit", Event: any}
		if any == nil {
			e.Event = (*anypb.Any)(nil)
		}
		if err := w.m.Forward(w.ctx, e); err == nil {
			t.Errorf("%v was taken", any)
		}
	}
}

// The exit comes while the task is being created: init died before Create answered.
func TestExitWhileCreating(t *testing.T) {
	w := newWorld(t)
	w.shims.on("Create done", func(s *fakeShim) error {
		s.exit("", 9, true)
		return nil
	})
	w.create("a")
	w.stopped("a", 9)
	w.deleted("a", 9)
	w.told("exit a 9", "delete a 9")
}

// A manager that was killed after the log had an event, and before the ledger or the shim knew, does not tell it twice.
func TestRecall(t *testing.T) {
	w := newWorld(t)
	log, err := events.Open(events.Config{Dir: filepath.Join(t.TempDir(), "log")})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() //nolint:errcheck // the test is over
	s := w.run("a")
	w.kill()
	w.shims.silent = true
	e := s.exit("", 5, true)
	if err := log.Forward(w.ctx, s.envelope("/tasks/exec-added", &eventtypes.TaskExecAdded{ContainerID: "a", ExecID: "x"})); err != nil {
		t.Fatal(err)
	}
	if err := log.Forward(w.ctx, s.exitEnvelope(e)); err != nil {
		t.Fatal(err)
	}
	last := log.Last()
	w.dead = make(chan struct{})
	config := w.config()
	config.Events = log
	m := New(config)
	w.m = m
	// A shim is answered before the tasks are loaded.
	forwarded := make(chan error, 1)
	began := make(chan struct{})
	go func() {
		close(began)
		forwarded <- m.Forward(w.ctx, s.exitEnvelope(e))
	}()
	<-began
	for range 100 {
		runtime.Gosched()
	}
	if err := m.Load(w.ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-forwarded; err != nil {
		t.Fatal(err)
	}
	if log.Last() != last {
		t.Errorf("the exit was told again: %d events, then %d", last, log.Last())
	}
	s.die()
	w.entombed("a")
	if log.Last() != last+1 {
		t.Errorf("%d events, then %d: the delete alone was to tell", last, log.Last())
	}
}

func TestToldIsBounded(t *testing.T) {
	s := newTold()
	n := 0
	tell := func(i int) {
		if err := s.once(telling{process: fmt.Sprint(i)}, func() error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2 * maxTold {
		tell(i)
	}
	for i := maxTold; i < 2*maxTold; i++ {
		tell(i)
	}
	if n != 2*maxTold || len(s.has) != maxTold {
		t.Errorf("%d told, %d remembered", n, len(s.has))
	}
}

// shortLog is a log that has thrown its beginning away.
func TestRecallOfAShortLog(t *testing.T) {
	log, err := events.Open(events.Config{Dir: filepath.Join(t.TempDir(), "log"), MaxEvents: 64})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() //nolint:errcheck // the test is over
	w := newWorld(t)
	w.kill()
	w.dead = make(chan struct{})
	config := w.config()
	config.Events = log
	w.m = New(config)
	if err := w.m.Load(w.ctx); err != nil {
		t.Fatal(err)
	}
	const n = 1000
	for i := range n {
		w.forward("/tasks/exit", exitEvent("u", "u", uint32(i+1), 1, time.Now()))
	}
	again := newTold()
	if err := again.recall(context.Background(), log); err != nil {
		t.Fatal(err)
	}
	if len(again.has) == 0 {
		t.Fatal("nothing is recalled")
	}
	if _, ok := again.has[again.ring[len(again.ring)-1]]; !ok || again.ring[len(again.ring)-1].pid != n {
		t.Error("the last one is missing")
	}
}

func TestMetrics(t *testing.T) {
	w := newWorld(t)
	w.run("a")
	w.run("b")
	w.run("dead").die()
	w.entombed("dead")
	for filter, want := range map[string]int{"id==a": 1, "id==dead": 0, "namespace==" + namespace: 2, "namespace==other": 0} {
		r, err := w.m.Metrics(w.ctx, &tasks.MetricsRequest{Filters: []string{filter}})
		if err != nil || len(r.Metrics) != want {
			t.Errorf("%s: %v, %v", filter, r, err)
		}
	}
	if _, err := w.m.Metrics(w.ctx, &tasks.MetricsRequest{Filters: []string{"=="}}); err == nil {
		t.Error("a filter that is none was taken")
	}
}
