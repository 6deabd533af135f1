package engine_test

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	registryAddress = "127.0.0.1:5000"
	repository      = "bench/layers"
	pullImage       = registryAddress + "/" + repository + ":v1"
)

// registry serves one image, out of files named by digest: no registry costs less, which leaves the difference to who pulls.
type registry struct {
	dir string
	// types are the media types of what is no layer, by digest.
	types    map[string]string
	manifest string // its digest
}

// add keeps a blob, and returns its descriptor.
func (r *registry) add(b *testing.B, mediaType string, content []byte) map[string]any {
	b.Helper()
	id := digest(content)
	if err := os.WriteFile(filepath.Join(r.dir, id), content, 0o600); err != nil {
		b.Fatal(err)
	}
	r.types[id] = mediaType
	return map[string]any{"mediaType": mediaType, "digest": id, "size": len(content)}
}

// ServeHTTP implements http.Handler: the distribution specification's pull.
func (r *registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	name, found := strings.CutPrefix(req.URL.Path, "/v2/"+repository+"/")
	_, id, _ := strings.Cut(name, "/")
	switch {
	case req.URL.Path == "/v2/":
		return
	case !found:
		http.NotFound(w, req)
		return
	case id == "v1":
		id = r.manifest
	}
	mediaType := r.types[id]
	if mediaType == "" {
		mediaType = "application/octet-stream"
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", id)
	http.ServeFile(w, req, filepath.Join(r.dir, filepath.Base(id)))
}

// serve serves an engine, in its network namespace.
func (r *registry) serve(b *testing.B, e *engine) {
	b.Helper()
	var netns string
	for _, v := range e.Environment() {
		if path, ok := strings.CutPrefix(v, "NETNS="); ok {
			netns = path
		}
	}
	l, err := listenIn(netns)
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: r} //nolint:gosec // its clients are the test's
	go server.Serve(l)                 //nolint:errcheck // it ends when it is closed
	b.Cleanup(func() { _ = server.Close() })
}

// listenIn listens in a network namespace.
func listenIn(netns string) (net.Listener, error) {
	type result struct {
		l   net.Listener
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with this goroutine
		fd, err := unix.Open(netns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			done <- result{nil, err}
			return
		}
		defer unix.Close(fd)
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			done <- result{nil, err}
			return
		}
		l, err := net.Listen("tcp", registryAddress)
		done <- result{l, err}
	}()
	r := <-done
	return r.l, r.err
}
