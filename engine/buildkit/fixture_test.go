package buildkit

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/moby/api/types/events"
	"github.com/opencontainers/go-digest"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	containerd "github.com/containerd/containerd/v2/client"
)

// The test's own program is the daemon of the tests.
func TestMain(m *testing.M) {
	for i, arg := range os.Args {
		if arg == "--addr" {
			os.Exit(serve(strings.TrimPrefix(os.Args[i+1], "unix://")))
		}
	}
	os.Exit(m.Run())
}

func serve(socket string) int {
	_ = os.Remove(socket)
	l, err := net.Listen("unix", socket)
	if err != nil {
		return 1
	}
	s := grpc.NewServer()
	controlapi.RegisterControlServer(s, control{})
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	go func() { <-end; s.Stop() }()
	if err := s.Serve(l); err != nil {
		return 1
	}
	return 0
}

// control is a daemon that answers with what it was asked.
type control struct {
	controlapi.UnimplementedControlServer
}

const made = digest.Digest("sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")

func (control) Solve(_ context.Context, r *controlapi.SolveRequest) (*controlapi.SolveResponse, error) {
	if text, ok := r.FrontendAttrs["fail"]; ok {
		st, err := status.New(codes.InvalidArgument, text).WithDetails(&errdetails.ErrorInfo{Reason: "detail"})
		if err != nil {
			return nil, err
		}
		return nil, st.Err()
	}
	res := map[string]string{digestKey: made.String()}
	for _, e := range r.Exporters {
		for k, v := range e.Attrs {
			res[e.Type+"."+k] = v
		}
		res[namesKey] = e.Attrs[nameAttribute]
	}
	return &controlapi.SolveResponse{ExporterResponse: res}, nil
}

func (control) Status(r *controlapi.StatusRequest, s controlapi.Control_StatusServer) error {
	for _, name := range []string{"first", "second"} {
		if err := s.Send(&controlapi.StatusResponse{Vertexes: []*controlapi.Vertex{{Name: name + " of " + r.Ref}}}); err != nil {
			return err
		}
	}
	return nil
}

func (control) DiskUsage(context.Context, *controlapi.DiskUsageRequest) (*controlapi.DiskUsageResponse, error) {
	return &controlapi.DiskUsageResponse{Record: []*controlapi.UsageRecord{
		{ID: "used", Size: 1, InUse: true}, {ID: "shared", Size: 2, Shared: true}, {ID: "free", Size: 4, RecordType: "regular"},
	}}, nil
}

func (control) Prune(r *controlapi.PruneRequest, s controlapi.Control_PruneServer) error {
	if r.KeepDuration != int64(time.Hour) || !r.All {
		return errors.New("not what was asked")
	}
	return errors.Join(s.Send(&controlapi.UsageRecord{ID: "a", Size: 3}), s.Send(&controlapi.UsageRecord{ID: "b", Size: 4}))
}

// Session says who it is, and then what it hears.
func (control) Session(s controlapi.Control_SessionServer) error {
	md, _ := metadata.FromIncomingContext(s.Context())
	if err := s.Send(&controlapi.BytesMessage{Data: []byte(strings.Join(md.Get(sessionHeader+"uuid"), ","))}); err != nil {
		return err
	}
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.Send(m); err != nil {
			return err
		}
	}
}

// notes is what others are told.
type notes struct {
	mu    sync.Mutex
	built []string
	told  []string
}

func (n *notes) Built(_ context.Context, build string, image digest.Digest, names []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.built = append(n.built, build+" "+image.Encoded()[:4]+" "+strings.Join(names, ","))
}

func (n *notes) Publish(kind events.Type, action events.Action, _ string, a map[string]string) {
	n.told = append(n.told, string(kind)+" "+string(action)+" "+a["reclaimed"])
}

// idle is how long daemons of tests live unless a test wants less.
const idle = time.Hour

func start(t *testing.T, change func(*Options)) (*Service, *notes) {
	t.Helper()
	t.Setenv("GORACE", "atexit_sleep_ms=0") // daemons are this program
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "bk") //nolint:usetesting // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	// There is no manager: nothing of it can be left.
	manager, err := containerd.New(filepath.Join(dir, "none"), containerd.WithTimeout(time.Millisecond), containerd.WithDefaultNamespace("moby"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = manager.Close() })
	n := &notes{}
	o := Options{
		Program: self, Root: filepath.Join(dir, "root"), State: filepath.Join(dir, "state"), Idle: idle,
		Settings: func() Settings { return Settings{Namespace: "moby"} }, Manager: manager, Images: n, Events: n, Steps: &places{},
	}
	if change != nil {
		change(&o)
	}
	s := New(o)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, n
}
