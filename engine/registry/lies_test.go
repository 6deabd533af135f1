package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// liar is a registry's lie, about an image of two layers.
type liar struct {
	name string
	// prepare sets the lie up, for an image that is served as v1.
	prepare func(t *testing.T, s *server, image ocispec.Manifest)
	// status is that of the error, and text a part of it. inStream says that it comes after something was told.
	status   int
	text     string
	inStream bool
	// most is how many requests the engine may make.
	most int
}

// instead answers requests whose path ends so.
func instead(suffix string, answer http.HandlerFunc) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, suffix) {
			return false
		}
		answer(w, r)
		return true
	}
}

// endless sends for as long as somebody reads.
func endless(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead {
		return
	}
	for b := make([]byte, 64<<10); ; {
		if _, err := w.Write(b); err != nil {
			return
		}
	}
}

// trickling sends a byte now and then.
func trickling(w http.ResponseWriter, r *http.Request) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, _ = w.Write([]byte{' '})
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}

// silence says nothing at all.
func silence(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// rewritten serves v1 with a change to its manifest.
func rewritten(change func(m *ocispec.Manifest)) func(*testing.T, *server, ocispec.Manifest) {
	return func(t *testing.T, s *server, image ocispec.Manifest) {
		t.Helper()
		change(&image)
		s.manifest(t, image.MediaType, image, "v1")
	}
}

func lies() []liar {
	lying := func(suffix func(ocispec.Manifest) string, answer http.HandlerFunc) func(*testing.T, *server, ocispec.Manifest) {
		return func(_ *testing.T, s *server, m ocispec.Manifest) { s.lies(instead(suffix(m), answer)) }
	}
	tag := func(ocispec.Manifest) string { return "/manifests/v1" }
	lastLayer := func(m ocispec.Manifest) string { return m.Layers[1].Digest.String() }
	configBlob := func(m ocispec.Manifest) string { return m.Config.Digest.String() }
	return []liar{
		{"wrong content", func(_ *testing.T, s *server, m ocispec.Manifest) {
			id := lastLayer(m)
			s.blobs[id] = bytes.Repeat([]byte{1}, len(s.blobs[id]))
		}, 400, "unexpected commit digest", true, 8},
		{"wrong configuration", func(_ *testing.T, s *server, m ocispec.Manifest) {
			s.blobs[configBlob(m)] = bytes.Repeat([]byte{' '}, int(m.Config.Size))
		}, 400, "unexpected commit digest", true, 8},
		{"endless layer", lying(lastLayer, endless), 400, "", true, 8},
		{"larger layer", rewritten(func(m *ocispec.Manifest) { m.Layers[1].Size-- }), 400, "", true, 8},
		{"smaller layer", rewritten(func(m *ocispec.Manifest) { m.Layers[1].Size++ }), 500, "unexpected EOF", true, 16},
		{"truncated layer", func(_ *testing.T, s *server, m ocispec.Manifest) {
			s.lies(instead(lastLayer(m), func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", fmt.Sprint(m.Layers[1].Size))
				_, _ = w.Write(s.blobs[lastLayer(m)][:20])
			}))
		}, 500, "unexpected EOF", true, 60},
		{"missing layer", func(_ *testing.T, s *server, m ocispec.Manifest) { delete(s.blobs, lastLayer(m)) }, 404, "not found", true, 8},
		{"layer of another image", func(t *testing.T, s *server, m ocispec.Manifest) {
			m.Layers[1] = s.image(t, "other", "something else").Layers[0]
			s.manifest(t, m.MediaType, m, "v1")
		}, 500, "wrong diff id", true, 8},
		{"one layer less", rewritten(func(m *ocispec.Manifest) { m.Layers = m.Layers[:1] }), 500, "don't match", true, 8},
		{"no digest", rewritten(func(m *ocispec.Manifest) { m.Layers[1].Digest = "sha256:../../../etc/passwd" }), 400, "", true, 8},
		{"negative size", rewritten(func(m *ocispec.Manifest) { m.Layers[1].Size = -1 }), 400, "", true, 8},
		{"huge configuration", rewritten(func(m *ocispec.Manifest) { m.Config.Size = 1 << 40 }), 400, "rejecting", true, 3},
		{"broken server", lying(lastLayer, func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "<html>try later</html>", http.StatusServiceUnavailable)
		}), 500, "503 Service Unavailable", true, 16},
		{"silent layer", lying(lastLayer, silence), 503, "next to nothing", true, 16},
		{"trickling layer", lying(lastLayer, trickling), 503, "next to nothing", true, 16},
		{"silent registry", lying(tag, silence), 503, "next to nothing", false, 3},
		{"a page for people", lying(tag, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, "<html>welcome</html>")
		}), 400, "unsupported media type text/html", false, 3},
		{"endless manifest", lying(tag, endless), 400, "larger than", false, 3},
		{"huge manifest", lying(tag, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", images.MediaTypeDockerSchema2Manifest)
			w.Header().Set("Docker-Content-Digest", digest.FromString("x").String())
			w.Header().Set("Content-Length", "100000000")
			if r.Method != http.MethodHead {
				endless(w, r)
			}
		}), 404, "rejecting 100000000 byte manifest", false, 3},
		{"manifest of another digest", lying(tag, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", images.MediaTypeDockerSchema2Manifest)
			w.Header().Set("Docker-Content-Digest", digest.FromString("x").String())
			w.Header().Set("Content-Length", "3")
		}), 404, "not found", true, 4},
		{"no manifest but JSON", func(t *testing.T, s *server, _ ocispec.Manifest) {
			s.manifest(t, images.MediaTypeDockerSchema2Manifest, []int{1, 2, 3}, "v1")
		}, 500, "", true, 4},
		{"schema 1", func(t *testing.T, s *server, _ ocispec.Manifest) {
			s.manifest(t, images.MediaTypeDockerSchema1Manifest, map[string]int{"schemaVersion": 1}, "v1")
		}, 400, "schema 1 support has been removed", false, 3},
		{"endless redirects", lying(tag, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		}), 500, "stopped after 10 redirects", false, 12},
		{"credentials are never enough", lying(tag, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		}), 500, "401 Unauthorized", false, 10},
	}
}

// A registry that lies gets a clear error, in bounded time and memory, and nothing is left of what it sent.
func TestPullLies(t *testing.T) {
	for _, c := range lies() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m, srv := newManager(t), newServer(t)
			s := m.service(t, Config{Stall: 200 * time.Millisecond, MaxAttempts: 2})
			image := srv.image(t, "v1", "one", strings.Repeat("two", 100))
			c.prepare(t, srv, image)
			auth := &registry.AuthConfig{Username: "joe", Password: "secret"}
			var out transcript
			err := s.Pull(namespaced(t.Context()), parse(t, srv.host()+"/a/image:v1"), Request{Auth: auth}, newProgress(&out))
			if err == nil || status(err) != c.status || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%d: %v", status(err), err)
			}
			if told := len(out.lines(t)) > 0; told != c.inStream {
				t.Errorf("told before the error: %q", out.lines(t))
			}
			if n := srv.asked(""); n > c.most {
				t.Errorf("%d requests: %q", n, srv.requests)
			}
			if d := cmp.Diff([]string{}, m.left(t)); d != "" {
				t.Error(d)
			}
		})
	}
}

// A download that breaks off goes on where it was.
func TestPullResumes(t *testing.T) {
	m, srv := newManager(t), newServer(t)
	s := m.service(t, Config{})
	image := srv.image(t, "v1", "one", strings.Repeat("0123456789", 1000))
	id := image.Layers[1].Digest.String()
	var ranges []string
	var broken atomic.Int32
	srv.lies(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, id) {
			return false
		}
		srv.mu.Lock()
		ranges = append(ranges, r.Header.Get("Range"))
		srv.mu.Unlock()
		if broken.Add(1) > 1 {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(image.Layers[1].Size))
		_, _ = w.Write(srv.blobs[id][:30])
		return true
	})
	if _, err := pullFrom(t, s, srv.host()+"/a/image:v1", Request{}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"", "bytes=30-"}, ranges); d != "" {
		t.Error(d)
	}
}

// A server in trouble is asked again, and the client sees why it waits.
func TestPullRetries(t *testing.T) {
	m, srv := newManager(t), newServer(t)
	s := m.service(t, Config{})
	image := srv.image(t, "v1", "one")
	id := image.Layers[0].Digest
	var tries atomic.Int32
	srv.lies(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, id.String()) || tries.Add(1) > 2 {
			return false
		}
		w.WriteHeader(http.StatusBadGateway)
		return true
	})
	got, err := pullFrom(t, s, srv.host()+"/a/image:v1", Request{})
	if err != nil {
		t.Fatal(err)
	}
	if !contains(got, shortID(id)+" Retrying in 1 second") {
		t.Error(got)
	}
}

// Credentials are for the registry: neither a redirect nor another port of its host gets them.
func TestCredentialsStay(t *testing.T) {
	m, srv := newManager(t), newServer(t)
	s := m.service(t, Config{})
	image := srv.image(t, "v1", "one")
	id := image.Layers[0].Digest.String()
	var mu sync.Mutex
	var seen []string
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r.Header.Get("Authorization"))
		mu.Unlock()
		_, _ = w.Write(srv.blobs[id])
	}))
	defer elsewhere.Close()
	var authorized atomic.Int32
	srv.lies(func(w http.ResponseWriter, r *http.Request) bool {
		if user, password, _ := r.BasicAuth(); user != "joe" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		authorized.Add(1)
		if strings.HasSuffix(r.URL.Path, id) {
			http.Redirect(w, r, elsewhere.URL+"/storage/"+id, http.StatusTemporaryRedirect)
			return true
		}
		return false
	})
	auth := &registry.AuthConfig{Username: "joe", Password: "secret"}
	if _, err := pullFrom(t, s, srv.host()+"/a/image:v1", Request{Auth: auth}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{""}, seen); d != "" || authorized.Load() == 0 {
		t.Error(d, authorized.Load())
	}
}

// Addresses that an image names for its layers are not asked.
func TestForeignLayers(t *testing.T) {
	m, srv := newManager(t), newServer(t)
	s := m.service(t, Config{})
	image := srv.image(t, "v1", "one")
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("asked") }))
	defer elsewhere.Close()
	image.Layers[0].URLs = []string{elsewhere.URL + "/layer"}
	srv.manifest(t, image.MediaType, image, "v1")
	if _, err := pullFrom(t, s, srv.host()+"/a/image:v1", Request{}); err != nil {
		t.Error(err)
	}
}

// A server of tokens that is never content is not asked for ever.
func TestTokenLoop(t *testing.T) {
	m, srv := newManager(t), newServer(t)
	s := m.service(t, Config{})
	srv.image(t, "v1", "one")
	srv.lies(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			_ = json.NewEncoder(w).Encode(map[string]string{"token": "t", "access_token": "t"})
			return true
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="x",scope="repository:a/image:pull"`, srv.URL))
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	_, err := pullFrom(t, s, srv.host()+"/a/image:v1", Request{})
	if n := srv.asked(""); err == nil || n > 16 {
		t.Error(n, err)
	}
}
