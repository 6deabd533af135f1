package plugins

import (
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

// program is a plugin of a kind, which counts handshakes.
func program(kind string, shaken *atomic.Int32) http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("POST /Plugin.Activate", func(w http.ResponseWriter, r *http.Request) {
		shaken.Add(1)
		if r.Header.Get("Accept") != "application/vnd.docker.plugins.v1.2+json" {
			w.WriteHeader(http.StatusNotAcceptable)
		}
		fmt.Fprintf(w, `{"Implements":[%q]}`, kind)
	})
	m.HandleFunc("POST /Say", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"Word":"yes"}`) })
	m.HandleFunc("POST /Away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/Say", http.StatusTemporaryRedirect)
	})
	return m
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func socket(t *testing.T, path string, h http.Handler) *httptest.Server {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}} //nolint:gosec // the only client is the test
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// place is a folder with a short name: a socket's path must fit 108 bytes.
func place(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "p") //nolint:usetesting // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func empty(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, n := range names {
		if err := os.RemoveAll(filepath.Join(dir, n)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFindAndCall(t *testing.T) {
	var shaken atomic.Int32
	h := program("authz", &shaken)
	plainly, secret := httptest.NewServer(h), httptest.NewTLSServer(h)
	t.Cleanup(plainly.Close)
	t.Cleanup(secret.Close)
	dir := place(t)
	ca := filepath.Join(dir, "ca.pem")
	write(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secret.Certificate().Raw})))
	addr := plainly.Listener.Addr().String()
	tests := map[string]struct {
		// files below the folder of specs; sock is a socket's path.
		files map[string]string
		sock  string
		err   string
	}{
		"socket":                 {sock: "socks/p.sock"},
		"socket in a folder":     {sock: "socks/p/p.sock"},
		"socket before file":     {files: map[string]string{"etc/p.spec": "tcp://127.0.0.1:1"}, sock: "socks/p.sock"},
		"spec":                   {files: map[string]string{"etc/p.spec": "http://" + addr + "\n"}},
		"spec, tcp":              {files: map[string]string{"usr/p.spec": "tcp://" + addr}},
		"spec in a folder":       {files: map[string]string{"usr/p/p.spec": "tcp://" + addr}},
		"first folder wins":      {files: map[string]string{"etc/p.json": `{"Addr":"tcp://` + addr + `"}`, "usr/p.spec": "?"}},
		"socket that is told":    {files: map[string]string{"etc/p.spec": "unix://" + dir + "/other.sock"}, sock: "other.sock"},
		"TLS":                    {files: map[string]string{"etc/p.json": `{"Addr":"` + secret.URL + `","TLSConfig":{"CAFile":"` + ca + `"}}`}},
		"TLS, nobody's":          {files: map[string]string{"etc/p.json": `{"Addr":"` + secret.URL + `"}`}, err: "certificate signed by unknown authority"},
		"without protocol":       {files: map[string]string{"etc/p.spec": "127.0.0.1"}, err: "unknown protocol"},
		"with another protocol":  {files: map[string]string{"etc/p.spec": "ftp://127.0.0.1"}, err: `unknown protocol "ftp"`},
		"no JSON":                {files: map[string]string{"etc/p.json": "tcp://" + addr}, err: "invalid character"},
		"a file named as socket": {files: map[string]string{"socks/p.sock": ""}, err: `plugin "p" not found`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			empty(t, dir, "socks", "etc", "usr", "other.sock")
			for path, content := range tt.files {
				write(t, filepath.Join(dir, path), content)
			}
			if tt.sock != "" {
				socket(t, filepath.Join(dir, tt.sock), h)
			}
			p := New(Folders{filepath.Join(dir, "socks"), []string{filepath.Join(dir, "etc"), filepath.Join(dir, "usr")}}, "p", "authz")
			p.patience = 0
			var said struct{ Word string }
			err := p.Call(t.Context(), "Say", map[string]string{"a": "b"}, &said)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("%v, want %s", err, tt.err)
				}
				return
			}
			if err != nil || said.Word != "yes" {
				t.Error(err, said)
			}
		})
	}
}

func TestNamesLeadNowhere(t *testing.T) {
	dir := place(t)
	write(t, filepath.Join(dir, "p.spec"), "tcp://127.0.0.1:1")
	for _, name := range []string{"", ".", "..", "../p", "a/b", "/etc/p"} {
		p := New(Folders{Sockets: dir, Specs: []string{filepath.Join(dir, "etc")}}, name, "authz")
		if err := p.Activate(t.Context()); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestKindAndRedirects(t *testing.T) {
	dir := place(t)
	var shaken atomic.Int32
	socket(t, filepath.Join(dir, "p.sock"), program("VolumeDriver", &shaken))
	f := Folders{Sockets: dir}
	if err := New(f, "p", "authz").Activate(t.Context()); err == nil || err.Error() != `plugin "p" does not implement "authz"` {
		t.Error(err)
	}
	p := New(f, "p", "VolumeDriver")
	var said struct{ Word string }
	if err := p.Call(t.Context(), "Away", nil, &said); err == nil || said.Word != "" {
		t.Error("a plugin has sent us elsewhere: ", err, said)
	}
}

// One that is away is waited for; one that comes back at another place is looked up again.
func TestComesAndGoes(t *testing.T) {
	dir := place(t)
	var shaken atomic.Int32
	p := New(Folders{Sockets: filepath.Join(dir, "a"), Specs: []string{dir}}, "p", "authz")
	p.patience = 30 * time.Second
	done := make(chan error, 1)
	var said struct{ Word string }
	go func() { done <- p.Call(t.Context(), "Say", nil, &said) }()
	s := socket(t, filepath.Join(dir, "a/p.sock"), program("authz", &shaken))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	s.CloseClientConnections()
	s.Close()
	socket(t, filepath.Join(dir, "b.sock"), program("authz", &shaken))
	write(t, filepath.Join(dir, "p.spec"), "unix://"+dir+"/b.sock")
	if err := p.Call(t.Context(), "Say", nil, &said); err != nil {
		t.Fatal(err)
	}
	if n := shaken.Load(); n != 2 {
		t.Errorf("%d handshakes", n)
	}
	gone := New(Folders{Sockets: dir}, "nobody", "authz")
	gone.patience = 0
	if err := gone.Activate(t.Context()); err == nil {
		t.Error("nobody was found")
	}
}
