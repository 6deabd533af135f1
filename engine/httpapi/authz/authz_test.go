package authz_test

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
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/httpapi"
	"github.com/gantry-containers/gantry/engine/httpapi/authz"
	"github.com/gantry-containers/gantry/engine/plugins"
)

// told is what a plugin heard.
type told struct {
	RequestMethod, RequestUri, User string
	RequestBody, ResponseBody       []byte
	RequestHeaders, ResponseHeaders map[string]string
	ResponseStatusCode              int
}

// judge is a plugin at a socket.
type judge struct {
	mu       sync.Mutex
	requests []told
	answers  []told
	// request and response are what it says; allow when nil.
	request, response func(w http.ResponseWriter, t told)
}

func allow(w http.ResponseWriter, _ told) { fmt.Fprint(w, `{"Allow":true}`) }

func deny(w http.ResponseWriter, _ told) { fmt.Fprint(w, `{"Allow":false,"Msg":"not today"}`) }

func (j *judge) serve(t *testing.T, dir, name string) {
	t.Helper()
	m := http.NewServeMux()
	m.HandleFunc("/Plugin.Activate", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"Implements":["authz"]}`) })
	m.HandleFunc("/AuthZPlugin.AuthZReq", j.handle(&j.requests, &j.request))
	m.HandleFunc("/AuthZPlugin.AuthZRes", j.handle(&j.answers, &j.response))
	l, err := net.Listen("unix", filepath.Join(dir, name+".sock"))
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: m}} //nolint:gosec // the only client is the test
	s.Start()
	t.Cleanup(s.Close)
}

func (j *judge) handle(to *[]told, say *func(http.ResponseWriter, told)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var one told
		if err := json.NewDecoder(r.Body).Decode(&one); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		j.mu.Lock()
		*to = append(*to, one)
		f := *say
		j.mu.Unlock()
		if f == nil {
			f = allow
		}
		f(w, one)
	}
}

func (j *judge) heard() (requests, answers []told) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.requests, j.answers
}

// rig is an API with one plugin, and routes that tell what they read.
type rig struct {
	t    *testing.T
	j    *judge
	addr string
	mu   sync.Mutex
	// read is what the handler has read last; ran says that there was one.
	read []byte
	ran  bool
}

func newRig(t *testing.T) *rig {
	t.Helper()
	old := slog.Default()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	t.Cleanup(func() { slog.SetDefault(old) })
	dir, err := os.MkdirTemp("", "authz") //nolint:usetesting // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	g := &rig{t: t, j: &judge{}}
	g.j.serve(t, dir, "p")
	chain := authz.New(plugins.Folders{Sockets: dir}, []string{"p"})
	s := httptest.NewServer(httpapi.New(httpapi.Options{Server: "1", Guard: chain}, httpapi.Routes{
		{Method: http.MethodPost, Path: "/json", Handle: g.json},
		{Method: http.MethodPost, Path: "/form", Handle: g.form},
		{Method: http.MethodPost, Path: "/auth", Handle: g.json},
		{Method: http.MethodPut, Path: "/files", Handle: g.files},
		{Method: http.MethodGet, Path: "/stream", Handle: g.stream},
		{Method: http.MethodGet, Path: "/error", Handle: g.fail},
		{Method: http.MethodPost, Path: "/attach", Handle: g.attach},
		{Method: http.MethodGet, Path: "/long", Handle: g.long},
	}))
	t.Cleanup(s.Close)
	g.addr = s.Listener.Addr().String()
	return g
}

func (g *rig) note(b []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.read, g.ran = b, true
}

func (g *rig) seen() (b []byte, ran bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.read, g.ran
}

func (g *rig) json(_ context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	var raw json.RawMessage
	if err := httpapi.ReadJSON(r, &raw); err != nil {
		return err
	}
	g.note(raw)
	w.Header().Set("X-Secret", "s")
	return httpapi.WriteJSON(w, http.StatusCreated, map[string]string{"a": "b"})
}

func (g *rig) form(_ context.Context, _ http.ResponseWriter, r *http.Request, _ map[string]string) error {
	if err := httpapi.ParseForm(r); err != nil {
		return err
	}
	g.note([]byte(r.Form.Get("x")))
	return nil
}

func (g *rig) files(_ context.Context, _ http.ResponseWriter, r *http.Request, _ map[string]string) error {
	b, err := io.ReadAll(r.Body)
	g.note(b)
	return err
}

func (g *rig) stream(ctx context.Context, w http.ResponseWriter, _ *http.Request, _ map[string]string) error {
	w.Header().Set("Content-Type", "application/json")
	s := httpapi.NewStream(w)
	s.Start()
	if _, err := io.WriteString(s, `{"n":1}`); err != nil {
		<-ctx.Done() // A handler that never looks at errors is ended, too.
		return err
	}
	return nil
}

func (g *rig) fail(context.Context, http.ResponseWriter, *http.Request, map[string]string) error {
	return fault.Errorf(errdefs.ErrNotFound, "no such thing")
}

func (g *rig) attach(_ context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	h, err := httpapi.Hijack(w, r, "application/vnd.docker.raw-stream")
	if err != nil {
		return err
	}
	defer h.Close()
	b, err := io.ReadAll(io.MultiReader(bytes.NewReader(h.Early), h.Conn))
	g.note(b)
	_, _ = h.Write([]byte("bye"))
	return err
}

func (g *rig) long(_ context.Context, w http.ResponseWriter, _ *http.Request, _ map[string]string) error {
	return httpapi.WriteJSON(w, http.StatusOK, strings.Repeat("x", 17<<20))
}

// raw sends bytes as they are, and ends its own direction when the answer has come.
func (g *rig) raw(request string) (code int, body string) {
	g.t.Helper()
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		g.t.Fatal(err)
	}
	defer conn.Close()
	go func() { _, _ = io.WriteString(conn, request) }()
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		g.t.Fatal(err)
	}
	defer r.Body.Close()
	_ = conn.(*net.TCPConn).CloseWrite()
	b, err := io.ReadAll(r.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		g.t.Fatal(err)
	}
	return r.StatusCode, strings.TrimSpace(string(b))
}

func post(path, header, body string) string {
	return "POST " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + header + "\r\n" + body
}

const jsonType = "Content-Type: application/json\r\n"

func chunked(s string) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(s), s) }

// What the plugin was told is what the handler read, whatever the client says about it: CVE-2024-41110.
func TestHandlerReadsWhatThePluginSaw(t *testing.T) {
	const order = `{"Privileged":true}`
	big := `"` + strings.Repeat("x", 4<<20-2) + `"`
	tests := map[string]struct {
		request string
		code    int
		both    string
	}{
		"plain":                     {post("/json", jsonType+"Content-Length: 19\r\n", order), 201, order},
		"with a version":            {post("/v1.41/json", jsonType+"Content-Length: 19\r\n", order), 201, order},
		"chunked":                   {post("/json", jsonType+"Transfer-Encoding: chunked\r\n", chunked(order)), 201, order},
		"chunked, with charset":     {post("/json", "Content-Type: Application/JSON; charset=utf-8\r\nTransfer-Encoding: chunked\r\n", chunked(order)), 201, order},
		"length 0":                  {post("/json", jsonType+"Content-Length: 0\r\n", order), 201, ""},
		"no length":                 {post("/json", jsonType, order), 201, ""},
		"length 0 and chunked":      {post("/json", jsonType+"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", chunked(order)), 201, order},
		"upgrade with length 0":     {post("/json", jsonType+"Upgrade: tcp\r\nContent-Length: 0\r\n", order), 201, ""},
		"upgrade to another http":   {post("/json", jsonType+"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: 19\r\n", order), 201, order},
		"as long as it may be":      {post("/json", jsonType+fmt.Sprintf("Content-Length: %d\r\n", len(big)), big), 201, big},
		"form":                      {post("/form?x=1", "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n", "x=2"), 200, "x=2"},
		"not JSON":                  {post("/json", "Content-Type: text/plain\r\nContent-Length: 19\r\n", order), 400, ""},
		"no type":                   {post("/json", "Content-Length: 19\r\n", order), 400, ""},
		"two types":                 {post("/json", "Content-Type: text/plain\r\n"+jsonType+"Content-Length: 19\r\n", order), 400, ""},
		"type that cannot be read":  {post("/json", "Content-Type: application/json; =\r\nContent-Length: 19\r\n", order), 400, ""},
		"two lengths":               {post("/json", jsonType+"Content-Length: 0\r\nContent-Length: 19\r\n", order), 400, ""},
		"length shorter than it is": {post("/json", jsonType+"Content-Length: 2\r\n", "{}"+order), 201, "{}"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			if code, body := g.raw(tt.request); code != tt.code {
				t.Fatalf("status %d, want %d: %s", code, tt.code, body)
			}
			requests, _ := g.j.heard()
			read, ran := g.seen()
			if !ran {
				if tt.code < 400 {
					t.Fatal("nobody answered")
				}
				return
			}
			if len(requests) != 1 || string(requests[0].RequestBody) != tt.both {
				t.Fatalf("the plugin was told of %d requests, want %.200q: %.500s", len(requests), tt.both, fmt.Sprint(requests))
			}
			if name == "form" {
				tt.both = "2"
			}
			if string(read) != tt.both {
				t.Errorf("the handler has read %.200q, want %.200q", read, tt.both)
			}
		})
	}
}

// A body over the limit is refused, not shown as empty: CVE-2026-34040.
func TestBodyOverTheLimit(t *testing.T) {
	big := `"` + strings.Repeat("x", 4<<20-1) + `"`
	for name, request := range map[string]string{
		"plain":   post("/json", jsonType+fmt.Sprintf("Content-Length: %d\r\n", len(big)), big),
		"chunked": post("/json", jsonType+"Transfer-Encoding: chunked\r\n", chunked(big)),
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			code, body := g.raw(request)
			if want := `{"message":"request body too large for authorization plugin: size exceeds 4194304 bytes"}`; code != 500 || body != want {
				t.Errorf("%d %s, want 500 %s", code, body, want)
			}
			requests, _ := g.j.heard()
			if _, ran := g.seen(); ran || len(requests) != 0 {
				t.Errorf("the handler ran: %v; the plugin was asked %d times", ran, len(requests))
			}
		})
	}
}

func TestWhatPluginsAreNotShown(t *testing.T) {
	g := newRig(t)
	g.raw(post("/auth", jsonType+"Authorization: a\r\nX-Registry-Auth: b\r\nX-Registry-Config: c\r\nX-Other: d\r\nX-Other: e\r\nContent-Length: 2\r\n", "{}"))
	files := strings.Repeat("f", 5<<20)
	if code, body := g.raw(fmt.Sprintf("PUT /files?a=b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-tar\r\nContent-Length: %d\r\n\r\n%s", len(files), files)); code != 200 {
		t.Fatal(code, body)
	}
	requests, answers := g.j.heard()
	if len(requests) != 2 || len(answers) != 2 {
		t.Fatalf("asked %d times for requests, %d times for answers", len(requests), len(answers))
	}
	login, put := requests[0], requests[1]
	if login.RequestBody != nil || answers[0].ResponseBody != nil || put.RequestBody != nil {
		t.Error("the plugin has seen a body that is not for it")
	}
	h := login.RequestHeaders
	if h["X-Other"] != "e" || h["Authorization"]+h["X-Registry-Auth"]+h["X-Registry-Config"] != "" {
		t.Errorf("headers: %v", h)
	}
	if put.RequestMethod != "PUT" || put.RequestUri != "/files?a=b" {
		t.Errorf("told of %s %s", put.RequestMethod, put.RequestUri)
	}
	if read, _ := g.seen(); string(read) != files {
		t.Error("the files did not arrive")
	}
}

func TestVerdicts(t *testing.T) {
	hang := func(http.ResponseWriter, told) { panic(http.ErrAbortHandler) }
	say := func(code int, text string) func(http.ResponseWriter, told) {
		return func(w http.ResponseWriter, _ told) {
			w.WriteHeader(code)
			fmt.Fprint(w, text)
		}
	}
	tests := map[string]struct {
		say  func(http.ResponseWriter, told)
		code int
		text string
	}{
		"no":                    {deny, 403, "authorization denied by plugin p: not today"},
		"nothing":               {say(200, "{}"), 403, "authorization denied by plugin p: "},
		"error":                 {say(500, `{"Err":"broken"}`), 500, "plugin p failed with error: METHOD: broken"},
		"error in words":        {say(500, "broken"), 500, "plugin p failed with error: METHOD: broken"},
		"yes with another code": {say(302, `{"Allow":true}`), 500, `plugin p failed with error: METHOD: {"Allow":true}`},
		"yes and an error":      {say(200, `{"Allow":true,"Err":"half"}`), 500, "plugin p failed with error: half"},
		"no JSON":               {say(200, "yes"), 500, "plugin p failed with error: METHOD: invalid answer: invalid character 'y' looking for beginning of value"},
		"too much":              {say(200, `{"Allow":true,"Msg":"`+strings.Repeat("x", 1<<20)+`"}`), 500, "plugin p failed with error: METHOD: the answer is longer than 1048576 bytes"},
		"hangs up":              {hang, 500, "plugin p failed with error: "},
	}
	for name, tt := range tests {
		for _, at := range []string{"AuthZPlugin.AuthZReq", "AuthZPlugin.AuthZRes"} {
			t.Run(name+" to "+at, func(t *testing.T) {
				g := newRig(t)
				if at == "AuthZPlugin.AuthZReq" {
					g.j.request = tt.say
				} else {
					g.j.response = tt.say
				}
				code, body := g.raw(post("/json", jsonType+"Content-Length: 2\r\n", "{}"))
				var said struct{ Message string }
				if err := json.Unmarshal([]byte(body), &said); err != nil {
					t.Fatal(err, body)
				}
				want := strings.ReplaceAll(tt.text, "METHOD", at)
				if code != tt.code || !strings.HasPrefix(said.Message, want) || name != "hangs up" && said.Message != want {
					t.Errorf("%d %q, want %d %q", code, said.Message, tt.code, want)
				}
				if _, ran := g.seen(); ran != (at == "AuthZPlugin.AuthZRes") {
					t.Errorf("the handler ran: %v", ran)
				}
			})
		}
	}
}

// An answer that is denied does not leave the engine: not even its header, and not the first piece of a stream.
func TestAnswers(t *testing.T) {
	stream := "GET /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	failure := strings.Replace(stream, "/stream", "/error", 1)
	tests := map[string]struct {
		request, body string
		code          int
		told          told
	}{
		"JSON":   {post("/json", jsonType+"Content-Length: 2\r\n", "{}"), `{"a":"b"}`, 201, told{ResponseStatusCode: 201, ResponseBody: []byte("{\"a\":\"b\"}\n")}},
		"stream": {stream, `{"n":1}`, 200, told{ResponseStatusCode: 200}},
		"error":  {failure, `{"message":"no such thing"}`, 404, told{ResponseStatusCode: 404, ResponseBody: []byte(`{"message":"no such thing"}`)}},
		"attach": {post("/attach", "Upgrade: tcp\r\n", "input"), "bye", 101, told{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			code, body := g.raw(tt.request)
			if code != tt.code || body != tt.body && name != "attach" {
				t.Errorf("%d %s, want %d %s", code, body, tt.code, tt.body)
			}
			_, answers := g.j.heard()
			if len(answers) != 1 {
				t.Fatalf("asked %d times", len(answers))
			}
			if a := answers[0]; a.ResponseStatusCode != tt.told.ResponseStatusCode || !bytes.Equal(a.ResponseBody, tt.told.ResponseBody) {
				t.Errorf("told of %d %s", a.ResponseStatusCode, a.ResponseBody)
			}
		})
		t.Run(name+" denied", func(t *testing.T) {
			g := newRig(t)
			g.j.response = deny
			code, body := g.raw(tt.request)
			if want := `{"message":"authorization denied by plugin p: not today"}`; code != 403 || body != want {
				t.Errorf("%d %s, want 403 %s", code, body, want)
			}
		})
	}
	t.Run("over the limit", func(t *testing.T) {
		code, body := newRig(t).raw(strings.Replace(stream, "/stream", "/long", 1))
		if want := `{"message":"response body too large for authorization plugin: size exceeds 16777216 bytes"}`; code != 403 || body != want {
			t.Errorf("%d %.200s", code, body)
		}
	})
}

// The first that says no ends it, and a name that is given twice is asked once.
func TestOrder(t *testing.T) {
	dir := t.TempDir()
	first, second := &judge{}, &judge{request: deny}
	first.serve(t, dir, "a")
	second.serve(t, dir, "b")
	old := slog.Default()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	t.Cleanup(func() { slog.SetDefault(old) })
	chain := authz.New(plugins.Folders{Sockets: dir}, []string{"a", "b", "a"})
	h := httpapi.New(httpapi.Options{Guard: chain}, httpapi.Routes{{Method: http.MethodGet, Path: "/x", Handle: func(context.Context, http.ResponseWriter, *http.Request, map[string]string) error { return nil }}})
	ask := func() *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/x", http.NoBody))
		return rec
	}
	if rec := ask(); rec.Code != 403 || !strings.Contains(rec.Body.String(), "denied by plugin b") {
		t.Error(rec.Code, rec.Body)
	}
	chain.Set([]string{"b", "a"})
	ask()
	if a, _ := first.heard(); len(a) != 1 {
		t.Errorf("the first was asked %d times: behind one that says no, nobody is asked", len(a))
	}
	chain.Set(nil)
	if rec := ask(); rec.Code != 200 {
		t.Error(rec.Code, rec.Body)
	}
	if b, _ := second.heard(); len(b) != 2 {
		t.Errorf("the second was asked %d times", len(b))
	}
	// A version that is not served is told only to who may ask.
	chain.Set([]string{"b"})
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v9.99/x", http.NoBody))
	if rec.Code != 403 {
		t.Error(rec.Code, rec.Body)
	}
}
