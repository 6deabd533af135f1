package registry

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// taking makes a server take uploads.
func (s *server) taking(t *testing.T) {
	t.Helper()
	var uploads atomic.Int32
	s.lies(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Method == http.MethodPost:
			uploads.Add(1)
			w.Header().Set("Location", "/v2/a/image/blobs/uploads/1")
			w.WriteHeader(http.StatusAccepted)
		case r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/uploads/"):
			b, err := io.ReadAll(r.Body)
			if err != nil || digest.FromBytes(b).String() != r.URL.Query().Get("digest") {
				t.Error(err, r.URL)
			}
			s.blob("", b)
			w.WriteHeader(http.StatusCreated)
		case r.Method == http.MethodPut:
			b, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			s.mu.Lock()
			m := document{r.Header.Get("Content-Type"), b}
			s.manifests[r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]] = m
			s.manifests[digestOf(b).String()] = m
			s.mu.Unlock()
			w.WriteHeader(http.StatusCreated)
		default:
			return false
		}
		return true
	})
}

func push1(t *testing.T, s *Service, name string, r Request) ([]string, error) {
	t.Helper()
	var out transcript
	err := s.Push(namespaced(t.Context()), parse(t, name), r, newProgress(&out))
	return out.lines(t), err
}

// An index of which one platform is here is pushed as that platform; a platform can also be asked for.
func TestPushPlatforms(t *testing.T) {
	m, from := newManager(t), newServer(t)
	s := m.service(t, Config{})
	riscv := ocispec.Platform{OS: "linux", Architecture: "riscv64"}
	own, other := from.image(t, "own", "own"), from.imageFor(t, riscv, "other", "other")
	index := ocispec.Index{MediaType: images.MediaTypeDockerSchema2ManifestList}
	var variants []ocispec.Descriptor
	for _, c := range []struct {
		tag string
		p   ocispec.Platform
	}{{"own", ocispec.Platform{OS: "linux", Architecture: goarch}}, {"other", riscv}} {
		d := from.manifests[c.tag]
		variants = append(variants, ocispec.Descriptor{MediaType: d.mediaType, Digest: digestOf(d.content), Size: int64(len(d.content)), Platform: &c.p})
	}
	index.Manifests = variants
	target := from.manifest(t, index.MediaType, index, "multi")
	if _, err := pullFrom(t, s, from.host()+"/a/image:multi", Request{}); err != nil {
		t.Fatal(err)
	}
	to := newServer(t)
	to.taking(t)
	name := to.host() + "/a/image:v1"
	if err := s.create(m.context(t), images.Image{Name: name, Target: target}); err != nil {
		t.Fatal(err)
	}
	check := func(got []string, err error, manifest ocispec.Descriptor) {
		t.Helper()
		if err != nil || !contains(got, "v1: digest: "+manifest.Digest.String()+" size: "+itoa(manifest.Size)) {
			t.Error(err, got)
		}
		if d := to.manifests["v1"]; digestOf(d.content) != manifest.Digest {
			t.Error(d)
		}
	}
	got, err := push1(t, s, name, Request{})
	check(got, err, variants[0])
	if !strings.Contains(strings.Join(got, "\n"), `"manifestPushedInsteadOfIndex":true`) {
		t.Error(got)
	}
	// Asked for, but not here.
	_, err = push1(t, s, name, Request{Platform: &riscv})
	text := "image with reference " + name + " was found but does not provide the specified platform (linux/riscv64)"
	if err == nil || err.Error() != text || status(err) != 404 {
		t.Error(err)
	}
	// Both are here: the index goes, and either when it is asked for.
	if _, err := pullFrom(t, s, from.host()+"/a/image:multi", Request{Platform: &riscv}); err != nil {
		t.Fatal(err)
	}
	got, err = push1(t, s, name, Request{})
	check(got, err, target)
	got, err = push1(t, s, name, Request{Platform: &riscv})
	check(got, err, variants[1])
	for _, layer := range []ocispec.Descriptor{own.Layers[0], other.Layers[0]} {
		if to.blobs[layer.Digest.String()] == nil {
			t.Errorf("no %s", layer.Digest)
		}
	}
	leases, err := m.client.LeasesService().List(m.context(t))
	if len(leases) != 0 || err != nil {
		t.Error(leases, err)
	}
}

func TestPushErrors(t *testing.T) {
	m, srv := newManager(t), newServer(t)
	s := m.service(t, Config{})
	image := srv.image(t, "v1", "one")
	name := srv.host() + "/a/image:v1"
	if _, err := pullFrom(t, s, name, Request{}); err != nil {
		t.Fatal(err)
	}
	refuse := func(code int, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
			return true
		}
	}
	srv.blobs = map[string][]byte{}
	for _, c := range []struct {
		name   string
		lie    func(http.ResponseWriter, *http.Request) bool
		status int
		text   string
	}{
		{srv.host() + "/a/none:v1", nil, 404, "tag does not exist: " + srv.host() + "/a/none:v1"},
		{srv.host() + "/a/none", nil, 500, "An image does not exist locally with the tag: " + srv.host() + "/a/none"},
		{name, func(w http.ResponseWriter, r *http.Request) bool {
			return r.Method == http.MethodPost && refuse(403, `{"errors":[{"code":"DENIED","message":"no room","detail":"x"}]}`)(w, r)
		}, 403, "error from registry: no room - x"},
	} {
		srv.lies(c.lie)
		_, err := push1(t, s, c.name, Request{})
		if err == nil || err.Error() != c.text || status(err) != c.status {
			t.Errorf("%d: %v", status(err), err)
		}
	}
	// Without one of its layers an image cannot be pushed.
	if err := m.db.ContentStore().Delete(m.context(t), image.Layers[0].Digest); err != nil {
		t.Fatal(err)
	}
	srv.lies(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost {
			w.Header().Set("Location", "/v2/a/image/blobs/uploads/1")
			w.WriteHeader(http.StatusAccepted)
		}
		return r.Method != http.MethodHead
	})
	got, err := push1(t, s, name, Request{})
	if status(err) != 404 || !strings.Contains(strings.Join(got, "\n"), `"contentMissing":true`) {
		t.Error(got, err)
	}
}

func TestPushTells(t *testing.T) {
	m, srv := newManager(t), newServer(t)
	s := m.service(t, Config{})
	image := srv.image(t, "v1", "one")
	name := srv.host() + "/a/image:v1"
	if _, err := pullFrom(t, s, name, Request{}); err != nil {
		t.Fatal(err)
	}
	target := digestOf(srv.manifests["v1"].content)
	size := len(srv.manifests["v1"].content)
	id := shortID(image.Layers[0].Digest)
	got, err := push1(t, s, name, Request{})
	want := []string{
		"The push refers to repository [" + srv.host() + "/a/image]", id + " Preparing", id + " Layer already exists",
		"v1: digest: " + target.String() + " size: " + itoa(int64(size)),
		`aux {"Tag":"v1","Digest":"` + target.String() + `","Size":` + itoa(int64(size)) + `}`,
	}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Error(d, err)
	}
	last := m.events.all[len(m.events.all)-1]
	if last.Action != "push" || last.Actor.ID != name || last.Actor.Attributes["tag"] != "v1" {
		t.Error(last)
	}
}
