package task

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/api/events"
	"github.com/gantry-containers/gantry/shim/api/forward"
	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/options"
	"github.com/gantry-containers/gantry/shim/api/task"
	"github.com/gantry-containers/gantry/shim/api/tasktypes"
	spool "github.com/gantry-containers/gantry/shim/events"
	"github.com/gantry-containers/gantry/shim/ttrpc"
	"github.com/gantry-containers/gantry/tests/harness"
)

// daemon takes events.
type daemon struct {
	address string
	mu      sync.Mutex
	events  []string
}

func newDaemon(t *testing.T) *daemon {
	t.Helper()
	d := &daemon{address: filepath.Join(t.TempDir(), "s")}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: d.address, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	server := ttrpc.NewServer()
	server.Register("containerd.services.events.ttrpc.v1.Events", map[string]ttrpc.Method{"Forward": ttrpc.Unary(d.take)})
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Close)
	return d
}

func (d *daemon) take(_ context.Context, r *forward.ForwardRequest) (*known.Empty, error) {
	text := r.Envelope.Topic
	switch text {
	case "/tasks/exec-started", "/tasks/exec-added":
		var e events.TaskExecStarted // the two begin alike
		if err := e.UnmarshalVT(r.Envelope.Event.Value); err != nil {
			return nil, err
		}
		text += " " + e.ExecId
	case "/tasks/exit":
		var e events.TaskExit
		if err := e.UnmarshalVT(r.Envelope.Event.Value); err != nil {
			return nil, err
		}
		text += " " + e.Id
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, text)
	return &known.Empty{}, nil
}

// shim is a service whose runtime is this test's binary.
type shim struct {
	*Service
	t      *testing.T
	daemon *daemon
	root   string
	self   string // the runtime
	quit   chan struct{}
}

func newShim(t *testing.T) *shim {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &shim{t: t, daemon: newDaemon(t), root: t.TempDir(), self: self, quit: make(chan struct{})}
	s.Service = &Service{Namespace: "ns", Events: spool.NewPublisher(s.daemon.address, "ns"), Quit: func() { close(s.quit) }}
	s.Methods()
	t.Cleanup(func() { // of tests that leave their containers
		dirs, _ := filepath.Glob(filepath.Join(s.root, "ns", "*"))
		for _, dir := range dirs {
			_ = fakeKill(dir, "9", false)
		}
		for _, c := range s.all() {
			if c.isCreated() && c.init.currentPid() != 0 {
				<-c.init.done // the exit is recorded in the bundle
			}
		}
	})
	return s
}

// wantEvents waits for the events of one container.
func (s *shim) wantEvents(want ...string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), harness.Limit(20*time.Second))
	defer cancel()
	if err := s.Events.Drain(ctx); err != nil {
		s.t.Error(err)
	}
	s.daemon.mu.Lock()
	defer s.daemon.mu.Unlock()
	if diff := cmp.Diff(want, s.daemon.events); diff != "" {
		s.t.Errorf("events (-want +got):\n%s", diff)
	}
}

// bundle makes one whose init process is the script; files are the fake runtime's.
func (s *shim) bundle(script string, files map[string]string) string {
	s.t.Helper()
	dir := s.t.TempDir()
	for name, content := range files {
		write(s.t, filepath.Join(dir, name), content)
	}
	write(s.t, filepath.Join(dir, "script"), script)
	if _, ok := files["config.json"]; !ok {
		write(s.t, filepath.Join(dir, "config.json"), `{"linux": {"namespaces": [{"type": "pid"}]}}`)
	}
	return dir
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *shim) request(bundle string) *task.CreateTaskRequest {
	value, err := (&options.Options{Root: s.root, BinaryName: s.self}).MarshalVT()
	if err != nil {
		s.t.Fatal(err)
	}
	return &task.CreateTaskRequest{Id: "c", Bundle: bundle, Options: &known.Any{TypeUrl: "containerd.runc.v1.Options", Value: value}}
}

func (s *shim) mustCreate(bundle string) {
	s.t.Helper()
	if _, err := s.create(context.Background(), s.request(bundle)); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_, _ = s.kill(context.Background(), &task.KillRequest{Id: "c", Signal: 9, All: true})
		if !harness.Until(20*time.Second, func() bool {
			_, err := s.delete(context.Background(), &task.DeleteRequest{Id: "c"})
			return err == nil
		}) {
			s.t.Error("the container cannot be deleted")
		}
	})
}

func (s *shim) mustStart(execID string) {
	s.t.Helper()
	if _, err := s.start(context.Background(), &task.StartRequest{Id: "c", ExecId: execID}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shim) mustExec(execID, command string) {
	s.t.Helper()
	if _, err := s.exec(context.Background(), s.execRequest(execID, command)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shim) execRequest(execID, command string) *task.ExecProcessRequest {
	spec, err := json.Marshal(map[string]any{"args": []string{command}, "cwd": "/", "future": true})
	if err != nil {
		s.t.Fatal(err)
	}
	return &task.ExecProcessRequest{Id: "c", ExecId: execID, Spec: &known.Any{Value: spec}}
}

func (s *shim) mustWait(execID string) uint32 {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), harness.Limit(30*time.Second))
	defer cancel()
	answer, err := s.wait(ctx, &task.WaitRequest{Id: "c", ExecId: execID})
	if err != nil {
		s.t.Fatal(err)
	}
	return answer.ExitStatus
}

func (s *shim) status() tasktypes.Status {
	s.t.Helper()
	answer, err := s.state(context.Background(), &task.StateRequest{Id: "c"})
	if err != nil {
		s.t.Fatal(err)
	}
	return answer.Status
}

func wantCode(t *testing.T, what string, err error, want ttrpc.Code) {
	t.Helper()
	if got := ttrpc.CodeOf(err); got != want {
		t.Errorf("%s: code %d (%v), want %d", what, got, err, want)
	}
}

func TestLifeCycle(t *testing.T) {
	s := newShim(t)
	s.mustCreate(s.bundle("exit 7", nil))
	if got := s.status(); got != tasktypes.Status_CREATED {
		t.Errorf("status %v", got)
	}
	s.mustStart("")
	if got := s.mustWait(""); got != 7 {
		t.Errorf("exit status %d", got)
	}
	if got := s.status(); got != tasktypes.Status_STOPPED {
		t.Errorf("status %v", got)
	}
	pids, err := s.pids(context.Background(), &task.PidsRequest{Id: "c"})
	if err != nil || len(pids.Processes) != 1 {
		t.Errorf("the dead init process must stay in the list: %v, %v", pids, err)
	}
	first, err := s.delete(context.Background(), &task.DeleteRequest{Id: "c"})
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.delete(context.Background(), &task.DeleteRequest{Id: "c"})
	if err != nil || first.ExitStatus != 7 || second.ExitedAt.Nanos != first.ExitedAt.Nanos || second.Pid != first.Pid {
		t.Errorf("first %v, second %v, %v", first, second, err)
	}
	s.wantEvents("/tasks/create", "/tasks/start", "/tasks/exit c", "/tasks/delete")
	if _, err := s.shutdown(context.Background(), &task.ShutdownRequest{Id: "c"}); err != nil {
		t.Error(err)
	}
	<-s.quit
}

// TestExitIsToldAfterStart: the process ends long before the runtime's start does.
func TestExitIsToldAfterStart(t *testing.T) {
	s := newShim(t)
	s.mustCreate(s.bundle("exit 0", map[string]string{"after-start": "sleep 0.5"}))
	s.mustStart("")
	s.mustWait("")
	s.wantEvents("/tasks/create", "/tasks/start", "/tasks/exit c")
}

// TestInitsExitIsTheLast: a process of a shared pid namespace outlives the init process, and is killed.
func TestInitsExitIsTheLast(t *testing.T) {
	s := newShim(t)
	s.mustCreate(s.bundle("cd $(dirname $0); while [ ! -e over ]; do sleep 0.02; done; exit 3", map[string]string{"config.json": "{}", "after-exec": "touch over; sleep 0.6"}))
	s.mustStart("")
	s.mustExec("e1", "exec sleep 1000")
	s.mustStart("e1")
	if got := s.mustWait(""); got != 3 {
		t.Errorf("exit status %d", got)
	}
	if got := s.mustWait("e1"); got != 137 {
		t.Errorf("exit status %d of the other process", got)
	}
	_, err := s.exec(context.Background(), s.execRequest("e2", "exit"))
	wantCode(t, "exec in a stopped container", err, ttrpc.FailedPrecondition)
	s.wantEvents("/tasks/create", "/tasks/start", "/tasks/exec-added e1", "/tasks/exec-started e1", "/tasks/exit e1", "/tasks/exit c")
}

func TestManyExecsAtOnce(t *testing.T) {
	s := newShim(t)
	s.mustCreate(s.bundle("exec sleep 1000", nil))
	s.mustStart("")
	var wg sync.WaitGroup
	ids := []string{"a", "b", "d", "e", "f", "g", "h", "i"}
	for n, id := range ids {
		wg.Go(func() {
			s.mustExec(id, "exit "+string(rune('0'+n)))
			s.mustStart(id)
			if got := s.mustWait(id); got != uint32(n) {
				t.Errorf("exit status %d of %s", got, id)
			}
			if _, err := s.delete(context.Background(), &task.DeleteRequest{Id: "c", ExecId: id}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := s.Events.Drain(context.Background()); err != nil {
		t.Error(err)
	}
	for _, id := range ids {
		added, started, exit := slices.Index(s.daemon.events, "/tasks/exec-added "+id), slices.Index(s.daemon.events, "/tasks/exec-started "+id), slices.Index(s.daemon.events, "/tasks/exit "+id)
		if added < 0 || started < added || exit < started {
			t.Errorf("%s: added, started, exit at %d, %d, %d", id, added, started, exit)
		}
	}
}

// TestStateAnswersDuringOperations: a runtime that hangs holds nobody else up.
func TestStateAnswersDuringOperations(t *testing.T) {
	s := newShim(t)
	s.mustCreate(s.bundle("exec sleep 1000", map[string]string{"before-pause": "exec sleep 1000", "before-start": "sleep 0.3"}))
	started := make(chan struct{})
	go func() { s.mustStart(""); close(started) }()
	if !harness.Until(10*time.Second, func() bool { return s.containers["c"].init.startUnderWay() != nil }) {
		t.Fatal("no start")
	}
	if got := s.status(); got != tasktypes.Status_CREATED {
		t.Errorf("status %v", got)
	}
	_, err := s.delete(context.Background(), &task.DeleteRequest{Id: "c"})
	wantCode(t, "delete while it starts", err, ttrpc.FailedPrecondition)
	_, err = s.start(context.Background(), &task.StartRequest{Id: "c"})
	wantCode(t, "start while it starts", err, ttrpc.FailedPrecondition)
	<-started
	ctx, cancel := context.WithTimeout(context.Background(), harness.Slow(time.Second))
	defer cancel()
	paused := make(chan error, 1)
	go func() { _, err := s.pause(ctx, &task.PauseRequest{Id: "c"}); paused <- err }()
	if !harness.Until(10*time.Second, func() bool { return s.status() == tasktypes.Status_PAUSING }) {
		t.Error("no status while a pause hangs")
	}
	if _, err := s.kill(context.Background(), &task.KillRequest{Id: "c", Signal: 9}); err != nil {
		t.Error(err)
	}
	if got := s.mustWait(""); got != 137 {
		t.Errorf("exit status %d", got)
	}
	if err := <-paused; err == nil {
		t.Error("a pause that hangs has succeeded")
	}
}

func TestFailedCreateLeavesNothing(t *testing.T) {
	s := newShim(t)
	bundle := s.bundle("exit 0", map[string]string{"after-create": "echo no such luck >&2; exit 1"})
	_, err := s.create(context.Background(), s.request(bundle))
	if err == nil {
		t.Fatal("no error")
	}
	if left, _ := os.ReadDir(filepath.Join(s.root, "ns")); len(left) != 0 {
		t.Errorf("the runtime knows %v", left)
	}
	_, err = s.state(context.Background(), &task.StateRequest{Id: "c"})
	wantCode(t, "state", err, ttrpc.NotFound)
	s.wantEvents()
	s.mustCreate(s.bundle("exit 0", nil)) // the id is free again
}

// TestShutdownGivesUpACreation: the daemon has stopped waiting for it.
func TestShutdownGivesUpACreation(t *testing.T) {
	s := newShim(t)
	failed := make(chan error, 1)
	request := s.request(s.bundle("exit 0", map[string]string{"before-create": "exec sleep 1000"}))
	go func() { _, err := s.create(context.Background(), request); failed <- err }()
	if !harness.Until(10*time.Second, func() bool { return len(s.all()) == 1 }) {
		t.Fatal("no creation")
	}
	_, err := s.create(context.Background(), request)
	wantCode(t, "the same id again", err, ttrpc.AlreadyExists)
	if _, err := s.shutdown(context.Background(), &task.ShutdownRequest{Id: "c"}); err != nil {
		t.Error(err)
	}
	<-s.quit
	_, err = s.create(context.Background(), request)
	wantCode(t, "another one then", err, ttrpc.Unavailable)
	s.Close()
	if err := <-failed; err == nil {
		t.Error("the creation has succeeded")
	}
}

// TestShutdownSparesTheGroup: the daemon asks after it has deleted one container while another is being created.
func TestShutdownSparesTheGroup(t *testing.T) {
	s := newShim(t)
	created := make(chan error, 1)
	go func() {
		_, err := s.create(context.Background(), s.request(s.bundle("exit 0", map[string]string{"before-create": "sleep 0.5"})))
		created <- err
	}()
	if !harness.Until(10*time.Second, func() bool { return len(s.all()) == 1 }) {
		t.Fatal("no creation")
	}
	if _, err := s.shutdown(context.Background(), &task.ShutdownRequest{Id: "another"}); err != nil {
		t.Error(err)
	}
	if err := <-created; err != nil {
		t.Error(err)
	}
}

// TestLeaveEndsWithTheLastContainer: containerd 2.0 to 2.2 does not ask a sandbox's shim to shut down after a Delete.
func TestLeaveEndsWithTheLastContainer(t *testing.T) {
	s := newShim(t)
	var busy atomic.Bool
	busy.Store(true)
	s.Busy = busy.Load
	ctx := context.Background()
	for range 2 {
		if _, err := s.create(ctx, s.request(s.bundle("exit 0", nil))); err != nil {
			t.Fatal(err)
		}
		s.Leave()
		select {
		case <-s.quit:
			t.Fatal("it has left a container")
		default:
		}
		if _, err := s.delete(ctx, &task.DeleteRequest{Id: "c"}); err != nil {
			t.Fatal(err)
		}
		if busy.Swap(false) { // what is busy has not left itself
			select {
			case <-s.quit:
				t.Fatal("it ends though it is busy")
			default:
			}
		}
	}
	<-s.quit
}

// TestExecThatCannotStart: nobody waits for it for ever, and it looks as if it had not been started.
func TestExecThatCannotStart(t *testing.T) {
	s := newShim(t)
	s.mustCreate(s.bundle("exec sleep 1000", map[string]string{"before-exec": "exit 1"}))
	s.mustStart("")
	s.mustExec("e", "exit 0")
	if _, err := s.start(context.Background(), &task.StartRequest{Id: "c", ExecId: "e"}); err == nil {
		t.Error("it has started")
	}
	if code := s.mustWait("e"); code != notStarted {
		t.Errorf("exit code %d", code)
	}
	state, err := s.state(context.Background(), &task.StateRequest{Id: "c", ExecId: "e"})
	if err != nil || state.Status != tasktypes.Status_CREATED {
		t.Errorf("%v, %v", state, err)
	}
}

// TestInputEndsBeforeStart: a client ends the input as soon as it has written to the fifo, which it can while Start is
// still opening the other streams.
func TestInputEndsBeforeStart(t *testing.T) {
	s := newShim(t)
	s.mustCreate(s.bundle("exec sleep 1000", nil))
	s.mustStart("")
	fifo := filepath.Join(t.TempDir(), "stdin")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	r := s.execRequest("e", "read line; cat; test $line = typed && exit 7")
	r.Stdin = fifo
	if _, err := s.exec(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	client, err := os.OpenFile(fifo, os.O_RDWR, 0) // both ends, so that it need not wait for Start
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.WriteString("typed\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.closeIO(context.Background(), &task.CloseIORequest{Id: "c", ExecId: "e", Stdin: true}); err != nil {
		t.Fatal(err)
	}
	s.mustStart("e")
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if code := s.mustWait("e"); code != 7 {
		t.Errorf("exit code %d", code)
	}
}

func TestErrorClasses(t *testing.T) {
	s := newShim(t)
	ctx := context.Background()
	for name, c := range map[string]struct {
		request *task.CreateTaskRequest
		want    ttrpc.Code
	}{
		"no id":           {&task.CreateTaskRequest{Bundle: s.bundle("", nil)}, ttrpc.InvalidArgument},
		"relative bundle": {&task.CreateTaskRequest{Id: "x", Bundle: "here"}, ttrpc.InvalidArgument},
		"no bundle":       {&task.CreateTaskRequest{Id: "x", Bundle: "/nowhere/at/all"}, ttrpc.NotFound},
		"no config":       {&task.CreateTaskRequest{Id: "x", Bundle: t.TempDir()}, ttrpc.NotFound},
		"broken config":   {&task.CreateTaskRequest{Id: "x", Bundle: s.bundle("", map[string]string{"config.json": "{"})}, ttrpc.InvalidArgument},
		"unknown options": {&task.CreateTaskRequest{Id: "x", Bundle: s.bundle("", nil), Options: &known.Any{TypeUrl: "no.such.Type"}}, ttrpc.InvalidArgument},
		"no fifo":         {&task.CreateTaskRequest{Id: "x", Bundle: s.bundle("", nil), Stdout: "/nowhere/at/all"}, ttrpc.NotFound},
	} {
		_, err := s.create(ctx, c.request)
		wantCode(t, name, err, c.want)
	}
	s.mustCreate(s.bundle("exec sleep 1000", nil))
	_, err := s.create(ctx, s.request(s.bundle("", nil)))
	wantCode(t, "the same id", err, ttrpc.AlreadyExists)
	_, err = s.start(ctx, &task.StartRequest{Id: "c", ExecId: "none"})
	wantCode(t, "start of an unknown process", err, ttrpc.NotFound)
	_, err = s.pause(ctx, &task.PauseRequest{Id: "c"})
	wantCode(t, "pause of a created container", err, ttrpc.FailedPrecondition)
	s.mustStart("")
	_, err = s.start(ctx, &task.StartRequest{Id: "c"})
	wantCode(t, "a second start", err, ttrpc.FailedPrecondition)
	_, err = s.resume(ctx, &task.ResumeRequest{Id: "c"})
	wantCode(t, "resume of a running container", err, ttrpc.FailedPrecondition)
	_, err = s.delete(ctx, &task.DeleteRequest{Id: "c"})
	wantCode(t, "delete of a running container", err, ttrpc.FailedPrecondition)
	s.mustExec("e", "exit 0")
	_, err = s.exec(ctx, s.execRequest("e", ""))
	wantCode(t, "the same process id", err, ttrpc.AlreadyExists)
	_, err = s.exec(ctx, &task.ExecProcessRequest{Id: "c", ExecId: "f", Spec: &known.Any{Value: []byte("[")}})
	wantCode(t, "a spec that is no JSON", err, ttrpc.InvalidArgument)
	_, err = s.kill(ctx, &task.KillRequest{Id: "c", ExecId: "e", Signal: 9})
	wantCode(t, "kill before start", err, ttrpc.FailedPrecondition)
	s.mustStart("e")
	s.mustWait("e")
	_, err = s.kill(ctx, &task.KillRequest{Id: "c", ExecId: "e", Signal: 9})
	wantCode(t, "kill after the end", err, ttrpc.NotFound)
	_, err = s.update(ctx, &task.UpdateTaskRequest{Id: "c", Resources: &known.Any{Value: []byte("no")}})
	wantCode(t, "resources that are no JSON", err, ttrpc.InvalidArgument)
}

// TestPausedIsAllProcesses' status, and ends with the container.
func TestPaused(t *testing.T) {
	s := newShim(t)
	s.mustCreate(s.bundle("exec sleep 1000", nil))
	s.mustStart("")
	s.mustExec("e", "exec sleep 1000")
	s.mustStart("e")
	if _, err := s.pause(context.Background(), &task.PauseRequest{Id: "c"}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"", "e"} {
		answer, err := s.state(context.Background(), &task.StateRequest{Id: "c", ExecId: id})
		if err != nil || answer.Status != tasktypes.Status_PAUSED {
			t.Errorf("process %q: %v, %v", id, answer, err)
		}
	}
	_, err := s.exec(context.Background(), s.execRequest("f", "exit"))
	wantCode(t, "exec", err, ttrpc.FailedPrecondition)
	if _, err := s.resume(context.Background(), &task.ResumeRequest{Id: "c"}); err != nil {
		t.Error(err)
	}
	if got := s.status(); got != tasktypes.Status_RUNNING {
		t.Errorf("status %v", got)
	}
	if _, err := s.kill(context.Background(), &task.KillRequest{Id: "c", ExecId: "e", Signal: 15}); err != nil {
		t.Error(err)
	}
	if got := s.mustWait("e"); got != 143 {
		t.Errorf("exit status %d", got)
	}
}

// TestTombstonesAreFew: a pod's shim sees any number of containers.
func TestTombstonesAreFew(t *testing.T) {
	s := newShim(t)
	for i := range 3 * maxTombstones {
		s.forget(strconv.Itoa(i), &task.DeleteResponse{Pid: uint32(i)})
	}
	last, forgotten := strconv.Itoa(3*maxTombstones-1), strconv.Itoa(2*maxTombstones-1)
	if answer, err := s.delete(context.Background(), &task.DeleteRequest{Id: last}); err != nil || answer.Pid != 3*maxTombstones-1 {
		t.Errorf("%v, %v", answer, err)
	}
	_, err := s.delete(context.Background(), &task.DeleteRequest{Id: forgotten})
	wantCode(t, "the one before the last "+strconv.Itoa(maxTombstones), err, ttrpc.NotFound)
	if len(s.deleted) != maxTombstones {
		t.Errorf("%d tombstones", len(s.deleted))
	}
}
