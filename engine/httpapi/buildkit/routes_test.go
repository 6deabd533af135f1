package buildkit_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gantry-containers/gantry/engine/buildkit"
	"github.com/gantry-containers/gantry/engine/httpapi"
	buildkitapi "github.com/gantry-containers/gantry/engine/httpapi/buildkit"
)

// relay answers with what it hears.
type relay struct{}

func (relay) ServeHTTP(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "direct") }

func (relay) Serve(c net.Conn) {
	defer c.Close()
	b := make([]byte, 5)
	if _, err := io.ReadFull(c, b); err == nil {
		_, _ = c.Write(b)
	}
}

func (relay) Session(context.Context, map[string][]string) (*buildkit.Session, error) {
	return nil, errors.New("no session today")
}

// guard refuses calls of one service.
type guard struct{}

func (guard) Admit(r *http.Request) error {
	if strings.HasPrefix(r.URL.Path, "/forbidden") {
		return errors.New("authorization denied")
	}
	return nil
}

func serve(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(buildkitapi.Direct(relay{}, guard{}, httpapi.New(httpapi.Options{}, buildkitapi.New(relay{}))))
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	s.Config.Protocols = &p
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// The connection is the relay's, with what the client has said before it read the answer.
func TestUpgrade(t *testing.T) {
	s := serve(t)
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "POST /v1.50/grpc HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nhello"); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Upgrade") != "h2c" || res.Header.Get("Server") != "" {
		t.Errorf("%v", res)
	}
	if b, err := io.ReadAll(r); err != nil || string(b) != "hello" {
		t.Errorf("%q %v", b, err)
	}
}

func TestRefusals(t *testing.T) {
	s := serve(t)
	for path, tests := range map[string]map[string]string{
		"/grpc":    {"": `500 {"message":"no upgrade proto in request"}`, "tcp": `500 {"message":"protocol tcp not supported"}`},
		"/session": {"": `400 {"message":"no upgrade proto in request"}`, "tcp": `400 {"message":"protocol tcp not supported"}`, "h2c": `500 {"message":"no session today"}`},
	} {
		for upgrade, want := range tests {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			if upgrade != "" {
				req.Header.Set("Connection", "Upgrade")
				req.Header.Set("Upgrade", upgrade)
			}
			res, err := s.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if got := res.Status[:3] + " " + strings.TrimSpace(string(b)); err != nil || got != want {
				t.Errorf("%s %s: %s %v", path, upgrade, got, err)
			}
		}
	}
}

// gRPC needs no other path where a client speaks HTTP/2; everything else is the API's.
func TestDirect(t *testing.T) {
	s := serve(t)
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	c := &http.Client{Transport: &http.Transport{Protocols: &p}}
	for _, tc := range []struct{ path, kind, want string }{
		{"/any.Service/Call", "application/grpc+proto", "direct"},
		{"/any.Service/Call", "application/json", "page not found"},
		{"/forbidden.Service/Call", "application/grpc", "authorization denied"},
	} {
		res, err := c.Post(s.URL+tc.path, tc.kind, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.ProtoMajor != 2 || !strings.Contains(string(b), tc.want) {
			t.Errorf("%v: %s %q %v", tc, res.Proto, b, err)
		}
	}
}
