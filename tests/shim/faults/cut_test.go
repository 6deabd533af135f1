package faults_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/task"
	"github.com/gantry-containers/gantry/shim/ttrpc"
	"github.com/gantry-containers/gantry/tests/harness"
)

// direct is a client of a shim.
type direct struct{ *ttrpc.Client }

// direct connects to a shim as its daemon does.
func (s *service) direct(t *testing.T, id string) direct {
	t.Helper()
	c, err := ttrpc.Dial(t.Context(), s.socket(id))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return direct{c}
}

func (d direct) call(ctx context.Context, method string, request, answer ttrpc.Message) error {
	return d.Call(ctx, "containerd.task.v3.Task", method, request, answer)
}

// exec runs a process to its end and deletes it.
func (d direct) exec(ctx context.Context, id, exec, script string) error {
	spec := &known.Any{TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Process", Value: process(script)}
	if err := d.call(ctx, "Exec", &task.ExecProcessRequest{Id: id, ExecId: exec, Spec: spec}, &known.Empty{}); err != nil {
		return err
	}
	if err := d.call(ctx, "Start", &task.StartRequest{Id: id, ExecId: exec}, &task.StartResponse{}); err != nil {
		return err
	}
	if err := d.call(ctx, "Wait", &task.WaitRequest{Id: id, ExecId: exec}, &task.WaitResponse{}); err != nil {
		return err
	}
	return d.call(ctx, "Delete", &task.DeleteRequest{Id: id, ExecId: exec}, &task.DeleteResponse{})
}

// TestDaemonStopped stops the daemon's process for half a minute, while 2000 events happen in a container. The shim
// does not grow with them; when the daemon goes on, all are told in order.
func TestDaemonStopped(t *testing.T) {
	t.Parallel()
	s := start(t, newest)
	sub := s.Subscribe(t.Context())
	s.run(t, container{id: "cut", script: "sleep 1000"})
	shim, d := s.shimOf(t, "cut"), s.direct(t, "cut")
	if err := d.exec(limited(t), "cut", "first", "exit 0"); err != nil {
		t.Fatal(err)
	}
	s.suspend(t)
	began := time.Now()
	const n = 667
	ctx, cancel := context.WithTimeout(t.Context(), harness.Limit(2*time.Minute)) // upstream's answers ever more slowly
	defer cancel()
	before := 0
	for i := range n {
		if i == n/4 { // now it has all that it needs at work
			before = private(t, shim)
		}
		if err := d.exec(ctx, "cut", fmt.Sprintf("e%d", i), fmt.Sprintf("exit %d", i%200)); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(time.Until(began.Add(30 * time.Second)))
	after := private(t, shim)
	t.Logf("%d events in %v: the shim has %d kB of its own, after a quarter %d kB", 3*n, time.Since(began).Round(time.Millisecond), after, before)
	if after > before+1024 {
		t.Errorf("the shim grows from %d to %d kB", before, after)
	}
	s.resume(t)
	if !harness.Until(30*time.Second, func() bool { return len(sub.Of("cut", fmt.Sprintf("e%d", n-1))) == 3 }) {
		t.Error("the last events do not come")
	}
	var c tally
	last := -1
	place := map[string]int{}
	for i, e := range sub.Events() {
		place[e.Topic+e.Exec] = i
	}
	for i := range n {
		exec := fmt.Sprintf("e%d", i)
		c.check(sub.Of("cut", exec), []string{"exec-added", "exec-started", "exit"}, uint32(i%200))
		if at := place["exec-added"+exec]; at < last {
			t.Errorf("%s comes before the end of the process before it", exec)
		} else {
			last = place["exit"+exec]
		}
	}
	c.report(t, n, "processes while the daemon was stopped")
	s.stop(t, "cut")
	heard(t, sub, "cut", "delete")
}

// private is the memory that a process has for itself, in kB: Private_Dirty of proc(5)'s smaps_rollup.
func private(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var kb int
		if _, err := fmt.Sscanf(line, "Private_Dirty: %d kB", &kb); err == nil {
			return kb
		}
	}
	t.Fatal("no Private_Dirty")
	return 0
}
