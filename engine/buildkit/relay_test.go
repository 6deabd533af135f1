package buildkit

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	controlapi "github.com/moby/buildkit/api/services/control"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// dial connects a client by a relay.
func dial(t *testing.T, s *Service) (*Relay, controlapi.ControlClient) {
	t.Helper()
	r := NewRelay(s)
	t.Cleanup(func() { _ = r.Close() })
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.Serve(c)
		}
	}()
	c, err := grpc.NewClient("unix://"+l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return r, controlapi.NewControlClient(c)
}

func TestSolve(t *testing.T) {
	s, n := start(t, nil)
	_, c := dial(t, s)
	res, err := c.Solve(t.Context(), &controlapi.SolveRequest{Ref: "ref", Exporters: []*controlapi.Exporter{{Type: "moby", Attrs: map[string]string{"name": "a,b:c", "push": "true"}}}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		digestKey: made.String(), namesKey: "docker.io/library/a:latest,docker.io/library/b:c",
		"image.push": "true", "image.unpack": "true",
		"image.dangling-name-prefix": "moby-dangling", "image.danging-name-empty-only": "true",
	}
	if d := cmp.Diff(want, res.ExporterResponse); d != "" {
		t.Error(d)
	}
	if _, err := c.Solve(t.Context(), &controlapi.SolveRequest{Ref: "old", ExporterDeprecated: "moby"}); err != nil {
		t.Error(err)
	}
	if _, err := c.Solve(t.Context(), &controlapi.SolveRequest{Ref: "other", Exporters: []*controlapi.Exporter{{Type: "tar"}}}); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff([]string{"ref 0123 docker.io/library/a:latest,docker.io/library/b:c", "old 0123 "}, n.built); d != "" {
		t.Error(d)
	}
}

func TestWrongNames(t *testing.T) {
	for name, want := range map[string]string{
		"A":                      "invalid reference format: repository name (library/A) must be lowercase",
		"a@" + made.String():     "build tag cannot contain a digest",
		"a:b@" + made.String():   "build tag cannot contain a digest",
		"fine,also@fine@notfine": "invalid reference format",
	} {
		_, err := fit(&controlapi.SolveRequest{Exporters: []*controlapi.Exporter{{Type: "moby", Attrs: map[string]string{"name": name}}}})
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Errors come with all that the daemon told about them.
func TestErrors(t *testing.T) {
	s, n := start(t, nil)
	_, c := dial(t, s)
	_, err := c.Solve(t.Context(), &controlapi.SolveRequest{FrontendAttrs: map[string]string{"fail": "text"}, ExporterDeprecated: "moby"})
	if st := status.Convert(err); st.Code() != codes.InvalidArgument || st.Message() != "text" || len(st.Details()) != 1 {
		t.Error(err, st.Details())
	}
	if _, err := c.Info(t.Context(), &controlapi.InfoRequest{}); status.Code(err) != codes.Unimplemented {
		t.Error(err)
	}
	if len(n.built) > 0 {
		t.Error(n.built)
	}
}

func TestStreams(t *testing.T) {
	s, _ := start(t, nil)
	_, c := dial(t, s)
	st, err := c.Status(t.Context(), &controlapi.StatusRequest{Ref: "x"})
	var got []string
	for err == nil {
		var r *controlapi.StatusResponse
		if r, err = st.Recv(); err == nil {
			got = append(got, r.Vertexes[0].Name)
		}
	}
	if d := cmp.Diff([]string{"first of x", "second of x"}, got); !errors.Is(err, io.EOF) || d != "" {
		t.Error(err, d)
	}
	// A client that goes away takes its call with it.
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := c.Session(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	until(t, "the daemon is still used", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.users == 0
	})
}

func TestSession(t *testing.T) {
	s, _ := start(t, nil)
	r, _ := dial(t, s)
	session, err := r.Session(t.Context(), map[string][]string{"X-Docker-Expose-Session-Uuid": {"me"}, "Authorization": {"x"}})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	ours, theirs := net.Pipe()
	passed := make(chan error, 1)
	go func() { passed <- session.Pass(theirs) }()
	read := func(n int) string {
		b := make([]byte, n)
		if _, err := io.ReadFull(ours, b); err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if got := read(2); got != "me" {
		t.Error(got)
	}
	if _, err := ours.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if got := read(5); got != "hello" {
		t.Error(got)
	}
	if err := ours.Close(); err != nil {
		t.Error(err)
	}
	if err := <-passed; err != nil {
		t.Error(err)
	}
}
