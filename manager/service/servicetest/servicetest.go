// Package servicetest is what the tests of the services share: containerd's stores in a directory of the test, and a
// connection to the services over them.
//
// With GANTRY_ORACLE, the path of a containerd's socket, the connection is to that one: the tables then say where it
// answers otherwise. It is for a look by hand; nothing sets it.
package servicetest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
)

// Stores are containerd's, without anything in them.
type Stores struct {
	DB        *metadata.DB
	Events    *Recorder
	Collected atomic.Int32 // how often Collect was called
}

// Open opens the stores in a directory that goes with the test. The snapshotter is native, which needs no root.
func Open(t *testing.T) *Stores {
	t.Helper()
	dir := t.TempDir()
	blobs, err := local.NewStore(filepath.Join(dir, "content"))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := native.NewSnapshotter(filepath.Join(dir, "native"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { plain.Close() }) //nolint:errcheck // the directory goes, too
	db, err := bolt.Open(filepath.Join(dir, "meta.db"), 0o600, &bolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	s := &Stores{Events: &Recorder{}}
	s.DB = metadata.NewDB(db, blobs, map[string]snapshots.Snapshotter{"native": plain}, metadata.WithEventsPublisher(s.Events))
	t.Cleanup(func() { s.DB.Close() }) //nolint:errcheck // the directory goes, too
	if err := s.DB.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// Collect collects garbage and counts that it was asked to.
func (s *Stores) Collect(ctx context.Context) error {
	s.Collected.Add(1)
	_, err := s.DB.GarbageCollect(ctx)
	return err
}

// Oracle says whether the connection is to a containerd, which has stores and events of its own.
func Oracle() bool { return os.Getenv("GANTRY_ORACLE") != "" }

// Dial serves the services and connects to them, until the test ends.
func Dial(t *testing.T, services ...interface{ Register(*grpc.Server) }) *grpc.ClientConn {
	t.Helper()
	if socket := os.Getenv("GANTRY_ORACLE"); socket != "" {
		return connect(t, func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		})
	}
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(grpc.MaxRecvMsgSize(16<<20), grpc.MaxSendMsgSize(16<<20))
	for _, s := range services {
		s.Register(server)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return connect(t, func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) })
}

func connect(t *testing.T, dial func(context.Context, string) (net.Conn, error)) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///services", grpc.WithContextDialer(dial),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20), grpc.MaxCallSendMsgSize(16<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() }) //nolint:errcheck // the server goes, too
	return conn
}

var last atomic.Int32

// Context is the test's, in a namespace of its own.
func Context(t *testing.T) context.Context {
	t.Helper()
	return namespaces.WithNamespace(t.Context(), Namespace())
}

// Namespace is a name that nothing else has.
func Namespace() string { return fmt.Sprintf("test-%d-%d", os.Getpid(), last.Add(1)) }

// Code is the gRPC code of an error, whether a client has turned it into one of package errdefs or not.
func Code(err error) codes.Code { return status.Code(errgrpc.ToGRPC(err)) }

// Row is a request and how it has to be answered.
type Row struct {
	Name string
	Call func(ctx context.Context) error
	Want codes.Code
	Real codes.Code // what containerd 2.4.2 answers, if it is something else
	Ours bool       // not for containerd: it would panic, or has not got it
}

// Run calls the rows in their order, with a namespace that they share.
func Run(t *testing.T, rows []Row) {
	t.Helper()
	ctx := Context(t)
	for _, row := range rows {
		t.Run(row.Name, func(t *testing.T) {
			want := row.Want
			if Oracle() {
				if row.Ours {
					t.Skip("not for containerd")
				}
				if row.Real != codes.OK {
					want = row.Real
				}
			}
			err := row.Call(ctx)
			if got := Code(err); got != want {
				t.Errorf("got %v (%v), want %v", got, err, want)
			}
		})
	}
}

// Recorder is a publisher that remembers.
type Recorder struct {
	mu     sync.Mutex
	events []string
	last   map[string]events.Event
	Err    error // if set, the answer to everything
}

// Publish remembers the event, with the namespace that it is in.
func (r *Recorder) Publish(ctx context.Context, topic string, event events.Event) error {
	namespace, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Err != nil {
		return r.Err
	}
	r.events = append(r.events, namespace+topic)
	if r.last == nil {
		r.last = make(map[string]events.Event)
	}
	r.last[topic] = event
	return nil
}

// Expect fails the test unless the events since the last Expect are these topics, all in one namespace.
func (r *Recorder) Expect(t *testing.T, namespace string, topics ...string) {
	t.Helper()
	if Oracle() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var want []string
	for _, topic := range topics {
		want = append(want, namespace+topic)
	}
	if d := cmp.Diff(want, r.events); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
	r.events = nil
}

// ExpectLast fails the test unless the last event of a topic is this one.
func (r *Recorder) ExpectLast(t *testing.T, topic string, want proto.Message) {
	t.Helper()
	if Oracle() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if d := cmp.Diff(want, r.last[topic], protocmp.Transform()); d != "" {
		t.Errorf("event of %s (-want +got):\n%s", topic, d)
	}
}

// ExpectTopic fails the test unless a topic was published n times in the namespace since the last Expect.
func (r *Recorder) ExpectTopic(t *testing.T, namespace, topic string, n int) {
	t.Helper()
	if Oracle() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	got := 0
	for _, e := range r.events {
		if e == namespace+topic {
			got++
		}
	}
	if got != n {
		t.Errorf("%s was published %d times in %s, want %d", topic, got, namespace, n)
	}
}
