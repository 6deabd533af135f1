package streaming

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	api "github.com/containerd/containerd/api/services/streaming/v1"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	core "github.com/containerd/containerd/v2/core/streaming"
	"github.com/containerd/containerd/v2/core/streaming/proxy"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/gantry-containers/gantry/manager/service/servicetest"
)

// world is a service over a lease manager.
type world struct {
	manager *Manager
	service *Service
	leases  leases.Manager
	conn    *grpc.ClientConn
}

func serve(t *testing.T, change func(*Service)) *world {
	t.Helper()
	if servicetest.Oracle() {
		t.Skip("it looks into the manager")
	}
	w := &world{leases: metadata.NewLeaseManager(servicetest.Open(t).DB)}
	w.manager = NewManager(w.leases)
	w.service = New(w.manager)
	if change != nil {
		change(w.service)
	}
	w.conn = servicetest.Dial(t, w.service)
	return w
}

func message(t *testing.T, s string) *anypb.Any {
	t.Helper()
	a, err := typeurl.MarshalAnyToProto(wrapperspb.String(s))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func text(a typeurl.Any) string {
	if a == nil {
		return ""
	}
	var s wrapperspb.StringValue
	if err := typeurl.UnmarshalTo(a, &s); err != nil {
		return err.Error()
	}
	return s.Value
}

// poll waits until a condition holds.
func poll(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func (m *Manager) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.streams)
}

// Messages go both ways, over gRPC and within the process, and each end reads of the other's end.
func TestMessages(t *testing.T) {
	w := serve(t, nil)
	for kind, creator := range map[string]core.StreamCreator{
		"remote":  proxy.NewStreamCreator(w.conn),
		"process": w.manager,
	} {
		t.Run(kind, func(t *testing.T) { testMessages(t, creator, w.manager) })
	}
}

func testMessages(t *testing.T, creator core.StreamCreator, manager *Manager) {
	ctx := servicetest.Context(t)
	client, err := creator.Create(ctx, "one")
	if err != nil {
		t.Fatal(err)
	}
	server, err := manager.Get(ctx, "one")
	if err != nil {
		t.Fatal(err)
	}
	for _, way := range []struct{ from, to core.Stream }{{client, server}, {server, client}} {
		sent := make(chan error, 1)
		go func() { sent <- way.from.Send(message(t, "hello")) }()
		got, err := way.to.Recv()
		if err != nil || text(got) != "hello" {
			t.Errorf("received %q, %v", text(got), err)
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
	}
	testEnd(t, client, server)
	if _, err := manager.Get(ctx, "one"); !errdefs.IsNotFound(err) {
		t.Errorf("after the end: %v", err)
	}
}

// testEnd ends a stream from the client's side, then from the server's.
func testEnd(t *testing.T, client, server core.Stream) {
	t.Helper()
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	if _, err := server.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the client's end: %v", err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if err := server.Close(); err != nil {
		t.Errorf("a second time: %v", err)
	}
	if _, err := client.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the server's end: %v", err)
	}
	if err := server.Send(message(t, "late")); !errors.Is(err, io.EOF) {
		t.Errorf("sent after the end: %v", err)
	}
}

func TestNames(t *testing.T) {
	w := serve(t, nil)
	creator := proxy.NewStreamCreator(w.conn)
	ctx := servicetest.Context(t)
	if _, err := creator.Create(ctx, "one"); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		ctx  context.Context
		id   string
		want codes.Code
	}{
		"taken":             {ctx, "one", codes.AlreadyExists},
		"empty":             {ctx, "", codes.InvalidArgument},
		"no namespace":      {t.Context(), "two", codes.FailedPrecondition},
		"another namespace": {servicetest.Context(t), "one", codes.OK},
	} {
		if _, err := creator.Create(c.ctx, c.id); servicetest.Code(err) != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if _, err := w.manager.Get(c.ctx, c.id+"-none"); err == nil {
			t.Errorf("%s: got a stream that there is not", name)
		}
	}
}

// A stream is not there any more when its client is not.
func TestClientGone(t *testing.T) {
	w := serve(t, nil)
	ctx, cancel := context.WithCancel(servicetest.Context(t))
	client, err := proxy.NewStreamCreator(w.conn).Create(ctx, "one")
	if err != nil {
		t.Fatal(err)
	}
	server, err := w.manager.Get(ctx, "one")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := client.Recv(); err == nil {
		t.Error("received after the end")
	}
	if _, err := server.Recv(); err == nil {
		t.Error("received from a client that is gone")
	}
	poll(t, "the stream is gone", func() bool { return w.manager.count() == 0 })

	ctx, cancel = context.WithCancel(servicetest.Context(t))
	if _, err := w.manager.Create(ctx, "one"); err != nil {
		t.Fatal(err)
	}
	cancel()
	poll(t, "the stream in the process is gone", func() bool { return w.manager.count() == 0 })
}

// A stream that was opened under a lease ends with it; one without a lease does not.
func TestLease(t *testing.T) {
	w := serve(t, nil)
	ctx := servicetest.Context(t)
	creator := proxy.NewStreamCreator(w.conn)
	lease, err := w.leases.Create(ctx, leases.WithID("lease"))
	if err != nil {
		t.Fatal(err)
	}
	leased, err := creator.Create(leases.WithLease(ctx, lease.ID), "leased")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := creator.Create(ctx, "free"); err != nil {
		t.Fatal(err)
	}
	if err := w.manager.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := w.manager.count(); n != 2 {
		t.Errorf("%d streams while the lease is there, want 2", n)
	}
	if err := w.leases.Delete(ctx, lease); err != nil {
		t.Fatal(err)
	}
	if err := w.manager.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := leased.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the client reads %v", err)
	}
	if _, err := w.manager.Get(ctx, "leased"); !errdefs.IsNotFound(err) {
		t.Errorf("after the lease: %v", err)
	}
	if _, err := w.manager.Get(ctx, "free"); err != nil {
		t.Error(err)
	}
}

func TestUnclaimed(t *testing.T) {
	w := serve(t, nil)
	ctx := servicetest.Context(t)
	creator := proxy.NewStreamCreator(w.conn)
	late, err := creator.Create(ctx, "late")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := creator.Create(ctx, "claimed"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.manager.Get(ctx, "claimed"); err != nil {
		t.Fatal(err)
	}
	w.manager.mu.Lock()
	for _, e := range w.manager.streams {
		if !e.since.IsZero() {
			e.since = e.since.Add(-2 * Unclaimed)
		}
	}
	w.manager.mu.Unlock()
	if err := w.manager.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := late.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the client reads %v", err)
	}
	if _, err := w.manager.Get(ctx, "claimed"); err != nil {
		t.Error(err)
	}
}

// Leases that cannot be asked for close nothing.
type broken struct{ leases.Manager }

func (broken) List(context.Context, ...string) ([]leases.Lease, error) {
	return nil, errdefs.ErrUnavailable
}

func TestSweepWithoutLeases(t *testing.T) {
	m := NewManager(broken{})
	ctx := leases.WithLease(servicetest.Context(t), "lease")
	if _, err := m.Create(ctx, "one"); err != nil {
		t.Fatal(err)
	}
	if err := m.Sweep(t.Context()); !errdefs.IsUnavailable(err) {
		t.Error(err)
	}
	if m.count() != 1 {
		t.Error("the stream is closed")
	}
}

func TestNoFirstMessage(t *testing.T) {
	w := serve(t, func(s *Service) { s.naming = 10 * time.Millisecond })
	stream, err := api.NewStreamingClient(w.conn).Stream(servicetest.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); servicetest.Code(err) != codes.FailedPrecondition {
		t.Error(err)
	}
}

func TestFirstMessage(t *testing.T) {
	w := serve(t, nil)
	client := api.NewStreamingClient(w.conn)
	init, err := typeurl.MarshalAnyToProto(&api.StreamInit{ID: "x"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		first *anypb.Any
		want  codes.Code
	}{
		"empty":         {&anypb.Any{}, codes.InvalidArgument},
		"another type":  {message(t, "x"), codes.InvalidArgument},
		"garbage":       {&anypb.Any{TypeUrl: init.TypeUrl, Value: []byte("\xff\xff")}, codes.InvalidArgument},
		"unknown type":  {&anypb.Any{TypeUrl: strings.Repeat("x", 1<<20)}, codes.InvalidArgument},
		"without an id": {&anypb.Any{TypeUrl: init.TypeUrl}, codes.InvalidArgument},
	} {
		stream, err := client.Stream(servicetest.Context(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(c.first); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); servicetest.Code(err) != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	poll(t, "no stream is left", func() bool { return w.manager.count() == 0 })
}

// Two may send at the same time: a transfer's progress comes from many goroutines.
func TestSenders(t *testing.T) {
	w := serve(t, nil)
	ctx := servicetest.Context(t)
	client, err := proxy.NewStreamCreator(w.conn).Create(ctx, "one")
	if err != nil {
		t.Fatal(err)
	}
	server, err := w.manager.Get(ctx, "one")
	if err != nil {
		t.Fatal(err)
	}
	var senders sync.WaitGroup
	const each, many = 50, 4
	for i := range many {
		senders.Go(func() {
			for j := range each {
				if err := server.Send(message(t, fmt.Sprint(i, j))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	seen := make(map[string]bool)
	for range each * many {
		a, err := client.Recv()
		if err != nil {
			t.Fatal(err)
		}
		seen[text(a)] = true
	}
	senders.Wait()
	if len(seen) != each*many {
		t.Errorf("%d messages, want %d", len(seen), each*many)
	}
}

// The manager is used by other packages through containerd's interfaces.
var (
	_ core.StreamManager = (*Manager)(nil)
	_ core.StreamCreator = (*Manager)(nil)
)
