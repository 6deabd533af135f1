package attack_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// told is what plugins are told of a request, as far as these tests look at it.
type told struct {
	User, UserAuthNMethod string
	RequestBody           []byte
}

// guard is a plugin that forbids some requests.
func guard(t *testing.T, forbidden func(told) bool) {
	t.Helper()
	m := http.NewServeMux()
	m.HandleFunc("/Plugin.Activate", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"Implements":["authz"]}`) })
	m.HandleFunc("/AuthZPlugin.AuthZRes", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"Allow":true}`) })
	m.HandleFunc("/AuthZPlugin.AuthZReq", func(w http.ResponseWriter, r *http.Request) {
		var request told
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil || forbidden(request) {
			fmt.Fprint(w, `{"Allow":false,"Msg":"forbidden here"}`)
			return
		}
		fmt.Fprint(w, `{"Allow":true}`)
	})
	const dir = "/run/docker/plugins"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", dir+"/guard.sock")
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: m}} //nolint:gosec // the only client is the engine
	s.Start()
	t.Cleanup(s.Close)
}

// raw sends a request as it is.
func (v *victim) raw(request string) (code int, body string) {
	v.t.Helper()
	conn, err := net.Dial("unix", v.Socket())
	if err != nil {
		v.t.Fatal(err)
	}
	defer conn.Close()
	go func() { _, _ = io.WriteString(conn, request) }()
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		v.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// TestCVE_2024_41110 wants a privileged container past a plugin that forbids them: with a length of 0, in chunks, over
// the limit of what plugins are shown (CVE-2026-34040), as another type.
func TestCVE_2024_41110(t *testing.T) {
	guard(t, func(r told) bool { return strings.Contains(string(r.RequestBody), `"Privileged":true`) })
	v := start(t, "--authorization-plugin=guard")
	honest := `{"Image":"` + busybox + `","Cmd":["true"],"HostConfig":{"NetworkMode":"none"}}`
	order := `{"Image":"` + busybox + `","Cmd":["true"],"HostConfig":{"NetworkMode":"none","Privileged":true}}`
	long := strings.TrimSuffix(order, "}") + `,"Labels":{"x":"` + strings.Repeat("x", 5<<20) + `"}}`
	post := func(header, body string) string {
		return "POST /containers/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + header + "\r\n" + body
	}
	length := func(s string) string { return fmt.Sprintf("Content-Length: %d\r\n", len(s)) }
	chunks := func(s string) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(s), s) }
	const kind = "Content-Type: application/json\r\n"
	if code, body := v.raw(post(kind+length(honest), honest)); code != http.StatusCreated {
		t.Fatalf("an honest request is refused: %d %s", code, body)
	}
	tests := map[string]struct {
		request string
		code    int
		says    string
	}{
		"plain":                {post(kind+length(order), order), 403, "authorization denied by plugin guard: forbidden here"},
		"in chunks":            {post(kind+"Transfer-Encoding: chunked\r\n", chunks(order)), 403, "authorization denied"},
		"length 0":             {post(kind+"Content-Length: 0\r\n", order), 400, ""},
		"length 0, in chunks":  {post(kind+"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", chunks(order)), 403, "authorization denied"},
		"upgrade":              {post(kind+"Upgrade: tcp\r\n"+length(order), order), 403, "authorization denied"},
		"over the limit":       {post(kind+length(long), long), 500, "request body too large for authorization plugin"},
		"long chunk":           {post(kind+"Transfer-Encoding: chunked\r\n", chunks(long)), 500, "request body too large for authorization plugin"},
		"of another type":      {post("Content-Type: text/plain\r\n"+length(order), order), 400, "unsupported Content-Type"},
		"of no type":           {post(length(order), order), 400, "Content-Type"},
		"of two types":         {post("Content-Type: text/plain\r\n"+kind+length(order), order), 400, "Content-Type"},
		"below another prefix": {strings.Replace(post(kind+length(order), order), "/containers", "/v1.41/containers", 1), 403, "authorization denied"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if code, body := v.raw(tt.request); code != tt.code || !strings.Contains(body, tt.says) {
				t.Errorf("%d %.300s, want %d %s", code, body, tt.code, tt.says)
			}
		})
	}
}
