package faults_test

import (
	"path/filepath"
	"testing"

	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/task"
	"github.com/gantry-containers/gantry/shim/ttrpc"
)

// TestWrongState asks a shim for what a process's state forbids, and for what is not there. The classes of the errors
// are those that containerd's clients act on. The calls go to the shim itself: the daemon would answer some in its place.
// Where upstream's shim (2.4.2) answers with another class, a row has it, and where it does not survive the call.
func TestWrongState(t *testing.T) {
	t.Parallel()
	s := start(t, newest)
	s.run(t, container{id: "running", script: "sleep 1000"})
	s.run(t, container{id: "stopped", script: "exit 3"})
	if _, err := s.Wait(limited(t), "stopped", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := s.create(limited(t), container{id: "created", script: "sleep 1000"}); err != nil {
		t.Fatal(err)
	}
	running, stopped, created := s.direct(t, "running"), s.direct(t, "stopped"), s.direct(t, "created")
	for exec, script := range map[string]string{"going": "sleep 1000", "over": "exit 4"} {
		if err := s.exec(limited(t), "running", exec, script); err != nil {
			t.Fatal(err)
		}
	}
	if exit, err := s.Wait(limited(t), "running", "over"); err != nil || exit.Code != 4 {
		t.Fatalf("over: code %d, %v", exit.Code, err)
	}
	if err := s.Exec(limited(t), "running", "added", process("exit 0"), noIO); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Dir(s.write("broken/config.json", "{", 0o600))
	spec := &known.Any{TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Process", Value: process("exit 0")}
	for _, row := range []struct {
		name           string
		shim           direct
		method         string
		request        ttrpc.Message
		want, upstream ttrpc.Code // upstream 0: the same
	}{
		{"create again", running, "Create", &task.CreateTaskRequest{Id: "running", Bundle: s.bundle("running")}, ttrpc.AlreadyExists, ttrpc.Unknown},
		{"start again", running, "Start", &task.StartRequest{Id: "running"}, ttrpc.FailedPrecondition, ttrpc.Unknown},
		{"start a stopped one", stopped, "Start", &task.StartRequest{Id: "stopped"}, ttrpc.FailedPrecondition, ttrpc.Unknown},
		{"start what is unknown", running, "Start", &task.StartRequest{Id: "nobody"}, ttrpc.NotFound, 0},
		{"start an unknown exec", running, "Start", &task.StartRequest{Id: "running", ExecId: "nobody"}, ttrpc.NotFound, 0},
		{"start a running exec", running, "Start", &task.StartRequest{Id: "running", ExecId: "going"}, ttrpc.FailedPrecondition, crashes},
		{"start an exec that has ended", running, "Start", &task.StartRequest{Id: "running", ExecId: "over"}, ttrpc.FailedPrecondition, crashes},
		{"delete a running one", running, "Delete", &task.DeleteRequest{Id: "running"}, ttrpc.FailedPrecondition, ttrpc.Unknown},
		{"delete a running exec", running, "Delete", &task.DeleteRequest{Id: "running", ExecId: "going"}, ttrpc.FailedPrecondition, ttrpc.Unknown},
		{"delete what is unknown", running, "Delete", &task.DeleteRequest{Id: "nobody"}, ttrpc.NotFound, 0},
		{"delete an unknown exec", running, "Delete", &task.DeleteRequest{Id: "running", ExecId: "nobody"}, ttrpc.NotFound, 0},
		{"kill what is unknown", running, "Kill", &task.KillRequest{Id: "nobody", Signal: 9}, ttrpc.NotFound, 0},
		{"kill a stopped one", stopped, "Kill", &task.KillRequest{Id: "stopped", Signal: 9}, ttrpc.NotFound, 0},
		{"kill an unknown exec", running, "Kill", &task.KillRequest{Id: "running", ExecId: "nobody", Signal: 9}, ttrpc.NotFound, 0},
		{"kill an exec that has ended", running, "Kill", &task.KillRequest{Id: "running", ExecId: "over", Signal: 9}, ttrpc.NotFound, 0},
		{"kill an exec that was not started", running, "Kill", &task.KillRequest{Id: "running", ExecId: "added", Signal: 9}, ttrpc.FailedPrecondition, 0},
		{"a signal that is none", running, "Kill", &task.KillRequest{Id: "running", Signal: 9999}, ttrpc.Unknown, 0},
		{"an exec's id that is taken", running, "Exec", &task.ExecProcessRequest{Id: "running", ExecId: "going", Spec: spec}, ttrpc.AlreadyExists, 0},
		{"exec in what is unknown", running, "Exec", &task.ExecProcessRequest{Id: "nobody", ExecId: "e", Spec: spec}, ttrpc.NotFound, 0},
		{"exec in a stopped one", stopped, "Exec", &task.ExecProcessRequest{Id: "stopped", ExecId: "e", Spec: spec}, ttrpc.FailedPrecondition, ttrpc.Unknown},
		{"exec without a spec", running, "Exec", &task.ExecProcessRequest{Id: "running", ExecId: "e"}, ttrpc.InvalidArgument, crashes},
		{"exec with a spec that is no JSON", running, "Exec", &task.ExecProcessRequest{Id: "running", ExecId: "e", Spec: &known.Any{TypeUrl: spec.TypeUrl, Value: []byte("{")}}, ttrpc.InvalidArgument, ttrpc.Unknown},
		{"pause a stopped one", stopped, "Pause", &task.PauseRequest{Id: "stopped"}, ttrpc.FailedPrecondition, ttrpc.Unknown},
		{"pause what is unknown", running, "Pause", &task.PauseRequest{Id: "nobody"}, ttrpc.NotFound, 0},
		{"resume a running one", running, "Resume", &task.ResumeRequest{Id: "running"}, ttrpc.FailedPrecondition, ttrpc.Unknown},
		{"resume what is unknown", running, "Resume", &task.ResumeRequest{Id: "nobody"}, ttrpc.NotFound, 0},
		{"state of what is unknown", running, "State", &task.StateRequest{Id: "nobody"}, ttrpc.NotFound, 0},
		{"state of an unknown exec", running, "State", &task.StateRequest{Id: "running", ExecId: "nobody"}, ttrpc.NotFound, 0},
		{"wait for what is unknown", running, "Wait", &task.WaitRequest{Id: "nobody"}, ttrpc.NotFound, 0},
		{"wait for an unknown exec", running, "Wait", &task.WaitRequest{Id: "running", ExecId: "nobody"}, ttrpc.NotFound, 0},
		{"pids of what is unknown", running, "Pids", &task.PidsRequest{Id: "nobody"}, ttrpc.NotFound, 0},
		{"stats of what is unknown", running, "Stats", &task.StatsRequest{Id: "nobody"}, ttrpc.NotFound, 0},
		{"update of what is unknown", running, "Update", &task.UpdateTaskRequest{Id: "nobody", Resources: &known.Any{TypeUrl: "x", Value: []byte("{}")}}, ttrpc.NotFound, 0},
		{"update with what is no JSON", running, "Update", &task.UpdateTaskRequest{Id: "running", Resources: &known.Any{TypeUrl: "x", Value: []byte("{")}}, ttrpc.InvalidArgument, ttrpc.Unknown},
		{"checkpoint of what is unknown", running, "Checkpoint", &task.CheckpointTaskRequest{Id: "nobody", Path: s.path("cp")}, ttrpc.NotFound, 0},
		{"resize what is unknown", running, "ResizePty", &task.ResizePtyRequest{Id: "nobody"}, ttrpc.NotFound, 0},
		{"close the stdin of what is unknown", running, "CloseIO", &task.CloseIORequest{Id: "nobody", Stdin: true}, ttrpc.NotFound, 0},
		{"a bundle that is missing", created, "Create", &task.CreateTaskRequest{Id: "other", Bundle: s.path("nowhere")}, ttrpc.NotFound, 0},
		{"a bundle that is empty", created, "Create", &task.CreateTaskRequest{Id: "other", Bundle: s.path("io")}, ttrpc.NotFound, ttrpc.Unknown},
		{"a bundle that is no path", created, "Create", &task.CreateTaskRequest{Id: "other", Bundle: "io"}, ttrpc.InvalidArgument, ttrpc.NotFound},
		{"a bundle whose config.json is broken", created, "Create", &task.CreateTaskRequest{Id: "other", Bundle: broken}, ttrpc.InvalidArgument, ttrpc.Unknown},
		{"no bundle", created, "Create", &task.CreateTaskRequest{Id: "other"}, ttrpc.InvalidArgument, ttrpc.Unknown},
		{"no id", created, "Create", &task.CreateTaskRequest{Bundle: s.bundle("created")}, ttrpc.InvalidArgument, ttrpc.Unknown},
		{"a method that is none", running, "Dance", &known.Empty{}, ttrpc.Unimplemented, 0},
	} {
		if row.upstream == crashes && own() {
			continue
		}
		if row.upstream == 0 || !own() {
			row.upstream = row.want
		}
		err := row.shim.call(limited(t), row.method, row.request, &known.Empty{})
		if got := ttrpc.CodeOf(err); got != row.upstream {
			t.Errorf("%s: class %d, %v; want %d", row.name, got, err, row.upstream)
		} else {
			t.Logf("%s: %v", row.name, err)
		}
	}
	for shim, id := range map[direct]string{running: "running", stopped: "stopped", created: "created"} {
		alive(t, shim, id)
	}
	if own() { // whose shim does not remember
		s.remove(t, "stopped", 3)
	} else {
		s.deleteTwice(t, stopped)
	}
	s.stop(t, "running")
	// One that was never started is deleted as it is.
	if _, err := s.Delete(limited(t), "created", ""); err != nil {
		t.Error(err)
	}
	s.forget(t, "created")
	s.calm(t)
}

// crashes stands for a call that upstream's shim dies of: at once, or (start an exec again) when the container ends.
const crashes ttrpc.Code = -1

// deleteTwice deletes a container at its shim, and then through the daemon, which repeats what the shim must be able to
// say again.
func (s *service) deleteTwice(t *testing.T, stopped direct) {
	t.Helper()
	answer := &task.DeleteResponse{}
	if err := stopped.call(limited(t), "Delete", &task.DeleteRequest{Id: "stopped"}, answer); err != nil || answer.ExitStatus != 3 {
		t.Errorf("delete: code %d, %v; want 3", answer.ExitStatus, err)
	}
	s.remove(t, "stopped", 3)
}

// alive wants the shim to answer.
func alive(t *testing.T, shim direct, id string) {
	t.Helper()
	answer := &task.ConnectResponse{}
	if err := shim.call(limited(t), "Connect", &task.ConnectRequest{Id: id}, answer); err != nil || answer.ShimPid == 0 {
		t.Errorf("the shim of %s does not answer: %v", id, err)
	}
}

// calm wants no shim to have panicked: the daemon's log repeats theirs.
func (s *service) calm(t *testing.T) {
	t.Helper()
	if containsPanic(s.daemon.Log()) {
		t.Error("a shim has panicked: see the daemon's log")
	}
}
