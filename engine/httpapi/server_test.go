package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/httpapi"
)

// quiet keeps the log of a test, for who wants to read it.
func quiet(t *testing.T) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	old := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})))
	t.Cleanup(func() { slog.SetDefault(old) })
	return &b
}

func routes(method, path string, h httpapi.Handler) httpapi.Routes {
	return httpapi.Routes{{Method: method, Path: path, Handle: h}}
}

func say(ctx context.Context, w http.ResponseWriter, _ *http.Request, _ map[string]string) error {
	_, err := io.WriteString(w, httpapi.Version(ctx))
	return err
}

func ask(t *testing.T, h http.Handler, method, path string) *http.Response {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody))
	return rec.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func TestVersions(t *testing.T) {
	quiet(t)
	all := routes(http.MethodGet, "/x", say)
	all = append(all, httpapi.Route{Method: http.MethodGet, Path: "/new/{id}", Since: "1.30", Handle: say})
	h := httpapi.New(httpapi.Options{Server: "1.2.3", Lowest: "1.30"}, all, routes(http.MethodGet, "/{id}", func(context.Context, http.ResponseWriter, *http.Request, map[string]string) error {
		return errors.New("a later router has taken it")
	}))
	const old, plain = "client version 1.%s is too old. Minimum supported API version is 1.30, please upgrade your client to a newer version", "text/plain; charset=utf-8"
	tests := map[string]struct {
		code         int
		kind, answer string
	}{
		"/x":       {200, plain, "1.56"},
		"/v1.30/x": {200, plain, "1.30"},
		"/v1.56/x": {200, plain, "1.56"},
		"/v1.57/x": {400, "application/json", `{"message":"client version 1.57 is too new. Maximum supported API version is 1.56"}`},
		"/v1.29/x": {400, "application/json", `{"message":"` + fmt.Sprintf(old, "29") + `"}`},
		"/v1.23/x": {400, plain, fmt.Sprintf(old, "23")},
		"/v2/x":    {400, "application/json", `{"message":"client version 2 is too new. Maximum supported API version is 1.56"}`},
		"/v1.x/x":  {404, "application/json", `{"message":"page not found"}`},
		"/y/z":     {404, "application/json", `{"message":"page not found"}`},
	}
	for path, test := range tests {
		t.Run(path, func(t *testing.T) {
			r := ask(t, h, http.MethodGet, path)
			if got := body(t, r); r.StatusCode != test.code || got != test.answer || r.Header.Get("Content-Type") != test.kind {
				t.Errorf("%d %s %s\nwant %d %s %s", r.StatusCode, r.Header.Get("Content-Type"), got, test.code, test.kind, test.answer)
			}
			if s := r.Header.Get("Server"); test.code != 404 && s != "Docker/1.2.3 (linux)" {
				t.Errorf("server %q", s)
			}
		})
	}
	t.Run("since", func(t *testing.T) {
		h := httpapi.New(httpapi.Options{}, all)
		r := ask(t, h, http.MethodGet, "/v1.29/new/1")
		if got := body(t, r); r.StatusCode != 400 || got != `{"message":"GET /new/{id} requires minimum API version 1.30"}` {
			t.Errorf("%d %s", r.StatusCode, got)
		}
	})
	t.Run("method", func(t *testing.T) {
		for method, code := range map[string]int{http.MethodOptions: 200, http.MethodPatch: 404, http.MethodHead: 404, http.MethodPost: 404} {
			if r := ask(t, h, method, "/v1.40/x"); r.StatusCode != code {
				t.Errorf("%s: %d, want %d", method, r.StatusCode, code)
			}
		}
	})
}

func TestStatus(t *testing.T) {
	tests := map[string]struct {
		err  error
		want int
	}{
		"not found":               {errdefs.ErrNotFound, 404},
		"invalid":                 {errdefs.ErrInvalidArgument, 400},
		"out of range":            {errdefs.ErrOutOfRange, 400},
		"conflict":                {errdefs.ErrConflict, 409},
		"exists":                  {errdefs.ErrAlreadyExists, 409},
		"unauthorized":            {errdefs.ErrUnauthenticated, 401},
		"forbidden":               {errdefs.ErrPermissionDenied, 403},
		"unavailable":             {errdefs.ErrUnavailable, 503},
		"not modified":            {errdefs.ErrNotModified, 304},
		"not implemented":         {errdefs.ErrNotImplemented, 501},
		"internal":                {errdefs.ErrInternal, 500},
		"none":                    {errors.New("x"), 500},
		"wrapped":                 {fmt.Errorf("a: %w", errdefs.ErrNotFound), 404},
		"gRPC":                    {fmt.Errorf("a: %w", status.Error(codes.NotFound, "x")), 404},
		"fault":                   {fmt.Errorf("a: %w", fault.Errorf(errdefs.ErrConflict, "b: %w", errdefs.ErrNotFound)), 409},
		"the outermost decides":   {fault.As(errdefs.ErrInternal, fmt.Errorf("a: %w", fault.Errorf(errdefs.ErrNotFound, "b"))), 500},
		"canceled by the manager": {status.Error(codes.Canceled, "x"), 500},
	}
	for name, test := range tests {
		if got := httpapi.Status(test.err); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

func TestErrors(t *testing.T) {
	tests := map[string]struct {
		handle       httpapi.Handler
		code         int
		answer, logs string
	}{
		"class": {func(context.Context, http.ResponseWriter, *http.Request, map[string]string) error {
			return fault.Errorf(errdefs.ErrNotFound, "No such container: <x>")
		}, 404, `{"message":"No such container: <x>"}`, "level=DEBUG"},
		"internal": {func(context.Context, http.ResponseWriter, *http.Request, map[string]string) error {
			return errors.New("broken")
		}, 500, `{"message":"broken"}`, "level=ERROR"},
		"not modified": {func(context.Context, http.ResponseWriter, *http.Request, map[string]string) error {
			return errdefs.ErrNotModified
		}, 304, "", "level=DEBUG"},
		"after the answer began": {func(_ context.Context, w http.ResponseWriter, _ *http.Request, _ map[string]string) error {
			_, _ = io.WriteString(w, "half")
			return errors.New("broken")
		}, 200, "half", "broken"},
		"panic": {func(context.Context, http.ResponseWriter, *http.Request, map[string]string) error {
			panic("oops")
		}, 500, `{"message":"internal error: see the engine's log"}`, "oops"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			logs := quiet(t)
			r := ask(t, httpapi.New(httpapi.Options{}, routes(http.MethodGet, "/x", test.handle)), http.MethodGet, "/x")
			if got := body(t, r); r.StatusCode != test.code || got != test.answer {
				t.Errorf("%d %s, want %d %s", r.StatusCode, got, test.code, test.answer)
			}
			if !strings.Contains(logs.String(), test.logs) {
				t.Errorf("log %q, want %q in it", logs, test.logs)
			}
		})
	}
}

// TestTheRequestEnds: the client has gone, which is nothing to log as a failure, or the engine ends, which the client
// must not take for success.
func TestTheRequestEnds(t *testing.T) {
	logs := quiet(t)
	ctx, cancel := context.WithCancel(t.Context())
	h := httpapi.New(httpapi.Options{}, routes(http.MethodGet, "/x", func(context.Context, http.ResponseWriter, *http.Request, map[string]string) error {
		cancel()
		return errors.New("cut off")
	}))
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequestWithContext(ctx, http.MethodGet, "/x", http.NoBody))
	if rec.Code != http.StatusInternalServerError || strings.Contains(logs.String(), "ERROR") {
		t.Errorf("status %d, answer %q, log %s", rec.Code, rec.Body, logs)
	}
}

func TestReadJSON(t *testing.T) {
	type thing struct{ A int }
	tests := map[string]struct {
		kind, body string
		want       thing
		err        string
	}{
		"value":          {"application/json", `{"A":1}`, thing{1}, ""},
		"charset":        {"application/json; charset=utf-8", `{"A":1}`, thing{1}, ""},
		"unknown fields": {"application/json", `{"A":1,"b":{}}`, thing{1}, ""},
		"nothing":        {"", "", thing{}, ""},
		"only spaces":    {"application/json", " ", thing{}, "invalid JSON: got EOF while reading request body"},
		"no JSON":        {"application/json", "x", thing{}, "invalid JSON: invalid character 'x' looking for beginning of value"},
		"half":           {"application/json", `{"A":`, thing{}, "invalid JSON: unexpected EOF"},
		"wrong type":     {"application/json", `{"A":"x"}`, thing{}, "invalid JSON: json: cannot unmarshal string into Go struct field thing.A of type int"},
		"two":            {"application/json", `{"A":1}{"A":2}`, thing{1}, "unexpected content after JSON"},
		"other kind":     {"text/plain", `{"A":1}`, thing{}, "unsupported Content-Type header (text/plain): must be 'application/json'"},
		"no kind":        {"", `{"A":1}`, thing{}, "malformed Content-Type header (): mime: no media type"},
		"too long":       {"application/json", `{"b":"` + strings.Repeat("x", 17<<20) + `"}`, thing{}, "invalid JSON: the request body is longer than 16777216 bytes"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(test.body))
			r.Header.Set("Content-Type", test.kind)
			if test.kind == "" {
				r.Header.Del("Content-Type")
			}
			var got thing
			err := httpapi.ReadJSON(r, &got)
			if test.err != "" {
				if err == nil || err.Error() != test.err || httpapi.Status(err) != 400 {
					t.Errorf("error %v, want %s", err, test.err)
				}
				return
			}
			if err != nil || got != test.want {
				t.Errorf("%v, %v, want %v", got, err, test.want)
			}
		})
	}
}

func TestMerge(t *testing.T) {
	type inner struct{ ID string }
	v := struct {
		Commit inner
		Big    int64
		Null   []string
		Text   string
	}{inner{"a"}, 1<<62 + 1, nil, "<&>"}
	got, err := httpapi.Merge(v, map[string]any{"Commit": map[string]any{"ID": "b", "Expected": "c"}, "Null": false, "Big": 1, "New": []string{}})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"Big":4611686018427387905,"Commit":{"Expected":"c","ID":"a"},"New":[],"Null":false,"Text":"<&>"}`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Error(d)
	}
}

func TestJSONStream(t *testing.T) {
	tests := map[string]struct{ version, accept, want string }{
		"new":             {"1.52", "", "application/jsonl"},
		"old":             {"1.51", "", "application/json"},
		"anything":        {"1.51", "*/*", "application/json"},
		"named":           {"1.51", "application/x-ndjson", "application/x-ndjson"},
		"liked more":      {"1.52", "application/x-ndjson;q=0.5, application/json-seq;q=0.9", "application/json-seq"},
		"not wanted":      {"1.52", "application/json-seq;q=0", "application/jsonl"},
		"no media type":   {"1.52", ";;,", "application/jsonl"},
		"equally welcome": {"1.40", "application/json-seq, application/x-ndjson", "application/x-ndjson"},
	}
	for name, test := range tests {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
		r.Header.Set("Accept", test.accept)
		if got := httpapi.JSONStream(httpapi.WithVersion(t.Context(), test.version), r); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

// serve serves routes on a unix socket.
func serve(t *testing.T, all httpapi.Routes) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: httpapi.New(httpapi.Options{}, all), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return path
}

// echo gives back what it gets, until the client ends its direction, and says goodbye after that.
func echo(_ context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	if r.URL.Query().Has("json") {
		if err := httpapi.ReadJSON(r, new(map[string]string)); err != nil {
			return err
		}
	}
	h, err := httpapi.Hijack(w, r, "application/vnd.docker.raw-stream")
	if err != nil {
		return err
	}
	defer h.Close()
	all, err := io.ReadAll(io.MultiReader(bytes.NewReader(h.Early), h.Conn))
	if err != nil {
		return err
	}
	fmt.Fprintf(h, "%s, goodbye", all)
	return h.CloseWrite()
}

func TestHijack(t *testing.T) {
	quiet(t)
	path := serve(t, routes(http.MethodPost, "/echo", echo))
	for _, c := range []struct{ query, upgrade, body, line string }{
		{"", "", "\r\n", "HTTP/1.1 200 OK"},
		{"", "Connection: Upgrade\r\nUpgrade: tcp\r\n", "\r\n", "HTTP/1.1 101 UPGRADED"},
		{"", "Connection: Upgrade\r\nUpgrade: tcp\r\n", "Content-Length: 4\r\n\r\nbody", "HTTP/1.1 101 UPGRADED"},
		{"?json", "Connection: Upgrade\r\nUpgrade: tcp\r\n", "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 101 UPGRADED"},
	} {
		upgrade, line := c.upgrade, c.line
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		// The first words come with the request, before the answer.
		fmt.Fprintf(conn, "POST /v1.41/echo%s HTTP/1.1\r\nHost: x\r\n%s%searly ", c.query, upgrade, c.body)
		in := bufio.NewReader(conn)
		first, err := in.ReadString('\n')
		if err != nil || strings.TrimSpace(first) != line {
			t.Fatalf("%q, %v, want %s", first, err, line)
		}
		fmt.Fprint(conn, "late")
		if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		header, data, _ := strings.Cut(string(rest), "\r\n\r\n")
		if data != "early late, goodbye" {
			t.Errorf("got %q", data)
		}
		if !strings.Contains(header, "Content-Type: application/vnd.docker.raw-stream") || !strings.Contains(header, "Api-Version: 1.56") {
			t.Errorf("header %s", header)
		}
		if strings.Contains(header, "Upgrade: tcp") != (upgrade != "") {
			t.Errorf("header %s", header)
		}
	}
}

// A handler that breaks while it streams must not look like one that ended.
func TestBrokenStreamIsSeen(t *testing.T) {
	quiet(t)
	path := serve(t, routes(http.MethodGet, "/x", func(_ context.Context, w http.ResponseWriter, _ *http.Request, _ map[string]string) error {
		s := httpapi.NewStream(w)
		_, _ = io.WriteString(s, "half")
		panic("oops")
	}))
	r, err := client(path).Get("http://x/x") //nolint:noctx // ended by the server's end
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if b, err := io.ReadAll(r.Body); err == nil {
		t.Errorf("the whole answer seems to be %q", b)
	}
}

func client(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}}
}

// All requests are in their handlers at the same time before any of them is answered.
func TestManyRequestsAtOnce(t *testing.T) {
	const n = 500
	var in sync.WaitGroup
	in.Add(n)
	path := serve(t, routes(http.MethodPost, "/x/{id}", func(_ context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
		in.Done()
		in.Wait()
		var got string
		if err := httpapi.ReadJSON(r, &got); err != nil {
			return err
		}
		return httpapi.WriteJSON(w, http.StatusOK, vars["id"]+got)
	}))
	c := client(path)
	var done sync.WaitGroup
	for i := range n {
		done.Go(func() {
			want := fmt.Sprintf("%d!", i)
			r, err := c.Post(fmt.Sprintf("http://x/v1.40/x/%d", i), "application/json", strings.NewReader(`"!"`)) //nolint:noctx // all end together
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Body.Close()
			var got string
			if err := json.NewDecoder(r.Body).Decode(&got); err != nil || got != want {
				t.Errorf("%q, %v, want %q", got, err, want)
			}
		})
	}
	done.Wait()
}
