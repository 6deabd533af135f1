package shim

import (
	"context"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	events "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// sink takes shims' events, as a manager would.
type sink struct {
	t      *testing.T
	path   string
	server *ttrpc.Server

	mu     sync.Mutex
	topics []string
}

func newSink(t *testing.T, path string) *sink {
	t.Helper()
	s := &sink{t: t, path: path}
	s.start()
	t.Cleanup(func() { s.stop() })
	return s
}

func (s *sink) start() {
	s.t.Helper()
	os.Remove(s.path)
	server, err := ttrpc.NewServer()
	if err != nil {
		s.t.Fatal(err)
	}
	server.RegisterService("containerd.services.events.ttrpc.v1.Events", &ttrpc.ServiceDesc{Methods: map[string]ttrpc.Method{
		"Forward": method(s.take),
	}})
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.path, Net: "unix"})
	if err != nil {
		s.t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	s.server = server
	go server.Serve(context.Background(), l) //nolint:errcheck // it ends with Close
}

// stop leaves the socket, as one that is killed does.
func (s *sink) stop() { s.server.Close() } //nolint:errcheck // the listener is gone in any case

// age makes the socket look like one that was made later, after a long outage.
func (s *sink) age(by time.Duration) {
	s.t.Helper()
	at := time.Now().Add(by)
	if err := os.Chtimes(s.path, at, at); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sink) take(_ context.Context, r *events.ForwardRequest) (*emptypb.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.topics = append(s.topics, r.Envelope.Topic)
	return &emptypb.Empty{}, nil
}

func (s *sink) has(topic string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.topics, topic)
}
