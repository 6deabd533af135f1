package ttrpc_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	theirs "github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/ttrpc"
)

// The official module (github.com/containerd/ttrpc) is the oracle: its client calls our server, ours its server.

// theirClient connects the official client to our server.
func theirClient(t *testing.T, path string) *theirs.Client {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c := theirs.NewClient(conn)
	t.Cleanup(func() { c.Close() }) //nolint:errcheck // it has none
	return c
}

func TestTheirClientGetsTheAnswer(t *testing.T) {
	path := serve(t, map[string]ttrpc.Method{"Echo": ttrpc.Unary(echo)})
	for _, size := range []int{0, 1, 1 << 10, 4<<20 - 200} {
		want := strings.Repeat("x", size)
		got := &wrapperspb.StringValue{}
		if err := theirClient(t, path).Call(t.Context(), "test", "Echo", wrapperspb.String(want), got); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if got.Value != want {
			t.Errorf("%d bytes: got %d others", size, len(got.Value))
		}
	}
}

func TestTheirMetadata(t *testing.T) {
	path := serve(t, map[string]ttrpc.Method{"Echo": func(ctx context.Context, _ []byte) (ttrpc.Message, error) {
		return nil, ttrpc.Errorf(ttrpc.NotFound, "%q %q", ttrpc.Metadata(ctx, "key"), ttrpc.Metadata(ctx, "other"))
	}})
	c := theirClient(t, path)
	for want, ctx := range map[string]context.Context{
		`"" ""`:      t.Context(),
		`"value" ""`: theirs.WithMetadata(t.Context(), theirs.MD{"key": {"value", "more"}}),
	} {
		err := c.Call(ctx, "test", "Echo", wrapperspb.String(""), &wrapperspb.StringValue{})
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestTheirClientSeesTheClass(t *testing.T) {
	cases := map[string]struct {
		err  error
		want codes.Code
	}{
		"Plain":    {errors.New("went wrong"), codes.Unknown},
		"NotExist": {fmt.Errorf("went wrong: %w", fs.ErrNotExist), codes.Unknown},
		"Deadline": {fmt.Errorf("went wrong: %w", context.DeadlineExceeded), codes.DeadlineExceeded},
		"Canceled": {fmt.Errorf("went wrong: %w", context.Canceled), codes.Canceled},
		"NotFound": {ttrpc.Errorf(ttrpc.NotFound, "went wrong"), codes.NotFound},
		"Wrapped":  {fmt.Errorf("went wrong: %w", ttrpc.Errorf(ttrpc.FailedPrecondition, "x")), codes.FailedPrecondition},
		"NotUTF8":  {errors.New("went wrong: \xff\xfe"), codes.Unknown},
		"Long":     {errors.New("went wrong: " + strings.Repeat("é", 5<<20)), codes.Unknown},
	}
	methods := map[string]ttrpc.Method{
		"Panic": func(_ context.Context, b []byte) (ttrpc.Message, error) { return nil, errors.New(string(b[:1000])) },
		"Nil":   func(context.Context, []byte) (ttrpc.Message, error) { return nil, nil },
		"Big": func(context.Context, []byte) (ttrpc.Message, error) {
			return &known.Any{Value: make([]byte, 5<<20)}, nil
		},
	}
	for name, c := range cases {
		methods[name] = func(context.Context, []byte) (ttrpc.Message, error) { return nil, c.err }
	}
	path := serve(t, methods)
	client := theirClient(t, path)
	check := func(service, method, text string, want codes.Code) {
		t.Helper()
		err := client.Call(t.Context(), service, method, wrapperspb.String("x"), &wrapperspb.StringValue{})
		if status.Code(err) != want || !strings.Contains(err.Error(), text) {
			t.Errorf("%s/%s: got %.200v, want %v with %q", service, method, err, want, text)
		}
	}
	for name, c := range cases {
		check("test", name, "went wrong", c.want)
	}
	check("test", "Panic", "out of range", codes.Internal)
	check("test", "Nil", "no answer", codes.Internal)
	check("test", "Big", "5242", codes.ResourceExhausted)
	check("test", "Missing", "Missing", codes.Unimplemented)
	check("missing", "Echo", "missing", codes.Unimplemented)
}

func TestTheirStreamsAreRefused(t *testing.T) {
	path := serve(t, map[string]ttrpc.Method{"Echo": ttrpc.Unary(echo)})
	client := theirClient(t, path)
	for _, desc := range []*theirs.StreamDesc{{StreamingClient: true}, {StreamingServer: true}} {
		stream, err := client.NewStream(t.Context(), desc, "test", "Echo", wrapperspb.String("x"))
		if err != nil {
			t.Fatal(err)
		}
		if desc.StreamingClient {
			if err := stream.SendMsg(wrapperspb.String("y")); err != nil {
				t.Fatal(err)
			}
		}
		if err := stream.RecvMsg(&wrapperspb.StringValue{}); status.Code(err) != codes.Unimplemented {
			t.Errorf("got %v, want Unimplemented", err)
		}
	}
	if err := client.Call(t.Context(), "test", "Echo", wrapperspb.String("x"), &wrapperspb.StringValue{}); err != nil {
		t.Errorf("the connection is of no use any more: %v", err)
	}
}

func TestTheirTimeLimitReachesTheMethod(t *testing.T) {
	left := make(chan time.Duration, 1)
	path := serve(t, map[string]ttrpc.Method{"Wait": func(ctx context.Context, _ []byte) (ttrpc.Message, error) {
		end, _ := ctx.Deadline()
		left <- time.Until(end)
		return &known.Empty{}, nil
	}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	if err := theirClient(t, path).Call(ctx, "test", "Wait", wrapperspb.String(""), &wrapperspb.StringValue{}); err != nil {
		t.Fatal(err)
	}
	if d := <-left; d > time.Hour || d < 50*time.Minute {
		t.Errorf("the method has %v, the caller has an hour", d)
	}
}

// theirServer serves one method by the official module.
func theirServer(t *testing.T, method theirs.Method) string {
	t.Helper()
	s, err := theirs.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	s.RegisterService("test", &theirs.ServiceDesc{Methods: map[string]theirs.Method{"Echo": method}})
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(context.Background(), l) //nolint:errcheck // it ends with Close
	t.Cleanup(func() { s.Close() })     //nolint:errcheck // its listener is gone in any case
	return path
}

func theirEcho(_ context.Context, unmarshal func(any) error) (any, error) {
	v := &wrapperspb.StringValue{}
	if err := unmarshal(v); err != nil {
		return nil, err
	}
	if v.Value == "fail" {
		return nil, status.Error(codes.AlreadyExists, "went wrong")
	}
	return v, nil
}

func TestOurClientCallsTheirServer(t *testing.T) {
	client := dial(t, theirServer(t, theirEcho))
	for _, size := range []int{0, 1, 1 << 10, 4<<20 - 200} {
		want := strings.Repeat("x", size)
		got, err := call(t.Context(), client, "Echo", want)
		if err != nil || got != want {
			t.Fatalf("%d bytes: got %d, %v", size, len(got), err)
		}
	}
	for text, want := range map[string]ttrpc.Code{"fail": ttrpc.AlreadyExists, strings.Repeat("x", 5<<20): ttrpc.ResourceExhausted} {
		if _, err := call(t.Context(), client, "Echo", text); ttrpc.CodeOf(err) != want {
			t.Errorf("%.10s: got %v, want class %d", text, err, want)
		}
	}
	if _, err := call(t.Context(), client, "Missing", "x"); ttrpc.CodeOf(err) != ttrpc.Unimplemented {
		t.Errorf("got %v, want Unimplemented", err)
	}
	if got, err := call(t.Context(), client, "Echo", "again"); err != nil || got != "again" {
		t.Errorf("the connection is of no use any more: %q, %v", got, err)
	}
}

func TestOurTimeLimitReachesTheirMethod(t *testing.T) {
	left := make(chan time.Duration, 1)
	client := dial(t, theirServer(t, func(ctx context.Context, _ func(any) error) (any, error) {
		end, _ := ctx.Deadline()
		left <- time.Until(end)
		return wrapperspb.String(""), nil
	}))
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	if _, err := call(ctx, client, "Echo", ""); err != nil {
		t.Fatal(err)
	}
	if d := <-left; d > time.Hour || d < 50*time.Minute {
		t.Errorf("the method has %v, the caller has an hour", d)
	}
}

// A server that ends with a call's answer must not end the connection: the client would drop the answer if it has not
// looked at it yet.
func TestTheirClientGetsTheLastAnswer(t *testing.T) {
	for range 20 {
		last := make(chan struct{}, 2)
		path, server, _ := serveUntil(t, map[string]ttrpc.Method{
			"Quit": ttrpc.Unary(func(_ context.Context, text *known.Any) (*known.Any, error) {
				last <- struct{}{}
				return text, nil
			}),
		})
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			<-last
			server.AwaitHangUps(time.Minute)
			server.Close()
		}()
		c := theirClient(t, path)
		for range 2 {
			if err := c.Call(t.Context(), "test", "Quit", wrapperspb.String("x"), &wrapperspb.StringValue{}); err != nil {
				t.Fatal(err)
			}
		}
		_ = c.Close()
		<-closed
	}
}
