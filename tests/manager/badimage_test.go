package manager_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

// badImage is one that can't be right, or should better not be.
type badImage struct {
	name string
	make func(t testing.TB, name string, at place) *layout
	ok   bool // it may be unpacked, within the place for it
}

// place is where the manager is, and a file outside of what it has to do with images.
type place struct{ dir, secret string }

// up is a relative path from a snapshot's root to the file.
func (p place) up() string { return strings.Repeat("../", 20) + strings.TrimPrefix(p.secret, "/") }

var badImages = []badImage{
	{"digest", func(t testing.TB, name string, _ place) *layout {
		l := newLayout(t, name, tarOf(t, file("a", "a")))
		l.blobs[l.layerDigest(0)] = gzipped(t, tarOf(t, file("a", "b")))
		return l
	}, false},
	{"short", func(t testing.TB, name string, _ place) *layout {
		l := newLayout(t, name, tarOf(t, file("a", "a")))
		b := l.blobs[l.layerDigest(0)]
		l.blobs[l.layerDigest(0)] = b[:len(b)/2]
		return l
	}, false},
	{"missing", func(t testing.TB, name string, _ place) *layout {
		l := newLayout(t, name, tarOf(t, file("a", "a")), tarOf(t, file("b", "b")))
		delete(l.blobs, l.layerDigest(1))
		return l
	}, false},
	{"no-config", func(t testing.TB, name string, _ place) *layout {
		l := newLayout(t, name, tarOf(t, file("a", "a")))
		l.change(func(m map[string]any) { delete(l.blobs, m["config"].(map[string]any)["digest"].(string)) })
		return l
	}, false},
	{"diff-id", func(t testing.TB, name string, _ place) *layout {
		l := newLayout(t, name, tarOf(t, file("a", "a")))
		other := l.add(typeLayer, gzipped(t, tarOf(t, file("a", "b"))))
		l.change(func(m map[string]any) { m["layers"] = []descriptor{other} })
		return l
	}, false},
	{"no-layers", func(t testing.TB, name string, _ place) *layout {
		l := newLayout(t, name, tarOf(t, file("a", "a")))
		l.change(func(m map[string]any) { m["layers"] = []any{} })
		return l
	}, true},
	{"manifest", func(t testing.TB, name string, _ place) *layout {
		l := newLayout(t, name, tarOf(t, file("a", "a")))
		l.manifest = l.add(typeManifest, []byte(`{"schemaVersion":2,"config":`))
		return l
	}, false},
	{"no-digests", func(t testing.TB, name string, _ place) *layout {
		l := newLayout(t, name, tarOf(t, file("a", "a")))
		l.change(func(m map[string]any) {
			m["layers"] = []any{map[string]any{"mediaType": typeLayer, "digest": "sha256:../../../../etc/passwd", "size": 1}}
		})
		return l
	}, false},
	{"size", func(t testing.TB, name string, _ place) *layout {
		l := newLayout(t, name, tarOf(t, file("a", "a")))
		l.change(func(m map[string]any) { m["layers"].([]any)[0].(map[string]any)["size"] = 1 << 40 })
		return l
	}, true},
	{"no-gzip", func(t testing.TB, name string, _ place) *layout {
		l := newLayout(t, name, tarOf(t, file("a", "a")))
		bad := l.add(typeLayer, []byte("\x1f\x8b this is no gzip"))
		l.change(func(m map[string]any) { m["layers"] = []descriptor{bad} })
		return l
	}, false},
	{"no-tar", ofTar(func(_ testing.TB, _ place) []byte { return bytes.Repeat([]byte("this is no tar. "), 1000) }), false},
	{"cut-tar", ofTar(func(t testing.TB, _ place) []byte { return tarOf(t, file("a", strings.Repeat("a", 10000)))[:5000] }), false},
	{"dotdot", ofEntries(func(p place) []entry { return []entry{file(p.up(), "overwritten")} }), true},
	{"absolute", ofEntries(func(p place) []entry { return []entry{file(p.secret, "overwritten")} }), true},
	{"symlink", ofEntries(func(p place) []entry {
		return []entry{link(tar.TypeSymlink, "way", filepath.Dir(p.secret)), file("way/secret", "overwritten")}
	}), true},
	{"symlink-up", ofEntries(func(p place) []entry {
		return []entry{link(tar.TypeSymlink, "way", filepath.Dir(p.up())), file("way/secret", "overwritten")}
	}), true},
	{"symlink-file", ofEntries(func(p place) []entry {
		return []entry{link(tar.TypeSymlink, "secret", p.secret), file("secret", "overwritten")}
	}), true},
	{"hardlink", ofEntries(func(p place) []entry { return []entry{link(tar.TypeLink, "taken", p.secret)} }), false},
	{"hardlink-up", ofEntries(func(p place) []entry { return []entry{link(tar.TypeLink, "taken", p.up())} }), false},
	{"hardlink-symlink", ofEntries(func(p place) []entry {
		return []entry{link(tar.TypeSymlink, "way", filepath.Dir(p.secret)), link(tar.TypeLink, "taken", "way/secret"), file("taken", "overwritten")}
	}), false},
	{"whiteout", ofEntries(func(p place) []entry {
		return []entry{link(tar.TypeSymlink, "way", filepath.Dir(p.secret)), file("way/.wh.secret", "")}
	}), true},
	{"whiteout-up", ofEntries(func(place) []entry { return []entry{file(".wh...", ""), file("a/.wh...", "")} }), true},
	{"device", ofEntries(func(place) []entry {
		return []entry{{Header: tar.Header{Typeflag: tar.TypeBlock, Name: "disk", Mode: 0o666, Devmajor: 254, Devminor: 0}}}
	}), true},
	{"long", ofEntries(func(place) []entry { return []entry{file(strings.Repeat("d/", 3000)+"f", "")} }), false},
}

func ofTar(layer func(testing.TB, place) []byte) func(testing.TB, string, place) *layout {
	return func(t testing.TB, name string, at place) *layout { return newLayout(t, name, layer(t, at)) }
}

func ofEntries(entries func(place) []entry) func(testing.TB, string, place) *layout {
	return ofTar(func(t testing.TB, at place) []byte { return tarOf(t, entries(at)...) })
}

// change makes another manifest.
func (l *layout) change(edit func(manifest map[string]any)) {
	l.t.Helper()
	var m map[string]any
	if err := json.Unmarshal(l.blobs[l.manifest.Digest], &m); err != nil {
		l.t.Fatal(err)
	}
	edit(m)
	delete(l.blobs, l.manifest.Digest)
	l.manifest = l.addJSON(typeManifest, m)
}

// ServeHTTP is a registry that has the image alone, under every name.
func (l *layout) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v2/" {
		return
	}
	_, reference, ok := strings.Cut(r.URL.Path, "/manifests/")
	kind := l.manifest.MediaType
	if !ok {
		_, reference, ok = strings.Cut(r.URL.Path, "/blobs/")
		kind = "application/octet-stream"
	}
	if !strings.HasPrefix(reference, "sha256:") {
		reference = l.manifest.Digest
	}
	b, found := l.blobs[reference]
	if !ok || !found {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Docker-Content-Digest", reference)
	w.Header().Set("Content-Length", fmt.Sprint(len(b)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(b) // a client that has gone needs no answer
	}
}

// TestBadImages imports and pulls images that are wrong, by the manager itself and by its client. They are refused, or
// stay within their snapshots; when the image is removed nothing is left of it.
func TestBadImages(t *testing.T) {
	s := start(t)
	at := place{s.daemon.Dir, s.path("outside/secret")}
	if err := os.MkdirAll(filepath.Dir(at.secret), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at.secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, b := range badImages {
		t.Run(b.name, func(t *testing.T) {
			imported := b.make(t, "docker.io/library/bad:"+b.name, at)
			archive := imported.archive(t.TempDir())
			server := httptest.NewServer(imported)
			defer server.Close()
			ref := strings.TrimPrefix(server.URL, "http://") + "/bad:" + b.name
			for _, local := range []string{"", "--local"} {
				b.try(t, s, imported.name, strings.Fields("images import "+local+" "+archive)...)
				b.try(t, s, ref, strings.Fields("images pull --plain-http "+local+" "+ref)...)
			}
			if got, err := os.ReadFile(at.secret); err != nil || string(got) != "secret" {
				t.Errorf("the file outside: %q, %v", got, err)
			}
			var st unix.Stat_t
			if err := unix.Stat(at.secret, &st); err != nil || st.Nlink != 1 {
				t.Errorf("the file outside has %d names, %v", st.Nlink, err)
			}
			c, ctx := s.api()
			defer hangUp(c)
			collect(ctx, t, c)
			s.stores(ctx, c)
		})
	}
}

// try wants an image to be refused, or removes it.
func (b badImage) try(t *testing.T, s *subject, name string, command ...string) {
	t.Helper()
	_, err := s.ctr.Try(command...)
	if err == nil && !b.ok {
		t.Errorf("ctr %v succeeds", command[:3])
	}
	t.Logf("%.300v", err)
	_, _ = s.ctr.Try("images", "rm", "--sync", name) // it may not be there
}

// TestBomb imports an image that is a megabyte and unpacks to a gigabyte, where there is room for 64 megabytes. It is
// refused, the manager goes on, and all the room comes back.
func TestBomb(t *testing.T) {
	harness.NeedRoot(t)
	if upstream() {
		t.Skip("containerd 2.4.2 can't remove anything where there is no room")
	}
	daemon := compat.StartContainerd(t, compat.Gantry, compat.Shim(t, compat.Gantry))
	daemon.Stop()
	root := filepath.Join(daemon.Dir, "root")
	if err := os.RemoveAll(root); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(root, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=64m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(root, unix.MNT_DETACH); err != nil { // the manager has still files open in it
			t.Error(err)
		}
	})
	daemon.Start()
	client := daemon.Client(harness.Runtime(t))
	zeros := file("zeros", string(make([]byte, 1<<30)))
	bomb := newLayout(t, "docker.io/library/bomb:1", tarOf(t, zeros)).archive(t.TempDir())
	free := room(t, root)
	for _, local := range []string{"", "--local"} {
		_, err := client.Try(strings.Fields("images import " + local + " " + bomb)...)
		if err == nil || !strings.Contains(err.Error(), "no space left on device") {
			t.Errorf("import %s: %v; want that there is no space left on the device", local, err)
		}
		client.Ctr("run", "--rm", "--null-io", compat.ImageName, "after", "true")
		_, _ = client.Try("images", "rm", "--sync", "docker.io/library/bomb:1") // it may not be there
		client.Ctr("leases", "create", "--id", "collect")
		client.Ctr("leases", "rm", "--sync", "collect")
		if now := room(t, root); now+1<<20 < free {
			t.Errorf("import %s has taken %d bytes for good", local, free-now)
		}
	}
}

// room is how many bytes are free.
func room(t *testing.T, dir string) int64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize
}
