package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/distribution/reference"
	"github.com/google/go-cmp/cmp"
	api "github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/jsonstream"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/progress"
)

// noTime is no time of change.
var noTime time.Time

// transcript is a stream that is kept.
type transcript struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *transcript) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// lines are "id status" of each message, without those whose number depends on speed.
func (s *transcript) lines(t *testing.T) []string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for d := json.NewDecoder(bytes.NewReader(s.b.Bytes())); ; {
		var m jsonstream.Message
		err := d.Decode(&m)
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case m.Status == stepDownloading || m.Status == stepVerifying || m.Status == "Pushing":
		case m.Aux != nil:
			all = append(all, "aux "+string(*m.Aux))
		default:
			all = append(all, strings.TrimSpace(m.ID+" "+m.Status))
		}
	}
}

func parse(t *testing.T, name string) reference.Named {
	t.Helper()
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// pullFrom pulls from a test's registry.
func pullFrom(t *testing.T, s *Service, name string, r Request) ([]string, error) {
	t.Helper()
	var out transcript
	err := s.Pull(namespaced(t.Context()), parse(t, name), r, progress.NewWriter(&out))
	return out.lines(t), err
}

func TestPull(t *testing.T) {
	m, srv := newManager(t), newServer(t)
	s := m.service(t, Config{MaxDownloads: 1})
	image := srv.image(t, "v1", "one", "two")
	name := srv.host() + "/a/image:v1"
	got, err := pullFrom(t, s, name, Request{})
	if err != nil {
		t.Fatal(err)
	}
	one, two := shortID(image.Layers[0].Digest), shortID(image.Layers[1].Digest)
	target := srv.manifests["v1"]
	id := ocispec.Descriptor{Digest: digestOf(target.content)}.Digest.String()
	// What the layers do beside each other may come in any order.
	want := map[string][]string{
		one: {stepPulling, stepDownloaded, stepExtracting, stepDone},
		two: {stepPulling, stepWaiting, stepDownloaded, stepExtracting, stepDone},
	}
	steps, rest := map[string][]string{}, []string{}
	for _, line := range got {
		layer, step, _ := strings.Cut(line, " ")
		if _, ok := want[layer]; ok {
			steps[layer] = append(steps[layer], step)
		} else {
			rest = append(rest, line)
		}
	}
	if d := cmp.Diff(want, steps); d != "" {
		t.Error(d)
	}
	wantRest := []string{"v1 Pulling from a/image", "Digest: " + id, "Status: Downloaded newer image for " + name}
	if d := cmp.Diff(wantRest, rest); d != "" {
		t.Error(d)
	}
	got, err = pullFrom(t, s, name, Request{})
	wantRest[2] = "Status: Image is up to date for " + name
	if d := cmp.Diff(wantRest, got); d != "" || err != nil {
		t.Error(d, err)
	}
	event := api.Message{Type: "image", Action: "pull", Actor: api.Actor{ID: name, Attributes: map[string]string{"name": srv.host() + "/a/image", "tag": "v1"}}}
	if d := cmp.Diff([]api.Message{event, event}, m.events.all); d != "" {
		t.Error(d)
	}
	all := m.left(t)
	if len(all) != 4+2+1 { // manifest, configuration, two layers; two snapshots; a record
		t.Error(all)
	}
	labels := contentLabels(t, m, image.Layers[0])
	if v := labels["containerd.io/distribution.source.127.0.0.1"]; v != "a/image" {
		t.Error(labels)
	}
	config := contentLabels(t, m, image.Config)
	if config["containerd.io/gc.ref.snapshot."+snapshotter] != chainID(t, srv, image) {
		t.Error(config)
	}
}

// An image that a pull replaces stays without a name, until it is pulled again.
func TestPullReplaces(t *testing.T) {
	m, srv := newManager(t), newServer(t)
	s := m.service(t, Config{})
	name := srv.host() + "/a/image:v1"
	var ids []string
	pull := func(content string) {
		t.Helper()
		srv.image(t, "v1", "shared", content)
		if _, err := pullFrom(t, s, name, Request{}); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, digestOf(srv.manifests["v1"].content).String())
	}
	records := func() map[string]string {
		found := map[string]string{}
		list, err := m.client.ImageService().List(m.context(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			found[r.Name] = r.Target.Digest.String()
		}
		return found
	}
	pull("old")
	pull("new")
	if d := cmp.Diff(map[string]string{name: ids[1], "moby-dangling@" + ids[0]: ids[0]}, records()); d != "" {
		t.Error(d)
	}
	pull("old")
	if d := cmp.Diff(map[string]string{name: ids[0], "moby-dangling@" + ids[1]: ids[1]}, records()); d != "" {
		t.Error(d)
	}
}

// A layer that another image has is not fetched again, and shown so.
func TestPullShared(t *testing.T) {
	m, srv := newManager(t), newServer(t)
	s := m.service(t, Config{})
	srv.image(t, "v1", "shared")
	second := srv.image(t, "v2", "shared", "own")
	for _, tag := range []string{"v1", "v2"} {
		got, err := pullFrom(t, s, srv.host()+"/a/image:"+tag, Request{})
		if err != nil {
			t.Fatal(err)
		}
		if tag == "v2" && !contains(got, shortID(second.Layers[0].Digest)+" "+stepExists) {
			t.Error(got)
		}
	}
	if n := srv.asked(second.Layers[0].Digest.String()); n != 1 {
		t.Errorf("the shared layer was asked for %d times", n)
	}
}

func TestPullAllTags(t *testing.T) {
	m, srv := newManager(t), newServer(t)
	s := m.service(t, Config{})
	srv.image(t, "v1", "one")
	srv.image(t, "v2", "two")
	srv.lies(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/tags/list") {
			return false
		}
		if r.URL.Query().Get("last") == "" {
			w.Header().Set("Link", `</v2/a/image/tags/list?last=v1>; rel="next"`)
			_, _ = io.WriteString(w, `{"name":"a/image","tags":["v1"]}`)
		} else {
			_, _ = io.WriteString(w, `{"name":"a/image","tags":["v2"]}`)
		}
		return true
	})
	if _, err := pullFrom(t, s, srv.host()+"/a/image", Request{}); err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"v1", "v2"} {
		if _, err := m.client.ImageService().Get(m.context(t), srv.host()+"/a/image:"+tag); err != nil {
			t.Error(err)
		}
	}
}

func TestPullPlatform(t *testing.T) {
	m, srv := newManager(t), newServer(t)
	s := m.service(t, Config{})
	riscv := ocispec.Platform{OS: "linux", Architecture: "riscv64"}
	own := srv.image(t, "own", "own")
	other := srv.imageFor(t, riscv, "other", "other")
	index := ocispec.Index{MediaType: images.MediaTypeDockerSchema2ManifestList}
	for tag, p := range map[string]*ocispec.Platform{"own": {OS: "linux", Architecture: goarch}, "other": &riscv} {
		d := srv.manifests[tag]
		index.Manifests = append(index.Manifests, ocispec.Descriptor{MediaType: d.mediaType, Digest: digestOf(d.content), Size: int64(len(d.content)), Platform: p})
	}
	srv.manifest(t, index.MediaType, index, "multi")
	name := srv.host() + "/a/image:multi"
	got, err := pullFrom(t, s, name, Request{Platform: &ocispec.Platform{OS: "linux", Architecture: "s390x"}})
	want := "no matching manifest for linux/s390x in the manifest list entries: "
	if err == nil || !strings.HasPrefix(err.Error(), want) || status(err) != 404 || got != nil {
		t.Error(got, err, status(err))
	}
	if left := m.left(t); len(left) != 0 {
		t.Error(left)
	}
	for _, c := range []struct {
		platform *ocispec.Platform
		image    ocispec.Manifest
	}{{nil, own}, {&riscv, other}} {
		if _, err := pullFrom(t, s, name, Request{Platform: c.platform}); err != nil {
			t.Fatal(err)
		}
		if _, err := m.db.ContentStore().Info(m.context(t), c.image.Layers[0].Digest); err != nil {
			t.Error(err)
		}
	}
}

// Two pulls of the same image at the same time fetch each blob once.
func TestPullTogether(t *testing.T) {
	m, srv := newManager(t), newServer(t)
	s := m.service(t, Config{})
	image := srv.image(t, "v1", "one", "two", "three")
	var both sync.WaitGroup
	for range 4 {
		both.Go(func() {
			if err := s.Pull(namespaced(t.Context()), parse(t, srv.host()+"/a/image:v1"), Request{}, progress.NewWriter(io.Discard)); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	for _, l := range image.Layers {
		if n := srv.asked(l.Digest.String()); n != 1 {
			t.Errorf("%d requests for %s", n, l.Digest)
		}
	}
	if len(s.locks.keys) != 0 {
		t.Error(s.locks.keys)
	}
}

// A pull whose client goes away leaves nothing.
func TestPullCanceled(t *testing.T) {
	m, srv := newManager(t), newServer(t)
	s := m.service(t, Config{})
	image := srv.image(t, "v1", "one", strings.Repeat("two", 1000))
	ctx, cancel := context.WithCancel(namespaced(t.Context()))
	srv.lies(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, image.Layers[1].Digest.String()) {
			return false
		}
		// A part, and then the client goes.
		_, _ = w.Write(srv.blobs[image.Layers[1].Digest.String()][:10])
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
		return true
	})
	err := s.Pull(ctx, parse(t, srv.host()+"/a/image:v1"), Request{}, progress.NewWriter(io.Discard))
	if err != context.Canceled {
		t.Error(err)
	}
	if left := m.left(t); len(left) != 0 {
		t.Error(left)
	}
}

// What an engine that was killed has left is removed by the next.
func TestSweep(t *testing.T) {
	m := newManager(t)
	s := m.service(t, Config{})
	if _, _, err := s.lease(m.context(t)); err != nil {
		t.Fatal(err)
	}
	if err := s.Sweep(m.context(t)); err != nil {
		t.Fatal(err)
	}
	if left := m.left(t); len(left) != 0 {
		t.Error(left)
	}
}
