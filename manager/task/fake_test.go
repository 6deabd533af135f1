package task

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	eventtypes "github.com/containerd/containerd/api/events"
	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// fakeShim is one of them; it serves the task service.
type fakeShim struct {
	taskv3.TTRPCTaskService
	f                              *fakeShims
	id, namespace, bundle, address string
	child                          *exec.Cmd // its death is the shim's
	server                         *ttrpc.Server
	listener                       *tracked
	ended                          sync.Once

	mu        sync.Mutex
	over      bool
	removed   bool // the container is
	processes map[string]*fakeProcess
	restored  string // where from
}

func (s *fakeShim) checkpoint() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.restored
}

type fakeProcess struct {
	taskv3.StateResponse
	done chan struct{}
}

func (s *fakeShim) serve() error {
	s.child = exec.Command("sleep", "600")
	if err := s.child.Start(); err != nil {
		return err
	}
	binary, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", s.child.Process.Pid))
	if err != nil {
		return err
	}
	// The launcher kills a shim only if it runs what the bundle names.
	if err := os.WriteFile(filepath.Join(s.bundle, "shim-binary-path"), []byte(binary), 0o600); err != nil {
		return err
	}
	s.processes = map[string]*fakeProcess{}
	server, err := ttrpc.NewServer()
	if err != nil {
		return err
	}
	s.server = server
	taskv3.RegisterTTRPCTaskService(server, s)
	os.Remove(s.address)
	l, err := net.Listen("unix", s.address)
	if err != nil {
		return err
	}
	s.listener = &tracked{Listener: l}
	go server.Serve(context.Background(), s.listener) //nolint:errcheck // it ends with the shim
	go func() {
		s.child.Wait() //nolint:errcheck // it is killed
		s.die()
	}()
	return nil
}

// tracked is a listener that ends as the kernel ends it for a process that dies: with its connections, also those that
// are in use.
type tracked struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
	over  bool
}

func (l *tracked) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		conn.Close()
		return nil, net.ErrClosed
	}
	l.conns = append(l.conns, conn)
	return conn, nil
}

func (l *tracked) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	l.Close() // and with it the socket's file
	for _, conn := range l.conns {
		conn.Close()
	}
}

func (s *fakeShim) dead() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

func (s *fakeShim) die() {
	s.ended.Do(func() {
		s.mu.Lock()
		s.over = true
		s.mu.Unlock()
		s.child.Process.Kill() //nolint:errcheck // it may have ended
		s.listener.end()
		s.server.Close() //nolint:errcheck // it is killed
	})
}

func (s *fakeShim) meet(method string) error {
	err := s.f.meet(method, s)
	if errors.Is(err, errBroken) {
		return errgrpc.ToGRPC(fmt.Errorf("%s: %w", method, err))
	}
	return err
}

// process is one of Exec, or the init process, which may not have been created; s.mu is held.
func (s *fakeShim) process(exec string) *fakeProcess {
	if p := s.processes[exec]; p != nil {
		return p
	}
	return &fakeProcess{}
}

func (s *fakeShim) find(exec string) (*fakeProcess, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.processes[exec]; p != nil {
		return p, nil
	}
	return nil, errgrpc.ToGRPC(fmt.Errorf("process %q of %s: %w", exec, s.id, errdefs.ErrNotFound))
}

// tell sends an event to the manager, in order.
func (s *fakeShim) tell(topic string, event any) {
	s.f.mu.Lock()
	forward, silent := s.f.forward, s.f.silent
	s.f.mu.Unlock()
	if silent {
		return
	}
	if err := forward(context.Background(), s.envelope(topic, event)); err != nil {
		s.f.t.Error("forward:", err)
	}
}

func (s *fakeShim) envelope(topic string, event any) *events.Envelope {
	a, err := typeurl.MarshalAny(event)
	if err != nil {
		s.f.t.Error(err)
	}
	return &events.Envelope{Timestamp: time.Now(), Namespace: s.namespace, Topic: topic, Event: a}
}

func (s *fakeShim) exitEnvelope(e exit) *events.Envelope {
	return s.envelope("/tasks/exit", &eventtypes.TaskExit{ContainerID: s.id, ID: s.id, Pid: e.Pid, ExitStatus: e.Status, ExitedAt: e.time()})
}

// exit ends a process, with the record that our shim writes for the init process.
func (s *fakeShim) exit(exec string, status uint32, recorded bool) exit {
	s.mu.Lock()
	p := s.process(exec)
	e := exit{Pid: p.Pid, Status: status, At: time.Now().UTC()}
	if exec == "" && recorded {
		text := fmt.Sprintf(`{"pid":%d,"status":%d,"exited_at":%q}`, e.Pid, status, e.At.Format(time.RFC3339Nano))
		if err := os.WriteFile(filepath.Join(s.bundle, "exit"), []byte(text), 0o600); err != nil {
			s.f.t.Error(err)
		}
	}
	p.Status, p.ExitStatus, p.ExitedAt = tasktypes.Status_STOPPED, status, timestamppb.New(e.At)
	s.mu.Unlock()
	s.tellExit(exec, e)
	close(p.done)
	return e
}

func (s *fakeShim) tellExit(exec string, e exit) {
	id := exec
	if id == "" {
		id = s.id
	}
	s.tell("/tasks/exit", &eventtypes.TaskExit{ContainerID: s.id, ID: id, Pid: e.Pid, ExitStatus: e.Status, ExitedAt: e.time()})
}

func (s *fakeShim) newPid() uint32 {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.f.pids++
	return s.f.pids
}

func (s *fakeShim) Connect(context.Context, *taskv3.ConnectRequest) (*taskv3.ConnectResponse, error) {
	if err := s.meet("Connect"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return &taskv3.ConnectResponse{ShimPid: uint32(s.child.Process.Pid), TaskPid: s.process("").Pid}, nil
}

func (s *fakeShim) Create(_ context.Context, r *taskv3.CreateTaskRequest) (*taskv3.CreateTaskResponse, error) {
	s.mu.Lock()
	s.restored = r.Checkpoint
	s.mu.Unlock()
	if err := s.meet("Create"); err != nil {
		return nil, err
	}
	pid := s.newPid()
	s.mu.Lock()
	p := &fakeProcess{done: make(chan struct{})}
	p.Pid, p.Status, p.Stdin, p.Stdout, p.Stderr, p.Terminal = pid, tasktypes.Status_CREATED, r.Stdin, r.Stdout, r.Stderr, r.Terminal
	s.processes[""] = p
	s.mu.Unlock()
	if err := os.WriteFile(filepath.Join(s.bundle, "init.pid"), []byte(fmt.Sprint(pid)), 0o600); err != nil {
		return nil, err
	}
	s.tell("/tasks/create", &eventtypes.TaskCreate{ContainerID: s.id, Bundle: r.Bundle, Pid: pid})
	if err := s.meet("Create done"); err != nil {
		return nil, err
	}
	return &taskv3.CreateTaskResponse{Pid: pid}, nil
}

func (s *fakeShim) Start(_ context.Context, r *taskv3.StartRequest) (*taskv3.StartResponse, error) {
	if err := s.meet("Start"); err != nil {
		return nil, err
	}
	p, err := s.find(r.ExecID)
	if err != nil {
		return nil, err
	}
	pid := s.newPid()
	s.mu.Lock()
	if r.ExecID == "" {
		pid = p.Pid
	}
	p.Pid, p.Status = pid, tasktypes.Status_RUNNING
	s.mu.Unlock()
	if r.ExecID == "" {
		s.tell("/tasks/start", &eventtypes.TaskStart{ContainerID: s.id, Pid: pid})
	} else {
		s.tell("/tasks/exec-started", &eventtypes.TaskExecStarted{ContainerID: s.id, ExecID: r.ExecID, Pid: pid})
	}
	return &taskv3.StartResponse{Pid: pid}, nil
}

func (s *fakeShim) Exec(_ context.Context, r *taskv3.ExecProcessRequest) (*emptypb.Empty, error) {
	if err := s.meet("Exec"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	p := &fakeProcess{done: make(chan struct{})}
	p.Status = tasktypes.Status_CREATED
	s.processes[r.ExecID] = p
	s.mu.Unlock()
	s.tell("/tasks/exec-added", &eventtypes.TaskExecAdded{ContainerID: s.id, ExecID: r.ExecID})
	return &emptypb.Empty{}, nil
}

func (s *fakeShim) State(_ context.Context, r *taskv3.StateRequest) (*taskv3.StateResponse, error) {
	if err := s.meet("State"); err != nil {
		return nil, err
	}
	p, err := s.find(r.ExecID)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return &taskv3.StateResponse{
		ID: s.id, ExecID: r.ExecID, Pid: p.Pid, Status: p.Status, Stdin: p.Stdin, Stdout: p.Stdout,
		Stderr: p.Stderr, Terminal: p.Terminal, ExitStatus: p.ExitStatus, ExitedAt: p.ExitedAt,
	}, nil
}

func (s *fakeShim) Kill(_ context.Context, r *taskv3.KillRequest) (*emptypb.Empty, error) {
	if err := s.meet("Kill"); err != nil {
		return nil, err
	}
	p, err := s.find(r.ExecID)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	stopped := p.Status == tasktypes.Status_STOPPED
	s.mu.Unlock()
	if stopped {
		return nil, errgrpc.ToGRPC(fmt.Errorf("process already finished: %w", errdefs.ErrNotFound))
	}
	s.exit(r.ExecID, 128+r.Signal, true)
	return &emptypb.Empty{}, nil
}

func (s *fakeShim) Wait(ctx context.Context, r *taskv3.WaitRequest) (*taskv3.WaitResponse, error) {
	if err := s.meet("Wait"); err != nil {
		return nil, err
	}
	p, err := s.find(r.ExecID)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.done:
		s.mu.Lock()
		defer s.mu.Unlock()
		return &taskv3.WaitResponse{ExitStatus: p.ExitStatus, ExitedAt: p.ExitedAt}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Delete of a task that was created only kills it, as runc's.
func (s *fakeShim) Delete(_ context.Context, r *taskv3.DeleteRequest) (*taskv3.DeleteResponse, error) {
	if err := s.meet("Delete"); err != nil {
		return nil, err
	}
	p, err := s.find(r.ExecID)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	status := p.Status
	s.mu.Unlock()
	switch status {
	case tasktypes.Status_RUNNING:
		return nil, errgrpc.ToGRPC(fmt.Errorf("cannot delete a running process: %w", errdefs.ErrFailedPrecondition))
	case tasktypes.Status_CREATED:
		s.exit(r.ExecID, killed, true)
	default:
	}
	s.mu.Lock()
	answer := &taskv3.DeleteResponse{Pid: p.Pid, ExitStatus: p.ExitStatus, ExitedAt: p.ExitedAt}
	delete(s.processes, r.ExecID)
	s.mu.Unlock()
	if r.ExecID == "" {
		s.tell("/tasks/delete", &eventtypes.TaskDelete{ContainerID: s.id, Pid: p.Pid, ExitStatus: answer.ExitStatus, ExitedAt: answer.ExitedAt})
	}
	if err := s.meet("Delete done"); err != nil {
		return nil, err
	}
	return answer, nil
}

func (s *fakeShim) Shutdown(context.Context, *taskv3.ShutdownRequest) (*emptypb.Empty, error) {
	if err := s.meet("Shutdown"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	busy := s.processes[""] != nil && !s.removed
	s.mu.Unlock()
	if !busy {
		go s.die()
	}
	return &emptypb.Empty{}, nil
}

func (s *fakeShim) simple(method string) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, s.meet(method)
}

func (s *fakeShim) Pause(context.Context, *taskv3.PauseRequest) (*emptypb.Empty, error) {
	return s.simple("Pause")
}

func (s *fakeShim) Resume(context.Context, *taskv3.ResumeRequest) (*emptypb.Empty, error) {
	return s.simple("Resume")
}

func (s *fakeShim) ResizePty(context.Context, *taskv3.ResizePtyRequest) (*emptypb.Empty, error) {
	return s.simple("ResizePty")
}

func (s *fakeShim) CloseIO(context.Context, *taskv3.CloseIORequest) (*emptypb.Empty, error) {
	return s.simple("CloseIO")
}

func (s *fakeShim) Update(context.Context, *taskv3.UpdateTaskRequest) (*emptypb.Empty, error) {
	return s.simple("Update")
}

func (s *fakeShim) Checkpoint(_ context.Context, r *taskv3.CheckpointTaskRequest) (*emptypb.Empty, error) {
	if err := s.meet("Checkpoint"); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, os.WriteFile(filepath.Join(r.Path, "pages"), []byte(strings.Repeat("p", 100)), 0o600)
}

func (s *fakeShim) Pids(context.Context, *taskv3.PidsRequest) (*taskv3.PidsResponse, error) {
	if err := s.meet("Pids"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var answer taskv3.PidsResponse
	for _, p := range s.processes {
		answer.Processes = append(answer.Processes, &tasktypes.ProcessInfo{Pid: p.Pid})
	}
	return &answer, nil
}

func (s *fakeShim) Stats(context.Context, *taskv3.StatsRequest) (*taskv3.StatsResponse, error) {
	if err := s.meet("Stats"); err != nil {
		return nil, err
	}
	return &taskv3.StatsResponse{Stats: &anypb.Any{TypeUrl: "stats", Value: []byte(s.id)}}, nil
}
