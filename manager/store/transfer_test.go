package store

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/transfer"
	"github.com/containerd/containerd/v2/core/transfer/archive"
	"github.com/containerd/containerd/v2/core/transfer/image"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/tests/harness"
)

// ociArchive packs an image whose layers each have one file of their own, and one that the next layer replaces.
func ociArchive(t testing.TB, layers int) (packed []byte, r registry, diffIDs []digest.Digest) {
	t.Helper()
	r.blobs = map[digest.Digest][]byte{}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	put := func(w *tar.Writer, name string, data []byte) {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	blob := func(mediaType string, data []byte) ocispec.Descriptor {
		d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
		put(w, "blobs/sha256/"+d.Digest.Encoded(), data)
		r.blobs[d.Digest] = data
		return d
	}
	asJSON := func(v any) []byte {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for i := range layers {
		var body bytes.Buffer
		lw := tar.NewWriter(&body)
		put(lw, fmt.Sprintf("file-%d", i), fmt.Appendf(nil, "layer %d", i))
		put(lw, "replaced", fmt.Appendf(nil, "by layer %d", i))
		if i > 0 {
			put(lw, fmt.Sprintf(".wh.gone-%d", i-1), nil)
		}
		put(lw, fmt.Sprintf("gone-%d", i), []byte("the next layer removes it"))
		if err := lw.Close(); err != nil {
			t.Fatal(err)
		}
		manifest.Layers = append(manifest.Layers, blob(ocispec.MediaTypeImageLayer, body.Bytes()))
		diffIDs = append(diffIDs, digest.FromBytes(body.Bytes()))
	}
	manifest.Config = blob(ocispec.MediaTypeImageConfig, asJSON(ocispec.Image{
		Platform: platforms.DefaultSpec(), RootFS: ocispec.RootFS{Type: "layers", DiffIDs: diffIDs},
	}))
	m := blob(ocispec.MediaTypeImageManifest, asJSON(manifest))
	r.manifest = m
	m.Annotations = map[string]string{images.AnnotationImageName: "example.com/layers:1"}
	put(w, "oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	put(w, "index.json", asJSON(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{m}}))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes(), r, diffIDs
}

// registry is where an image can be pulled from.
type registry struct {
	blobs    map[digest.Digest][]byte
	manifest ocispec.Descriptor
}

func (r registry) Resolve(context.Context) (string, ocispec.Descriptor, error) {
	return "example.com/layers:1", r.manifest, nil
}

func (r registry) Fetcher(context.Context, string) (transfer.Fetcher, error) { return r, nil }

func (r registry) Fetch(_ context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	data, ok := r.blobs[desc.Digest]
	if !ok {
		return nil, errdefs.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// meeting is an applier that lets nobody go before two have come.
type meeting struct {
	diff.Applier
	mu   sync.Mutex
	come int
	met  chan struct{}
}

func (m *meeting) Apply(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount, opts ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	m.mu.Lock()
	if m.come++; m.come == 2 {
		close(m.met)
	}
	m.mu.Unlock()
	select {
	case <-m.met:
	case <-ctx.Done():
		return ocispec.Descriptor{}, ctx.Err()
	}
	return m.Applier.Apply(ctx, desc, mounts, opts...)
}

// TestPullUnpacksInParallel pulls an image of which no layer can be unpacked alone.
func TestPullUnpacksInParallel(t *testing.T) {
	harness.NeedRoot(t)
	c := testConfig(t.TempDir())
	ctx := namespaces.WithNamespace(t.Context(), "default")
	s := openStore(t, c)
	s.Differ = differ{s.Differ, &meeting{Applier: s.Differ, met: make(chan struct{})}}
	_, from, diffIDs := ociArchive(t, 6)
	to := image.NewStore("example.com/layers:1", image.WithUnpack(platforms.DefaultSpec(), "overlayfs"))
	if err := s.newTransfer(c).Transfer(ctx, from, to); err != nil {
		t.Fatal(err)
	}
	checkUnpacked(ctx, t, s, diffIDs)
}

func TestImport(t *testing.T) {
	harness.NeedRoot(t)
	ctx := namespaces.WithNamespace(t.Context(), "default")
	s := openStore(t, testConfig(t.TempDir()))
	packed, _, diffIDs := ociArchive(t, 6)
	from := archive.NewImageImportStream(bytes.NewReader(packed), "")
	to := image.NewStore("", image.WithNamedPrefix("example.com/layers", true), image.WithUnpack(platforms.DefaultSpec(), "overlayfs"))
	if err := s.Transfer.Transfer(ctx, from, to); err != nil {
		t.Fatal(err)
	}
	checkUnpacked(ctx, t, s, diffIDs)
}

// TestPullOfABrokenImage leaves nothing.
func TestPullOfABrokenImage(t *testing.T) {
	harness.NeedRoot(t)
	c := testConfig(t.TempDir())
	ctx := namespaces.WithNamespace(t.Context(), "default")
	for name, change := range map[string]func(r registry, layer digest.Digest){
		"a layer is missing":      func(r registry, layer digest.Digest) { delete(r.blobs, layer) },
		"a layer is another":      func(r registry, layer digest.Digest) { r.blobs[layer] = bytes.Repeat([]byte("x"), len(r.blobs[layer])) },
		"a layer has lost bytes":  func(r registry, layer digest.Digest) { r.blobs[layer] = r.blobs[layer][:100] },
		"the manifest is another": func(r registry, _ digest.Digest) { r.blobs[r.manifest.Digest] = []byte("{}") },
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, c)
			_, from, diffIDs := ociArchive(t, 4)
			change(from, diffIDs[2])
			to := image.NewStore("example.com/layers:1", image.WithUnpack(platforms.DefaultSpec(), "overlayfs"))
			if err := s.Transfer.Transfer(ctx, from, to); err == nil {
				t.Error("it was pulled")
			}
			if err := s.Collect(ctx); err != nil {
				t.Error(err)
			}
			if got := things(ctx, t, s); len(got) > 0 {
				t.Errorf("left: %v", got)
			}
			if left := leftovers(ctx, t, s); len(left) > 0 {
				t.Errorf("left below: %q", left)
			}
			if left, err := s.blobs.ListStatuses(ctx); err != nil || len(left) > 0 {
				t.Errorf("ingests are left: %v, %v", left, err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// checkUnpacked looks into the image's snapshot, after a collection.
func checkUnpacked(ctx context.Context, t *testing.T, s *Store, diffIDs []digest.Digest) {
	t.Helper()
	if err := s.Collect(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Images.Get(ctx, "example.com/layers:1"); err != nil {
		t.Error(err)
	}
	if left, err := s.Leases.List(ctx); err != nil || len(left) > 0 {
		t.Errorf("leases are left: %v, %v", left, err)
	}
	mounts, err := s.Snapshotters["overlayfs"].View(ctx, "look", identity.ChainID(diffIDs).String())
	if err != nil {
		t.Fatal(err)
	}
	last := len(diffIDs) - 1
	want := map[string]string{"replaced": fmt.Sprintf("by layer %d", last), fmt.Sprintf("gone-%d", last): "the next layer removes it"}
	for i := range diffIDs {
		want[fmt.Sprintf("file-%d", i)] = fmt.Sprintf("layer %d", i)
	}
	if err := mount.WithReadonlyTempMount(ctx, mounts, func(root string) error {
		found, err := os.ReadDir(root)
		if err != nil || len(found) != len(want) {
			t.Errorf("%d files, want %d: %v", len(found), len(want), err)
		}
		for name, text := range want {
			if got, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(got) != text {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func TestCapabilities(t *testing.T) {
	s := openStore(t, testConfig(t.TempDir()))
	if got := s.Exports("overlayfs")["root"]; filepath.Base(got) != overlayDir {
		t.Errorf("root %q", got)
	}
	if s.Capabilities("btrfs") != nil || s.Exports("btrfs") != nil {
		t.Error("there is a snapshotter that there isn't")
	}
	found := map[string]bool{}
	for _, name := range s.Capabilities("overlayfs") {
		found[name] = true
	}
	if !found["only-remap-ids"] {
		t.Errorf("capabilities %v", found)
	}
}
