package apidiff

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gantry-containers/gantry/tests/harness"
)

// Raw is a request as it goes over the wire, byte by byte: what clients' libraries would clean up.
type Raw struct {
	method, target string
	headers        []string
	body           string
}

func (r *Raw) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %.80s %v %.80s", r.method, r.target, r.headers, r.body))
}

// wire compares what the servers make of odd requests.
func wire(t *testing.T, d *differ) {
	t.Helper()
	if err := d.lanes[0].both((*Lane).Furnish); err != nil {
		t.Fatal(err)
	}
	for _, group := range []struct {
		name string
		raw  []*Raw
	}{{"paths", paths()}, {"names", names()}, {"types", types()}, {"bodies", bodies()}, {"headers", headers()}} {
		t.Run(group.name, func(t *testing.T) {
			for _, r := range group.raw {
				d.lanes[0].raw(t, d.report, "wire "+group.name, r)
			}
			d.report.Tell(t, "wire "+group.name)
		})
	}
}

func (p *pair) raw(t *testing.T, report *Report, group string, r *Raw) {
	t.Helper()
	var want, got *Answer
	err := p.both(func(l *Lane) error {
		a, err := l.raw(r)
		if l == p.want {
			want = a
		} else {
			got = a
		}
		return err
	})
	if err != nil {
		t.Errorf("%s: %v", r, err)
		return
	}
	report.Compare(group, group+": "+r.String(), "", want, got)
	if want.Status == http.StatusCreated || got.Status == http.StatusCreated { // with a name of its own
		if err := p.both(func(l *Lane) error {
			_, _, err := l.do("DELETE", "/containers/"+l.name(Fresh)+"?force=1&v=1", "")
			return err
		}); err != nil {
			t.Error(err)
		}
	}
}

func (l *Lane) raw(r *Raw) (*Answer, error) {
	conn, err := net.Dial("unix", l.socket)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(harness.Limit(20 * time.Second))); err != nil {
		return nil, err
	}
	protocol, chunked := " HTTP/1.1\r\nHost: engine\r\n", false
	var head strings.Builder
	for _, h := range r.headers {
		if strings.HasPrefix(h, "HTTP/") {
			protocol = " " + h + "\r\n"
			continue
		}
		chunked = chunked || strings.HasPrefix(h, "Transfer-Encoding")
		head.WriteString(h + "\r\n")
	}
	if r.body != "" && !chunked {
		fmt.Fprintf(&head, "Content-Length: %d\r\n", len(r.body))
	}
	if !strings.Contains(head.String(), "Connection:") {
		head.WriteString("Connection: close\r\n")
	}
	go func() {
		_, _ = fmt.Fprint(conn, r.method+" "+l.named(r.target)+protocol+head.String()+"\r\n"+l.named(r.body))
	}()
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: r.method})
	if err != nil {
		return nil, err
	}
	return read(response)
}

// paths are those of endpoints, with what may be around them.
func paths() []*Raw {
	var all []*Raw
	add := func(method, target string) { all = append(all, &Raw{method: method, target: target}) }
	for _, path := range []string{"/_ping", "/containers/json", "/containers/RUNNING/json", "/images/json", "/volumes", "/version"} {
		for _, before := range []string{"", "/v1.24", "/v1.56", "/v1.23", "/v1.57", "/v1.99", "/v0", "/v1", "/v1.24.0", "/v1.56.1", "/va", "/v", "/V1.56", "/v1.56/v1.56", "/v1.056", "/", "//", "/v1.56/", "//v1.56"} {
			add("GET", before+path)
		}
		for _, after := range []string{"/", "//", "/x", "?", "#", "%20", "%2F", ";x", "?;", "?%zz", "?a=%zz", "?a&b&=c", "/..", "/../json", "/."} {
			add("GET", "/v1.56"+path+after)
		}
		for _, method := range []string{"HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE", "get", "BREW"} {
			add(method, "/v1.56"+path)
		}
	}
	for _, target := range []string{"/", "//", "", "*", "/nosuch", "/v1.56", "/v1.56/", "/v1.56/nosuch", "/containers", "/containers/", "http://other/v1.56/version", "containers/json", "/grpc", "/v1.56/grpc", "/metrics", "/v1.56/plugins", "/v1.56/swarm", "/v1.56/nodes", "/v1.56/services", "/v1.56/tasks", "/v1.56/secrets", "/v1.56/configs", "/v1.24/nodes", "/v1.56/checkpoints"} {
		add("GET", target)
	}
	for _, target := range []string{"/v1.56/swarm/init", "/v1.56/swarm/leave", "/v1.56/plugins/x/enable", "/v1.56/services/create", "/v1.56/secrets/create", "/v1.56/networks/create", "/v1.56/networks/prune", "/v1.56/build/prune", "/v1.56/build/cancel", "/v1.56/auth", "/v1.24/containers/RUNNING/copy", "/v1.24/containers/RUNNING/exec", "/v1.24/containers/RUNNING/start", "/v1.56/images/load", "/v1.56/commit", "/v1.56/volumes/create"} {
		add("POST", target)
	}
	return all
}

// names are those of things, well and badly written.
func names() []*Raw {
	odd := []string{"", "%2F", "..", "%2e%2e", ".", "%00", "a%20b", "%ff", "%zz", "%", "x/b", "x%2Fb", "-x", "RUNNING", "%52UNNING", "/RUNNING", "%2FRUNNING", "RUNNING/", "RUNNING%2F", "RUNNING%20", "%F0%9F%98%80", "x?b", "a%3Fb", "a;b", "a:b", "a@b", "sha256:1", strings.Repeat("a", 300), strings.Repeat("f", 64), strings.Repeat("0", 12), "null", "{}", "\"", "<b>", "json", "create", "*", "~", "a..b", "../../etc"}
	var all []*Raw
	for _, name := range odd {
		for _, path := range []string{"GET /v1.56/containers/%s/json", "GET /v1.56/images/%s/json", "GET /v1.56/volumes/%s", "GET /v1.56/exec/%s/json", "DELETE /v1.56/containers/%s/x", "DELETE /v1.56/volumes/%s", "GET /v1.56/images/%s/history", "POST /v1.56/containers/%s/unpause", "GET /v1.56/distribution/%s/json", "POST /v1.56/images/kept:1/tag?repo=%s"} {
			method, target, _ := strings.Cut(fmt.Sprintf(path, name), " ")
			if strings.Contains(target, "distribution") && !strings.ContainsAny(name, "%{}\"<*~;?@/") {
				continue // would ask a registry
			}
			all = append(all, &Raw{method: method, target: target})
		}
	}
	for _, name := range []string{"busybox:gantry", "busybox%3Agantry", "docker.io/library/busybox:gantry", "library/busybox:gantry", "docker.io/busybox:gantry", "index.docker.io/library/busybox:gantry", "BUSYBOX:gantry", "busybox", "busybox:", "busybox:bad%20tag", "busybox@sha256:" + strings.Repeat("0", 64), "busybox@sha256:bad", "busybox:gantry@sha256:" + strings.Repeat("0", 64), "localhost/busybox", "kept:1", "kept", "x/y/z:1", "a:5000/b", ":x", "@x", "sha256:" + strings.Repeat("0", 64), strings.Repeat("0", 64)} {
		for _, path := range []string{"GET /v1.56/images/%s/json", "GET /v1.24/images/%s/json", "GET /v1.56/images/%s/history", "GET /v1.56/images/%s/get", "POST /v1.56/images/%s/tag?repo=again"} {
			method, target, _ := strings.Cut(fmt.Sprintf(path, name), " ")
			all = append(all, &Raw{method: method, target: target})
		}
	}
	return all
}

const create = "/v1.56/containers/create?name=FRESH"

// types are declarations of a body's type.
func types() []*Raw {
	var all []*Raw
	for _, body := range []string{`{"Image":"kept:1"}`, ""} {
		for _, kind := range []string{"", "application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "text/json", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", ";;", "a", "/", "application/json,text/plain", "multipart/form-data"} {
			var h []string
			if kind != "" {
				h = []string{"Content-Type: " + kind}
			}
			all = append(all, &Raw{"POST", create, h, body},
				&Raw{"POST", "/v1.24/volumes/create", h, body}, &Raw{"POST", "/v1.56/containers/RUNNING/exec", h, body},
				&Raw{"POST", "/v1.56/containers/RUNNING/update", h, body}, &Raw{"POST", "/v1.56/containers/RUNNING/start", h, body},
				&Raw{"POST", "/v1.24/containers/RUNNING/start", h, body}, &Raw{"POST", "/v1.56/commit?container=nosuch", h, body},
				&Raw{"GET", "/v1.56/containers/json", h, body}, &Raw{"POST", "/v1.56/auth", h, body}, &Raw{"POST", "/v1.56/exec/nosuch/start", h, body})
		}
	}
	return append(all,
		&Raw{"POST", create, []string{"Content-Type: application/json", "Transfer-Encoding: chunked"}, "0\r\n\r\n"},
		&Raw{"POST", create, []string{"Transfer-Encoding: chunked"}, "0\r\n\r\n"},
		&Raw{"POST", create, []string{"Content-Type: application/json", "Transfer-Encoding: chunked"}, "12\r\n{\"Image\":\"kept:1\"}\r\n0\r\n\r\n"},
		&Raw{"POST", "/v1.56/containers/RUNNING/start", []string{"Transfer-Encoding: chunked"}, "0\r\n\r\n"},
		&Raw{"POST", "/v1.56/containers/RUNNING/kill", []string{"Content-Type: application/x-www-form-urlencoded"}, "signal=nothing"},
	)
}

// bodies are JSON as no library writes it.
func bodies() []*Raw {
	var all []*Raw
	for _, body := range []string{
		`{"Image":"nosuch","Image":"kept:1"}`, `{"image":"kept:1"}`, `{"IMAGE":"kept:1","hostconfig":{"networkmode":"none"}}`, `{"Image":"kept:1","Labels":{"a":"1","a":"2"}}`,
		"{\"Image\":\"kept:1\",\"Labels\":{\"a\":\"\xff\"}}", `{"Image":"kept:1","Labels":{"a":"\ud800"}}`, "\ufeff" + `{"Image":"kept:1"}`, "{\"Image\":\"kept:1\",\"Labels\":{\"a\":\"b\x00c\"}}", `{"Image":"kept:1","Labels":{"a":"\u0000"}}`,
		strings.Repeat("[", 100), strings.Repeat(`{"a":`, 10001) + "1" + strings.Repeat("}", 10001), `{"Image":` + strings.Repeat("[", 20000), `{"Image":"kept:1","HostConfig":{"Memory":1e9}}`, `{"Image":"kept:1","HostConfig":{"Memory":67108864.0}}`,
		`{"Image":"kept:1","HostConfig":{"Memory":1e400}}`, `{"Image":"kept:1","HostConfig":{"Memory":9223372036854775808}}`, `{"Image":"kept:1","HostConfig":{"Memory":"67108864"}}`, `{"Image":"kept:1"} x`, `{"Image":"kept:1"}{"Image":"x"}`, `{"Image":"kept:1"}` + "\n\n", " \n" + `{"Image":"kept:1"}`, `{"Image":"kept:1",}`,
		`{'Image':'kept:1'}`, `{Image:1}`, "tru", "nul", "1", "-", `"`, "{", "}", "[]", "[{}]", "null", "{}", `{"HostConfig":null}`, `{"Image":"kept:1","HostConfig":{}}`, `{"Image":null}`, `{"Image":""}`, `{"Image":"kept:1","Env":null,"Cmd":null,"Labels":null,"Volumes":null,"ExposedPorts":null,"Entrypoint":null,"HostConfig":{"Binds":null,"PortBindings":null,"Links":null}}`,
		`{"Image":"kept:1","Env":[],"Cmd":[],"Labels":{},"Volumes":{},"ExposedPorts":{},"Entrypoint":[],"HostConfig":{"Binds":[],"PortBindings":{},"Links":[]}}`, `{"Image":"kept:1","Env":["A=` + strings.Repeat("x", 1<<20) + `"]}`, `{"Image":"kept:1","Labels":{"` + strings.Repeat("x", 1<<16) + `":""}}`, `{"Image":"kept:1","Cmd":["` + strings.Repeat("é", 1<<12) + `"]}`,
		`{"Image":"kept:1","Hostname":"` + strings.Repeat("h", 100) + `"}`, `{"Image":"kept:1","unknown":{"a":[1,2,{"b":null}]}}`, `{"Image":"kept:1","Env":["A\u0000=b"]}`, `{"Image":"kept:1","Cmd":["a\u0000"]}`,
	} {
		for _, target := range []string{create, "/v1.24/containers/create?name=FRESH"} {
			all = append(all, &Raw{"POST", target, []string{"Content-Type: application/json"}, body})
		}
	}
	return all
}

// headers are those that the engine reads, and some that it need not.
func headers() []*Raw {
	all := []*Raw{
		{"GET", "/v1.56/version", []string{"HTTP/1.0"}, ""},
		{"GET", "/v1.56/version", []string{"HTTP/1.1"}, ""},
		{"GET", "/v1.56/version", []string{"HTTP/3.0"}, ""},
		{"GET", "/v1.56/version", []string{"HTTP/x"}, ""},
		{"GET", "/v1.56/version", []string{"Connection: Upgrade", "Upgrade: h2c"}, ""},
		{"GET", "/v1.56/version", []string{"Accept: text/html"}, ""},
		{"GET", "/v1.56/version", []string{"Accept-Encoding: gzip"}, ""},
		{"GET", "/v1.56/version", []string{"Origin: http://x"}, ""},
		{"GET", "/v1.56/version", []string{"bad header"}, ""},
		{"GET", "/v1.56/version", []string{": x"}, ""},
		{"GET", "/v1.56/version", []string{"X: " + strings.Repeat("x", 2<<20)}, ""},
		{"GET", "/v1.56/version", []string{"Content-Length: x"}, ""},
		{"GET", "/v1.56/version", []string{"Content-Length: -1"}, ""},
		{"POST", create, []string{"Content-Type: application/json", "Expect: 100-something"}, `{"Image":"kept:1"}`},
		{"GET", "/v1.56/version", []string{"User-Agent: Docker-Client/99.0 (linux)"}, ""},
		{"GET", "/v1.56/version", []string{"User-Agent: Docker-Client/17.03 (linux)"}, ""},
	}
	for _, accept := range []string{"", "application/json", "application/x-ndjson", "application/jsonl", "application/json-seq", "*/*", "application/*", "text/html", "application/jsonl;q=0.1, application/x-ndjson", "garbage", "application/json-seq;q=0"} {
		for _, version := range versions {
			all = append(all, &Raw{"GET", "/v" + version + "/events?since=1&until=2", []string{"Accept: " + accept}, ""})
		}
	}
	for _, accept := range []string{"", "application/vnd.docker.multiplexed-stream", "application/vnd.docker.raw-stream", "*/*", "garbage"} {
		for _, version := range versions {
			all = append(all, &Raw{"GET", "/v" + version + "/containers/STOPPED/logs?stdout=1", []string{"Accept: " + accept}, ""},
				&Raw{"POST", "/v" + version + "/containers/STOPPED/attach?logs=1&stdout=1", []string{"Accept: " + accept}, ""},
				&Raw{"POST", "/v" + version + "/containers/STOPPED/attach?logs=1&stdout=1", []string{"Connection: Upgrade", "Upgrade: tcp", "Accept: " + accept}, ""})
		}
	}
	for _, auth := range []string{"garbage", "e2JhZA==", "e30=", "e30", "{}", "bnVsbA==", "W10="} {
		for _, name := range []string{"X-Registry-Auth", "X-Registry-Config"} {
			h := []string{name + ": " + auth}
			all = append(all, &Raw{"POST", "/v1.56/images/create?fromImage=127.0.0.1:1/x&tag=1", h, ""}, &Raw{"POST", "/v1.56/images/127.0.0.1:1/x/push?tag=1", h, ""}, &Raw{"POST", "/v1.24/images/127.0.0.1:1/x/push?tag=1", h, ""},
				&Raw{"GET", "/v1.56/distribution/127.0.0.1:1/x/json", h, ""}, &Raw{"GET", "/v1.56/images/search?term=127.0.0.1:1/x", h, ""})
		}
	}
	ws := []string{"Connection: Upgrade", "Upgrade: websocket", "Origin: http://x", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
	for _, target := range []string{"/v1.56/containers/RUNNING/attach/ws", "/v1.56/containers/nosuch/attach/ws", "/v1.24/containers/STOPPED/attach/ws?logs=1&stdout=1", "/v1.56/containers/STOPPED/attach/ws?detachKeys=bad-keys"} {
		all = append(all, &Raw{"GET", target, nil, ""})
		if !strings.Contains(target, "RUNNING") {
			all = append(all, &Raw{"GET", target, ws, ""})
		}
		all = append(all, &Raw{"GET", target, ws[:3], ""}, &Raw{"POST", target, ws, ""})
	}
	return all
}
