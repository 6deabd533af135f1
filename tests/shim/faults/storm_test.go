package faults_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/task"
	"github.com/gantry-containers/gantry/shim/ttrpc"
	"github.com/gantry-containers/gantry/tests/harness"
	"github.com/gantry-containers/gantry/tests/shim/client"
)

// TestStorm has eight clients ask a shim for everything at once, in no order, while processes come and go. All calls
// are answered, the shim goes on, and what it tells is in order.
func TestStorm(t *testing.T) {
	t.Parallel()
	s := start(t, newest)
	sub := s.Subscribe(t.Context())
	const rounds = 3
	for round := range rounds {
		id := fmt.Sprintf("storm-%d", round)
		s.run(t, container{id: id, script: "sleep 1000"})
		shim := s.direct(t, id)
		ctx, cancel := context.WithTimeout(t.Context(), harness.Slow(3*time.Second))
		var wg sync.WaitGroup
		for worker := range 8 {
			wg.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					exec := fmt.Sprintf("e%d", rand.IntN(6))
					method, request := anything(id, exec, i%40 == 39 && worker == 0)
					call, end := context.WithTimeout(context.Background(), harness.Limit(30*time.Second))
					if method == "Wait" { // it may have nothing to wait for
						end()
						call, end = context.WithTimeout(context.Background(), 20*time.Millisecond)
					}
					err := shim.call(call, method, request, &known.Empty{})
					if call.Err() != nil && method != "Wait" {
						t.Errorf("%s of %s is not answered: %v", method, exec, err)
					}
					end()
				}
			})
		}
		wg.Wait()
		cancel()
		alive(t, shim, id)
		calmDown(t, s, shim, id)
	}
	time.Sleep(harness.Slow(time.Second))
	s.ordered(t, sub.Events())
	s.calm(t)
}

// anything is a call of some kind.
func anything(id, exec string, kill bool) (string, ttrpc.Message) {
	if kill {
		return "Kill", &task.KillRequest{Id: id, Signal: 9, All: rand.IntN(2) == 0}
	}
	spec := &known.Any{TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Process", Value: process("sleep 0.0" + fmt.Sprint(rand.IntN(10)))}
	list := []struct {
		method  string
		request ttrpc.Message
	}{
		{"Exec", &task.ExecProcessRequest{Id: id, ExecId: exec, Spec: spec}},
		{"Exec", &task.ExecProcessRequest{Id: id, ExecId: exec, Spec: spec}},
		{"Start", &task.StartRequest{Id: id, ExecId: exec}},
		{"Start", &task.StartRequest{Id: id, ExecId: exec}},
		{"Delete", &task.DeleteRequest{Id: id, ExecId: exec}},
		{"Delete", &task.DeleteRequest{Id: id, ExecId: exec}},
		{"Kill", &task.KillRequest{Id: id, ExecId: exec, Signal: 9}},
		{"State", &task.StateRequest{Id: id, ExecId: exec}},
		{"Wait", &task.WaitRequest{Id: id, ExecId: exec}},
		{"State", &task.StateRequest{Id: id}},
		{"Pids", &task.PidsRequest{Id: id}},
		{"Pause", &task.PauseRequest{Id: id}},
		{"Resume", &task.ResumeRequest{Id: id}},
		{"Resume", &task.ResumeRequest{Id: id}},
		{"Stats", &task.StatsRequest{Id: id}},
		{"CloseIO", &task.CloseIORequest{Id: id, ExecId: exec, Stdin: true}},
		{"ResizePty", &task.ResizePtyRequest{Id: id, ExecId: exec, Width: 80, Height: 25}},
		{"Update", &task.UpdateTaskRequest{Id: id, Resources: &known.Any{TypeUrl: "x", Value: []byte(`{"pids":{"limit":100}}`)}}},
		{"Shutdown", &task.ShutdownRequest{Id: id}},
		{"Create", &task.CreateTaskRequest{Id: id, Bundle: "/nonexistent"}},
	}
	pick := list[rand.IntN(len(list))]
	if pick.method == "Pause" && rand.IntN(4) != 0 { // for most calls are refused then
		pick = list[0]
	}
	return pick.method, pick.request
}

// calmDown ends the container, whatever state it is in.
func calmDown(t *testing.T, s *service, shim direct, id string) {
	t.Helper()
	_ = shim.call(limited(t), "Resume", &task.ResumeRequest{Id: id}, &known.Empty{}) // it may not be paused
	if err := s.Kill(limited(t), id, "", 9); err != nil && ttrpc.CodeOf(err) != ttrpc.NotFound {
		t.Errorf("kill %s: %v", id, err)
	}
	if exit, err := s.Wait(limited(t), id, ""); err != nil || exit.Code != 137 {
		t.Errorf("wait for %s: code %d, %v; want 137", id, exit.Code, err)
	}
	s.remove(t, id, 137)
}

// ordered looks at the events of each process: what is told is told once, and after what must come before.
func (s *service) ordered(t *testing.T, events []client.Event) {
	t.Helper()
	rank := map[string]int{"create": 1, "start": 2, "exec-added": 1, "exec-started": 2, "exit": 3, "delete": 4}
	last := map[string]string{} // of a process, its last topic
	over := map[string]bool{}   // containers whose exit is told
	n := 0
	for _, e := range events {
		if rank[e.Topic] == 0 {
			continue
		}
		n++
		name := e.Container + "/" + e.Exec
		before := last[name]
		if before == "exit" && e.Topic == "exec-added" || before == "exec-added" && e.Topic == "exec-added" {
			before = "" // the id is used again; one that was not started is deleted without a word
		}
		if rank[e.Topic] != rank[before]+1 {
			t.Errorf("%v after %q", e, before)
		}
		if over[e.Container] && e.Topic != "delete" {
			t.Errorf("%v after the container's exit", e)
		}
		over[e.Container] = over[e.Container] || e.Topic == "exit" && e.Exec == ""
		last[name] = e.Topic
	}
	for name, topic := range last {
		if topic != "exit" && topic != "delete" && topic != "exec-added" {
			t.Errorf("the last of %s is %s", name, topic)
		}
	}
	t.Logf("%d events", n)
}
