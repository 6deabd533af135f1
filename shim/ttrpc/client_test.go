package ttrpc_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantry-containers/gantry/shim/api/known"
	wire "github.com/gantry-containers/gantry/shim/api/ttrpc"
	"github.com/gantry-containers/gantry/shim/ttrpc"
)

// answerWith is a server that reads one request, sends the bytes, and closes if it is told so.
func answerWith(t *testing.T, send string, closes bool) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		var h [10]byte
		io.ReadFull(conn, h[:])                                          //nolint:errcheck // the answer is the same
		io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(h[:]))) //nolint:errcheck // as above
		io.WriteString(conn, send)                                       //nolint:errcheck // the client may close
		if closes {
			conn.Close()
		}
	}()
	return path
}

func response(stream uint32, r *wire.Response) string {
	body, _ := r.MarshalVT()
	return frame(uint32(len(body)), stream, 2, 0, string(body))
}

func TestAnswersOfABadServer(t *testing.T) {
	good := response(1, &wire.Response{Payload: []byte("\x0a\x01x")})
	cases := map[string]struct {
		send   string
		closes bool
		want   ttrpc.Code
	}{
		"good":               {good, false, ttrpc.OK},
		"of another stream":  {response(3, &wire.Response{}) + good, false, ttrpc.OK},
		"nothing":            {"", true, ttrpc.Unavailable},
		"cut short":          {good[:12], true, ttrpc.Unavailable},
		"another protocol":   {"HTTP/1.1 200 OK", false, ttrpc.Unavailable},
		"data":               {frame(0, 1, 3, 0, ""), false, ttrpc.Internal},
		"not protobuf":       {frame(1, 1, 2, 0, "\xff"), false, ttrpc.Internal},
		"payload not so":     {response(1, &wire.Response{Payload: []byte("\xff")}), false, ttrpc.Internal},
		"too long":           {frame(4<<20+1, 1, 2, 0, strings.Repeat("x", 4<<20+1)), false, ttrpc.ResourceExhausted},
		"a status":           {response(1, &wire.Response{Status: &wire.Status{Code: 5, Message: "no"}}), false, ttrpc.NotFound},
		"the status OK":      {response(1, &wire.Response{Status: &wire.Status{}, Payload: []byte("\x0a\x01x")}), false, ttrpc.OK},
		"twice, then closed": {good + good, true, ttrpc.OK},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := call(t.Context(), dial(t, answerWith(t, c.send, c.closes)), "Echo", "x")
			if ttrpc.CodeOf(err) != c.want || (err == nil && got != "x") {
				t.Errorf("got %q, %v, want class %d", got, err, c.want)
			}
		})
	}
}

func TestAllCallsEndWithTheConnection(t *testing.T) {
	const calls = 20
	in := make(chan struct{}, calls)
	path, server, _ := serveUntil(t, map[string]ttrpc.Method{"Wait": func(ctx context.Context, _ []byte) (ttrpc.Message, error) {
		in <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	c := dial(t, path)
	failed := make(chan error, calls)
	for range calls {
		go func() {
			_, err := call(context.Background(), c, "Wait", "x")
			failed <- err
		}()
	}
	for range calls {
		<-in
	}
	server.Close()
	for range calls {
		if err := <-failed; ttrpc.CodeOf(err) != ttrpc.Unavailable {
			t.Errorf("got %v, want Unavailable", err)
		}
	}
	<-c.Done()
}

func TestAnAbandonedCall(t *testing.T) {
	release := make(chan struct{})
	path := serve(t, map[string]ttrpc.Method{
		"Echo": ttrpc.Unary(echo),
		"Hang": func(context.Context, []byte) (ttrpc.Message, error) { <-release; return &known.Empty{}, nil },
	})
	c := dial(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := call(ctx, c, "Hang", "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	close(release) // its answer comes now, to nobody
	for range 3 {
		if got, err := call(t.Context(), c, "Echo", "x"); got != "x" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
}

// A server that reads nothing must not hold a caller longer than it wants to wait; half a request ends the connection.
func TestAServerThatDoesNotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := dial(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	failed := make(chan error, 2)
	for range cap(failed) {
		go func() {
			_, err := call(ctx, c, "Echo", strings.Repeat("x", 3<<20))
			failed <- err
		}()
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if _, err := server.Read(make([]byte, 1)); err != nil { // part of a request is written
		t.Fatal(err)
	}
	cancel()
	for range cap(failed) {
		if err := <-failed; err == nil {
			t.Error("an answer of nobody")
		}
	}
	if _, err := call(t.Context(), c, "Echo", "x"); ttrpc.CodeOf(err) != ttrpc.Unavailable {
		t.Errorf("got %v, want Unavailable", err)
	}
}

func TestDialSaysWhy(t *testing.T) {
	if _, err := ttrpc.Dial(t.Context(), "/nonexistent"); ttrpc.CodeOf(err) != ttrpc.Unavailable || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ttrpc.Dial(ctx, "/nonexistent"); ttrpc.CodeOf(err) != ttrpc.Canceled {
		t.Errorf("got %v", err)
	}
}
