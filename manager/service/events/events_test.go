package events

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	apievents "github.com/containerd/containerd/api/events"
	api "github.com/containerd/containerd/api/services/events/v1"
	ttrpcapi "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/core/events/proxy"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/ttrpc"
	"github.com/containerd/typeurl/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	eventlog "github.com/gantry-containers/gantry/manager/events"
)

// recorder forwards to the log, as the task manager does, and notes what it was given.
type recorder struct {
	mu    sync.Mutex
	to    events.Forwarder
	given []string
}

func (r *recorder) Forward(ctx context.Context, e *events.Envelope) error {
	r.mu.Lock()
	r.given = append(r.given, e.Namespace+" "+e.Topic)
	r.mu.Unlock()
	return r.to.Forward(ctx, e)
}

// manager is as much of one as events need; it can die and come back.
type manager struct {
	log       *eventlog.Log
	forwarder *recorder
	service   *Service
	server    *grpc.Server
	conn      *grpc.ClientConn
}

func start(t *testing.T, dir string) *manager {
	t.Helper()
	log, err := eventlog.Open(eventlog.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closed(t, log) })
	m := &manager{log: log, forwarder: &recorder{to: log}, server: grpc.NewServer()}
	m.service = New(log, m.forwarder)
	m.service.Register(m.server)
	listener := bufconn.Listen(1 << 20)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := m.server.Serve(listener); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { m.server.Stop(); serving.Wait() })
	m.conn, err = grpc.NewClient("passthrough:///manager", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closed(t, m.conn) })
	return m
}

func (m *manager) stop(t *testing.T) {
	t.Helper()
	closed(t, m.log)
	m.server.Stop()
}

func closed(t testing.TB, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(t.Context(), "moby"), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func exit(id string) *apievents.TaskExit {
	return &apievents.TaskExit{ContainerID: id, ID: id, Pid: 5, ExitStatus: 3}
}

func taken(t *testing.T, told <-chan *events.Envelope, failed <-chan error) *events.Envelope {
	t.Helper()
	select {
	case e := <-told:
		return e
	case err := <-failed:
		t.Fatal(err)
	case <-time.After(30 * time.Second):
		t.Fatal("no event")
	}
	return nil
}

// subscribe is api.EventsClient.Subscribe once the manager has answered that the subscription stands.
func (m *manager) subscribe(ctx context.Context, t *testing.T, filters ...string) (api.Events_SubscribeClient, uint64) {
	t.Helper()
	stream, err := api.NewEventsClient(m.conn).Subscribe(ctx, &api.SubscribeRequest{Filters: filters})
	if err != nil {
		t.Fatal(err)
	}
	header, err := stream.Header()
	if err != nil {
		t.Fatal(err)
	}
	values := header.Get(LastKey)
	if len(values) != 1 {
		_, err := stream.Recv()
		t.Fatalf("%s: %q, error %v", LastKey, values, err)
	}
	last, err := strconv.ParseUint(values[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return stream, last
}

// TestContainerdsClient uses all that containerd's client has, and what it is told must be what was published, with
// the field that it does not know.
func TestContainerdsClient(t *testing.T) {
	m, ctx := start(t, t.TempDir()), testContext(t)
	client := proxy.NewRemoteEvents(m.conn)
	if err := client.Publish(ctx, "/tasks/exit", exit("before")); err != nil {
		t.Fatal(err)
	}
	sctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(ctx, SinceKey, "1"))
	told, failed := client.Subscribe(sctx, "namespace==moby,topic~=|^/tasks/|")
	taken(t, told, failed)

	at := time.Unix(1700000000, 5).UTC()
	event, err := typeurl.MarshalAny(exit("forwarded"))
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Publish(ctx, "/images/create", &apievents.ImageCreate{Name: "not wanted"}); err != nil {
		t.Fatal(err)
	}
	if err := client.Forward(ctx, &events.Envelope{Timestamp: at, Namespace: "moby", Topic: "/tasks/exit", Event: event}); err != nil {
		t.Fatal(err)
	}
	e := taken(t, told, failed)
	got, err := typeurl.UnmarshalAny(e.Event)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(exit("forwarded"), got, protocmp.Transform()); d != "" {
		t.Error(d)
	}
	if !e.Timestamp.Equal(at) || e.Namespace != "moby" || e.Topic != "/tasks/exit" {
		t.Errorf("told %v %s %s", e.Timestamp, e.Namespace, e.Topic)
	}
	if d := cmp.Diff([]string{"moby /tasks/exit"}, m.forwarder.given); d != "" {
		t.Errorf("what came to the forwarder: %s", d)
	}
	cancel()
	if err := <-failed; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}

func TestNumbersOnTheWire(t *testing.T) {
	m, ctx := start(t, t.TempDir()), testContext(t)
	client := api.NewEventsClient(m.conn)
	forward := func(topic string) {
		t.Helper()
		if _, err := client.Forward(ctx, &api.ForwardRequest{Envelope: &types.Envelope{Namespace: "moby", Topic: topic}}); err != nil {
			t.Fatal(err)
		}
	}
	forward("/a")
	forward("/b")
	stream, last := m.subscribe(ctx, t)
	if last != 2 {
		t.Errorf("%s is %d, want 2", LastKey, last)
	}
	forward("/c")
	e, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	unknown := e.ProtoReflect().GetUnknown()
	number, kind, n := protowire.ConsumeTag(unknown)
	if n < 0 || number != SequenceField || kind != protowire.VarintType {
		t.Fatalf("unknown fields %x", unknown)
	}
	sequence, m2 := protowire.ConsumeVarint(unknown[n:])
	if m2 < 0 || sequence != 3 || len(unknown) != n+m2 {
		t.Errorf("unknown fields %x, want only the number 3", unknown)
	}
	if e.GetEvent() != nil || e.GetTopic() != "/c" {
		t.Errorf("an event without content on /c became %v", e)
	}
	again, _ := m.subscribe(metadata.AppendToOutgoingContext(ctx, SinceKey, "2"), t)
	if e, err := again.Recv(); err != nil || e.GetTopic() != "/b" {
		t.Errorf("since 2: %v, %v; want /b", e, err)
	}
}

func TestErrorsOnTheWire(t *testing.T) {
	m, ctx := start(t, t.TempDir()), testContext(t)
	client := api.NewEventsClient(m.conn)
	subscribe := func(ctx context.Context, filters ...string) func() error {
		return func() error {
			stream, err := client.Subscribe(ctx, &api.SubscribeRequest{Filters: filters})
			if err != nil {
				return err
			}
			_, err = stream.Recv()
			return err
		}
	}
	since := func(values ...string) context.Context {
		ctx := ctx
		for _, v := range values {
			ctx = metadata.AppendToOutgoingContext(ctx, SinceKey, v)
		}
		return ctx
	}
	for name, test := range map[string]struct {
		call func() error
		want codes.Code
	}{
		"bad filter":    {subscribe(ctx, "topic=="), codes.InvalidArgument},
		"since zero":    {subscribe(since("0")), codes.InvalidArgument},
		"since text":    {subscribe(since("yesterday")), codes.InvalidArgument},
		"since twice":   {subscribe(since("1", "1")), codes.InvalidArgument},
		"since to come": {subscribe(since("100")), codes.OutOfRange},
		"bad topic":     {func() error { _, err := client.Publish(ctx, &api.PublishRequest{Topic: "tasks"}); return err }, codes.InvalidArgument},
		"no namespace":  {func() error { _, err := client.Publish(t.Context(), &api.PublishRequest{Topic: "/a"}); return err }, codes.FailedPrecondition},
		"no envelope":   {func() error { _, err := client.Forward(ctx, &api.ForwardRequest{}); return err }, codes.InvalidArgument},
		"empty envelope": {func() error {
			_, err := client.Forward(ctx, &api.ForwardRequest{Envelope: &types.Envelope{}})
			return err
		}, codes.InvalidArgument},
		"nothing at all":  {func() error { _, err := client.Publish(ctx, &api.PublishRequest{}); return err }, codes.InvalidArgument},
		"without content": {func() error { _, err := client.Publish(ctx, &api.PublishRequest{Topic: "/a"}); return err }, codes.OK},
	} {
		if err := test.call(); status.Code(err) != test.want {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	if err := proxy.NewRemoteEvents(m.conn).Publish(ctx, "tasks", exit("x")); !errdefs.IsInvalidArgument(err) {
		t.Errorf("containerd's client has %v, want invalid argument", err)
	}
}

// TestManagerComesBack is dockerd's case: exits while the manager was away, published before dockerd has subscribed again.
func TestManagerComesBack(t *testing.T) {
	const filter = "namespace==moby,topic~=|^/tasks/|"
	dir, ctx := t.TempDir(), testContext(t)
	m := start(t, dir)
	told, failed := proxy.NewRemoteEvents(m.conn).Subscribe(ctx, filter)
	for len(cursorFiles(t, dir)) == 0 { // the client does not say when the subscription stands
		if err := ctx.Err(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	if err := m.log.Publish(ctx, "/tasks/start", &apievents.TaskStart{ContainerID: "one"}); err != nil {
		t.Fatal(err)
	}
	taken(t, told, failed)
	if err := m.log.Publish(ctx, "/tasks/exit", exit("one")); err != nil {
		t.Fatal(err)
	}
	m.stop(t)
	for err := error(nil); err == nil; { // what was under way may still come
		select {
		case <-told:
		case err = <-failed:
			if !errdefs.IsUnavailable(err) {
				t.Errorf("end of the subscription: %v, want unavailable", err)
			}
		}
	}

	m = start(t, dir)
	if err := m.log.Publish(ctx, "/tasks/exit", exit("two")); err != nil {
		t.Fatal(err)
	}
	stream, _ := m.subscribe(ctx, t, filter)
	var exits []string
	for len(exits) < 2 {
		e, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if e.GetTopic() != "/tasks/exit" { // start may be told again
			continue
		}
		var event apievents.TaskExit
		if err := proto.Unmarshal(e.GetEvent().GetValue(), &event); err != nil {
			t.Fatal(err)
		}
		exits = append(exits, event.ContainerID)
	}
	if d := cmp.Diff([]string{"one", "two"}, exits); d != "" {
		t.Error(d)
	}
}

func TestClientThatGoesAwayLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	m := start(t, dir)
	ctx, cancel := context.WithCancel(testContext(t))
	stream, _ := m.subscribe(ctx, t)
	if n := len(cursorFiles(t, dir)); n != 1 {
		t.Errorf("%d cursors for one subscriber", n)
	}
	cancel()
	if _, err := stream.Recv(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
	for deadline := time.Now().Add(30 * time.Second); len(cursorFiles(t, dir)) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the cursor stays")
		}
	}
}

func cursorFiles(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "cursors", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestShimsSocket(t *testing.T) {
	m, ctx := start(t, t.TempDir()), testContext(t)
	server, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	m.service.RegisterTTRPC(server)
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(ctx, listener); !errors.Is(err, ttrpc.ErrServerClosed) {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		closed(t, server)
		serving.Wait()
	})
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	client := ttrpc.NewClient(conn)
	defer closed(t, client)
	shim := ttrpcapi.NewTTRPCEventsClient(client)

	event, err := typeurl.MarshalAnyToProto(exit("one"))
	if err != nil {
		t.Fatal(err)
	}
	told, failed := m.log.Subscribe(ctx, "event.container_id==one")
	if _, err := shim.Forward(ctx, &ttrpcapi.ForwardRequest{Envelope: &types.Envelope{Namespace: "moby", Topic: "/tasks/exit", Event: event}}); err != nil {
		t.Fatal(err)
	}
	if e := taken(t, told, failed); e.Topic != "/tasks/exit" || e.Namespace != "moby" {
		t.Errorf("told of %s in %s", e.Topic, e.Namespace)
	}
	if d := cmp.Diff([]string{"moby /tasks/exit"}, m.forwarder.given); d != "" {
		t.Errorf("what came to the forwarder: %s", d)
	}
	for name, e := range map[string]*types.Envelope{"none": nil, "empty": {}, "bad topic": {Namespace: "moby", Topic: "x"}} {
		if _, err := shim.Forward(ctx, &ttrpcapi.ForwardRequest{Envelope: e}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("envelope %s: %v, want invalid argument", name, err)
		}
	}
}
