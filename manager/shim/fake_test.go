package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
)

// The environment of a fake shim, which is this program: how it behaves, in words, and where its sockets are.
const (
	fakeWords = "FAKE_SHIM"
	fakeDir   = "FAKE_DIR"
	fakeServe = "FAKE_SERVE" // set in its server
)

// TestMain is, in another process, a shim.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv(fakeServe) != "":
		serveFake()
	case os.Getenv(fakeWords) != "":
		f := fake{words: strings.Fields(os.Getenv(fakeWords)), dir: os.Getenv(fakeDir)}
		if err := f.main(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		os.Exit(m.Run())
	}
}

type fake struct {
	words []string
	dir   string
}

func (f fake) is(word string) bool { return slices.Contains(f.words, word) }

// argument is what follows a flag of the command line.
func argument(name string) string {
	if i := slices.Index(os.Args, name); i > 0 && i+1 < len(os.Args) {
		return os.Args[i+1]
	}
	return ""
}

func (f fake) main() error {
	action := os.Args[len(os.Args)-1]
	if err := f.count(action); err != nil {
		return err
	}
	switch action {
	case "start":
		return f.start()
	case "delete":
		return f.delete()
	case "-info":
		return f.info()
	case "serve":
		if f.is("serves") {
			serveFake()
			return nil
		}
	}
	return fmt.Errorf("what is %q?", action)
}

// count notes a call in a file that the test reads.
func (f fake) count(action string) error {
	calls, err := os.OpenFile(filepath.Join(f.dir, "calls"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer calls.Close()
	_, err = fmt.Fprintln(calls, action)
	return err
}

func (f fake) start() error {
	stdin, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	var params bootapi.BootstrapParams
	isParams := proto.Unmarshal(stdin, &params) == nil && params.InstanceID == argument("-id") && params.Namespace != ""
	switch {
	case f.is("old") && isParams:
		if err := f.serve("unix://" + filepath.Join(f.dir, "try")); err != nil { // such a shim fails when its server is there
			return err
		}
		return fmt.Errorf("type with url %s: not found", argument("-id"))
	case f.is("new") && !isParams:
		return errors.New("started through the deprecated API")
	}
	if f.is("old") && len(stdin) > 0 {
		var options anypb.Any
		if err := proto.Unmarshal(stdin, &options); err != nil || options.TypeUrl != "test/Options" {
			return fmt.Errorf("options %v, %w", &options, err)
		}
	}
	address := "unix://" + filepath.Join(f.dir, argument("-id"))
	if f.is("group") {
		address = "unix://" + filepath.Join(f.dir, "group")
	}
	if f.is("usual") {
		address = addressIn(f.dir, argument("-address"), argument("-namespace"), argument("-id"))
	}
	if f.is("hostile") {
		return f.hostile(address)
	}
	if !f.is("nobody") {
		if err := f.serve(address); err != nil {
			return err
		}
	}
	return f.answer(address)
}

func (f fake) answer(address string) error {
	version := int32(3)
	if f.is("says2") {
		version = 2
	}
	switch {
	case f.is("plain"):
		fmt.Println(address)
	case f.is("json"):
		fmt.Printf("{\"version\":%d,\"address\":%q,\"protocol\":\"ttrpc\"}\n", version, address)
	default:
		data, err := proto.Marshal(&bootapi.BootstrapResult{Version: version, Address: address, Protocol: "ttrpc"})
		if err != nil {
			return err
		}
		os.Stdout.Write(data) //nolint:errcheck // the test sees it
	}
	if f.is("chatty") {
		fmt.Fprintln(os.Stderr, strings.Repeat("words ", 100000))
	}
	return nil
}

// hostile misbehaves when its server is there.
func (f fake) hostile(address string) error {
	if err := f.serve(address); err != nil {
		return err
	}
	switch f.words[len(f.words)-1] {
	case "garbage":
		fmt.Print("\x00\xff garbage\n and more")
	case "lines":
		fmt.Printf("%s\nlevel=info msg=hello\n", address)
	case "huge":
		for {
			fmt.Print(strings.Repeat("x", 4096))
		}
	case "hang":
		exec.Command("sleep", "1000").Start() //nolint:errcheck // in the same group
		time.Sleep(time.Hour)
	case "silent":
	case "fails":
		fmt.Println(address)
		return errors.New("no space left on device")
	case "long":
		fmt.Print("unix:///" + strings.Repeat("x", 200))
	case "relative":
		fmt.Print("unix://x/y")
	case "vsock":
		fmt.Print("vsock://3:4")
	case "version":
		fmt.Printf(`{"version":9,"address":%q,"protocol":"ttrpc"}`, address)
	case "grpc":
		fmt.Printf(`{"version":3,"address":%q,"protocol":"grpc"}`, address)
	case "json":
		fmt.Print(`{"version":`)
	case "mute":
		return f.answer(address)
	}
	return nil
}

// serve leaves a server, unless one is there, in a session of its own.
func (f fake) serve(address string) error {
	path := strings.TrimPrefix(address, "unix://")
	if conn, err := net.Dial("unix", path); err == nil {
		return conn.Close()
	}
	os.Remove(path)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false)
	socket, err := l.File()
	if err != nil {
		return err
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fakeServe+"="+path)
	cmd.ExtraFiles = []*os.File{socket}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if f.is("holds") {
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	}
	return cmd.Start()
}

func (f fake) delete() error {
	switch {
	case f.is("delete-hangs"):
		time.Sleep(time.Hour)
	case f.is("delete-fails"):
		return errors.New("the container is stuck")
	case f.is("delete-garbage"):
		fmt.Print("\xff\xff\xff")
		return nil
	}
	if dir, err := os.Getwd(); err != nil || dir != argument("-bundle") {
		return fmt.Errorf("in %s, and the bundle is %s, %w", dir, argument("-bundle"), err)
	}
	fmt.Fprintln(os.Stderr, "warning: it was not nice")
	data, err := proto.Marshal(&taskv3.DeleteResponse{Pid: 42, ExitStatus: 137})
	os.Stdout.Write(data) //nolint:errcheck // the test sees it
	return err
}

func (f fake) info() error {
	if f.is("info-garbage") {
		fmt.Print("\xff\xff\xff")
		return nil
	}
	stdin, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	info := &types.RuntimeInfo{Name: "fake"}
	if len(stdin) > 0 {
		info.Options = &anypb.Any{}
		if err := proto.Unmarshal(stdin, info.Options); err != nil {
			return err
		}
	}
	data, err := proto.Marshal(info)
	os.Stdout.Write(data) //nolint:errcheck // the test sees it
	return err
}

// fakeServer answers on file 3.
type fakeServer struct {
	fake
	mu    sync.Mutex
	conns []net.Conn
	waits int
}

func serveFake() {
	s := &fakeServer{fake: fake{words: strings.Fields(os.Getenv(fakeWords)), dir: os.Getenv(fakeDir)}}
	if s.is("mute") {
		time.Sleep(time.Hour)
	}
	server, err := ttrpc.NewServer()
	if err != nil {
		panic(err)
	}
	if !s.is("only3") {
		server.RegisterService("containerd.task.v2.Task", &ttrpc.ServiceDesc{Methods: s.methods()})
	}
	if !s.is("only2") {
		server.RegisterService("containerd.task.v3.Task", &ttrpc.ServiceDesc{Methods: s.methods()})
	}
	l, err := net.FileListener(os.NewFile(3, "socket"))
	if err != nil {
		panic(err)
	}
	server.Serve(context.Background(), &tracked{l, s}) //nolint:errcheck // it ends with the process
}

// tracked knows its connections.
type tracked struct {
	net.Listener
	server *fakeServer
}

func (t *tracked) Accept() (net.Conn, error) {
	conn, err := t.Listener.Accept()
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	t.server.conns = append(t.server.conns, conn)
	return conn, err
}

func method[R any, A proto.Message](do func(context.Context, *R) (A, error)) ttrpc.Method {
	return func(ctx context.Context, unmarshal func(any) error) (any, error) {
		r := new(R)
		if err := unmarshal(r); err != nil {
			return nil, err
		}
		return do(ctx, r)
	}
}

func (s *fakeServer) methods() map[string]ttrpc.Method {
	return map[string]ttrpc.Method{
		"Connect":  method(s.connect),
		"State":    method(s.state),
		"Pause":    method(s.hangUp),
		"Resume":   method(s.resume),
		"Wait":     method(s.wait),
		"Shutdown": method(s.shutdown),
	}
}

func (s *fakeServer) connect(ctx context.Context, _ *taskv3.ConnectRequest) (*taskv3.ConnectResponse, error) {
	if namespace, err := namespaces.NamespaceRequired(ctx); err != nil || namespace != "test" {
		return nil, fmt.Errorf("namespace %q, %w", namespace, err)
	}
	switch {
	case s.is("unknown"): // as shims in Rust answer before Create
		return nil, status.Error(codes.NotFound, "container")
	case s.is("liar"):
		return &taskv3.ConnectResponse{ShimPid: uint32(os.Getppid())}, nil
	}
	return &taskv3.ConnectResponse{ShimPid: uint32(os.Getpid())}, nil
}

func (s *fakeServer) state(_ context.Context, r *taskv3.StateRequest) (*taskv3.StateResponse, error) {
	return &taskv3.StateResponse{ID: r.ID, Pid: uint32(os.Getpid()), Status: tasktypes.Status_RUNNING}, nil
}

// hangUp breaks all connections.
func (s *fakeServer) hangUp(context.Context, *taskv3.PauseRequest) (*emptypb.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.Close()
	}
	s.conns = nil
	return nil, errors.New("nobody hears it")
}

func (s *fakeServer) resume(context.Context, *taskv3.ResumeRequest) (*emptypb.Empty, error) {
	return nil, status.Error(codes.FailedPrecondition, "it is not paused")
}

// wait answers the second time.
func (s *fakeServer) wait(_ context.Context, _ *taskv3.WaitRequest) (*taskv3.WaitResponse, error) {
	s.mu.Lock()
	s.waits++
	n := s.waits
	s.mu.Unlock()
	if n == 1 {
		select {}
	}
	return &taskv3.WaitResponse{ExitStatus: 9}, nil
}

func (s *fakeServer) shutdown(context.Context, *taskv3.ShutdownRequest) (*emptypb.Empty, error) {
	switch {
	case s.is("hangs"):
		select {}
	case s.is("stays"):
		return &emptypb.Empty{}, nil
	case s.is("refuses"):
		return nil, status.Error(codes.FailedPrecondition, "busy")
	}
	os.Exit(0)
	return nil, nil
}
