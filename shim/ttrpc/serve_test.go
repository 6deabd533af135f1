package ttrpc_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"

	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/ttrpc"
)

// serve runs our server with the methods as service test, for the length of the test.
func serve(t testing.TB, methods map[string]ttrpc.Method) string {
	t.Helper()
	path, _, _ := serveUntil(t, methods)
	return path
}

// serveUntil gives the server as well, and a channel that gets what Serve returns.
func serveUntil(t testing.TB, methods map[string]ttrpc.Method) (string, *ttrpc.Server, <-chan error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	s := ttrpc.NewServer()
	s.Register("test", methods)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(s.Close)
	return path, s, ended
}

func dial(t testing.TB, path string) *ttrpc.Client {
	t.Helper()
	c, err := ttrpc.Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// The tests call with google.protobuf.StringValue, whose one field is a string with the number of Any's type_url.
func echo(_ context.Context, text *known.Any) (*known.Any, error) { return text, nil }

func call(ctx context.Context, c *ttrpc.Client, method, text string) (string, error) {
	answer := &known.Any{}
	err := c.Call(ctx, "test", method, &known.Any{TypeUrl: text}, answer)
	return answer.TypeUrl, err
}
