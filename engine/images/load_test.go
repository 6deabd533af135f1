package images

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestLoadAndLook(t *testing.T) { onEach(t, testLoadAndLook) }

func testLoadAndLook(f *fixture) {
	t := f.t
	m := makeImage("one", here, map[string]string{"color": "red"})
	id := digest.FromBytes(m.manifest)
	if got, want := f.load(single(m, "docker.io/library/one:latest")), "Loaded image: one:latest\n"; got != want {
		t.Errorf("said %q, want %q", got, want)
	}
	if diff := cmp.Diff([]string{"image load ID ID"}, f.events.take()); diff != "" {
		t.Errorf("events: %s", diff)
	}
	for _, name := range []string{"one", "one:latest", "docker.io/library/one", id.String(), id.Encoded(), id.Encoded()[:12], "sha256:" + id.Encoded()[:8], "one@" + id.String()} {
		img, err := f.Resolve(f.ctx, name, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if img.Target.Digest != id || img.Manifest.Digest != id || img.ChainID != digest.FromBytes(m.layer) || img.Config.Config.Cmd[0] != "sh" {
			t.Errorf("%s: %+v", name, img)
		}
	}
	if _, err := f.client.SnapshotService("overlayfs").Stat(f.ctx, digest.FromBytes(m.layer).String()); err != nil {
		t.Errorf("it is not unpacked: %v", err)
	}
	in, err := f.Inspect(f.ctx, "one", InspectOptions{Manifests: true})
	if err != nil {
		t.Fatal(err)
	}
	if in.Size <= int64(len(m.layer)+len(m.config)+len(m.manifest)) {
		t.Errorf("size %d does not count the snapshot", in.Size)
	}
	if diff := cmp.Diff([]string{"one:latest"}, in.RepoTags); diff != "" {
		t.Error(diff)
	}
	list, err := f.List(f.ctx, ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].ID != id.String() || list[0].Labels["color"] != "red" || list[0].Size != in.Size {
		t.Errorf("list: %+v", list)
	}
}

func TestNotFound(t *testing.T) {
	f := newFixture(t)
	f.load(single(makeImage("one", linux("s390x"), nil), "docker.io/library/one:latest"))
	for _, c := range []struct {
		name     string
		platform *ocispec.Platform
		want     string
	}{
		{"two", nil, "No such image: two:latest"},
		{"docker.io/library/two:3", nil, "No such image: two:3"},
		{"abcdef012345", nil, "No such image: abcdef012345:latest"},
		{"sha256:" + strings.Repeat("a", 64), nil, "No such image: sha256:" + strings.Repeat("a", 64)},
		{"one", &ocispec.Platform{OS: "linux", Architecture: "riscv64"}, "image with reference one:latest was found but does not provide the specified platform (linux/riscv64)"},
	} {
		_, err := f.Resolve(f.ctx, c.name, c.platform)
		if err == nil || err.Error() != c.want || !errdefs.IsNotFound(err) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := f.Resolve(f.ctx, "one", nil); err != nil {
		t.Errorf("an image for another machine is found when no platform is asked for: %v", err)
	}
	if _, err := f.Resolve(f.ctx, "UPPER", nil); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a bad name: %v", err)
	}
}

// TestOldDockerArchive loads what docker save wrote before it wrote OCI layouts, compressed.
func TestOldDockerArchive(t *testing.T) {
	f := newFixture(t)
	m := makeImage("old", here, nil)
	manifest := marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{"old:1", "old:2"}, "Layers": []string{"x/layer.tar"}}})
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = w.Write(tarOf(file{"x/layer.tar", m.layer}, file{"config.json", m.config}, file{"manifest.json", manifest}))
	_ = w.Close()
	if got, want := f.load(z.Bytes()), "Loaded image: old:1\nLoaded image: old:2\n"; got != want {
		t.Errorf("said %q, want %q", got, want)
	}
	in, err := f.Inspect(f.ctx, "old:2", InspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"old:1", "old:2"}, in.RepoTags); diff != "" {
		t.Error(diff)
	}
}

func TestNamelessAndReplaced(t *testing.T) {
	f := newFixture(t)
	a, b := makeImage("a", here, nil), makeImage("b", here, nil)
	if got, want := f.load(single(a, "")), "Loaded image ID: "+digest.FromBytes(a.manifest).String()+"\n"; got != want {
		t.Errorf("said %q, want %q", got, want)
	}
	f.load(single(a, "docker.io/library/x:latest"))
	f.load(single(b, "docker.io/library/x:latest"))
	got := map[string]string{}
	for _, img := range f.index.all() {
		got[img.Name] = img.Target.Digest.String()
	}
	want := map[string]string{
		danglingName(digest.FromBytes(a.manifest)): digest.FromBytes(a.manifest).String(),
		"docker.io/library/x:latest":               digest.FromBytes(b.manifest).String(),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestLies loads archives that are not what they say: each is refused, and nothing of it stays.
func TestLies(t *testing.T) {
	m := makeImage("good", here, nil)
	desc := named(describe(ocispec.MediaTypeImageManifest, m.manifest), "docker.io/library/lie:latest")
	wrongSize := desc
	wrongSize.Size++
	escape := desc
	escape.Digest = "sha256:../../../../etc/passwd"
	other := makeImage("other", here, nil)
	twoLayers := marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: describe(ocispec.MediaTypeImageConfig, m.config),
		Layers: []ocispec.Descriptor{describe(ocispec.MediaTypeImageLayer, m.layer), describe(ocispec.MediaTypeImageLayer, other.layer)},
	})
	swapped := layout([]ocispec.Descriptor{desc}, m.config, m.manifest)
	swapped = append(swapped[:len(swapped)-1024], tarOf(file{"blobs/sha256/" + digest.FromBytes(m.layer).Encoded(), other.layer})...)
	for name, archive := range map[string][]byte{
		"no archive":          []byte("hello"),
		"empty":               {},
		"no manifest":         tarOf(file{"hello", []byte("hello")}),
		"no layer":            layout([]ocispec.Descriptor{desc}, m.config, m.manifest),
		"layer of other name": swapped,
		"no content":          layout([]ocispec.Descriptor{desc}),
		"wrong size":          layout([]ocispec.Descriptor{wrongSize}, m.layer, m.config, m.manifest),
		"a path for a digest": layout([]ocispec.Descriptor{escape}, m.layer, m.config, m.manifest),
		"layers and diff IDs": layout([]ocispec.Descriptor{named(describe(ocispec.MediaTypeImageManifest, twoLayers), "docker.io/library/lie:latest")}, m.layer, m.config, other.layer, twoLayers),
		"config is a path":    tarOf(file{"manifest.json", []byte(`[{"Config":"../../etc/passwd","RepoTags":["lie:latest"],"Layers":[]}]`)}),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			err := f.Load(f.ctx, bytes.NewReader(archive), nil, func(line string) { t.Errorf("said %q", line) })
			if err == nil {
				t.Fatal("it was loaded")
			}
			t.Log(err)
			if list := f.index.all(); len(list) > 0 {
				t.Errorf("left: %v", list)
			}
			err = f.client.ContentStore().Walk(f.ctx, func(info content.Info) error {
				t.Errorf("left: %s", info.Digest)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBomb(t *testing.T) {
	b := &bounded{plain: bytes.NewReader(make([]byte, 4096)), from: &counted{n: 2}}
	if _, err := b.Read(make([]byte, 2000)); err != nil {
		t.Errorf("2000 bytes from 2: %v", err)
	}
	if _, err := b.Read(make([]byte, 2000)); !errdefs.IsInvalidArgument(err) {
		t.Errorf("4000 bytes from 2: %v", err)
	}
}
