package registry

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// server is a registry of one repository, "a/image", which lies where a test wants it to.
type server struct {
	*httptest.Server
	mu sync.Mutex
	// blobs are by digest; tags and digests lead to manifests.
	blobs     map[string][]byte
	manifests map[string]document
	// lie answers instead; false when it lets the truth be told.
	lie func(w http.ResponseWriter, r *http.Request) bool
	// requests are "GET /v2/…", in order.
	requests []string
}

type document struct {
	mediaType string
	content   []byte
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{blobs: map[string][]byte{}, manifests: map[string]document{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// host is the registry's name in references.
func (s *server) host() string { return strings.TrimPrefix(s.URL, "http://") }

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	lie := s.lie
	s.mu.Unlock()
	if lie != nil && lie(w, r) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	object := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	switch {
	case r.URL.Path == "/v2/":
	case strings.Contains(r.URL.Path, "/manifests/"):
		m, ok := s.manifests[object]
		if !ok {
			http.Error(w, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`, http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", m.mediaType)
		w.Header().Set("Docker-Content-Digest", digest.FromBytes(m.content).String())
		http.ServeContent(w, r, "", noTime, bytes.NewReader(m.content))
	case strings.Contains(r.URL.Path, "/blobs/"):
		b, ok := s.blobs[object]
		if !ok {
			http.Error(w, `{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]}`, http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", noTime, bytes.NewReader(b))
	default:
		http.NotFound(w, r)
	}
}

// lies makes the server answer otherwise; nil makes it honest again.
func (s *server) lies(lie func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lie = lie
}

// asked is how often a request was made whose path contains a text.
func (s *server) asked(part string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.requests {
		if strings.Contains(r, part) {
			n++
		}
	}
	return n
}

// blob adds content.
func (s *server) blob(mediaType string, b []byte) ocispec.Descriptor {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := digest.FromBytes(b)
	s.blobs[d.String()] = b
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
}

// manifest adds a manifest or an index under names.
func (s *server) manifest(t *testing.T, mediaType string, v any, names ...string) ocispec.Descriptor {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d := digest.FromBytes(b)
	for _, name := range append(names, d.String()) {
		s.manifests[name] = document{mediaType, b}
	}
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
}

// image adds an image with layers of one file each, whose contents are given.
func (s *server) image(t *testing.T, tag string, files ...string) ocispec.Manifest {
	t.Helper()
	return s.imageFor(t, ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}, tag, files...)
}

func (s *server) imageFor(t *testing.T, p ocispec.Platform, tag string, files ...string) ocispec.Manifest {
	t.Helper()
	config := ocispec.Image{Platform: p, RootFS: ocispec.RootFS{Type: "layers"}, Config: ocispec.ImageConfig{Labels: map[string]string{"tag": tag}}}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: images.MediaTypeDockerSchema2Manifest}
	for i, content := range files {
		plain, packed := layer(t, fmt.Sprintf("file-%d", i), content)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(plain))
		m.Layers = append(m.Layers, s.blob(images.MediaTypeDockerSchema2LayerGzip, packed))
	}
	b, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	m.Config = s.blob(images.MediaTypeDockerSchema2Config, b)
	s.manifest(t, m.MediaType, m, tag)
	return m
}

// layer is a tar of one file, plain and compressed.
func layer(t *testing.T, name, content string) (plain, packed []byte) {
	t.Helper()
	var archive, compressed bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(&compressed)
	for _, err := range []error{w.Close(), write(z, archive.Bytes()), z.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return archive.Bytes(), compressed.Bytes()
}

func write(w *gzip.Writer, b []byte) error {
	_, err := w.Write(b)
	return err
}
