package store

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/manager/config"
)

// testConfig is one below dir, without a collection at the start, which tests ask for themselves.
func testConfig(dir string) config.Config {
	return config.Config{
		Root: filepath.Join(dir, "root"), State: filepath.Join(dir, "state"),
		Snapshotter: "overlayfs",
		GC:          config.GC{PauseThreshold: 0.02, MutationThreshold: 100, ScheduleDelay: time.Hour},
	}
}

func openStore(t *testing.T, c config.Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func writeBlob(ctx context.Context, t *testing.T, s content.Ingester, text string, opts ...content.Opt) ocispec.Descriptor {
	t.Helper()
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(text), Size: int64(len(text))}
	if err := content.WriteBlob(ctx, s, "write-"+d.Digest.Encoded(), strings.NewReader(text), d, opts...); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestOpenAgain(t *testing.T) {
	c := testConfig(t.TempDir())
	ctx := namespaces.WithNamespace(t.Context(), "one")
	s := openStore(t, c)
	if err := s.Namespaces.Create(ctx, "one", map[string]string{"a": "b"}); err != nil {
		t.Fatal(err)
	}
	d := writeBlob(ctx, t, s.Content, `{"kept": true}`, content.WithLabels(map[string]string{"containerd.io/gc.root": "x"}))
	if _, err := s.Snapshotters["native"].Prepare(ctx, "active", ""); err != nil {
		t.Fatal(err)
	}
	if err := s.Collect(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = openStore(t, c)
	labels, err := s.Namespaces.Labels(ctx, "one")
	if err != nil || !cmp.Equal(labels, map[string]string{"a": "b"}) {
		t.Errorf("labels %v, %v", labels, err)
	}
	if got, err := content.ReadBlob(ctx, s.Content, d); err != nil || string(got) != `{"kept": true}` {
		t.Errorf("blob %q, %v", got, err)
	}
	if _, err := s.Snapshotters["native"].Stat(ctx, "active"); !errdefs.IsNotFound(err) {
		t.Errorf("a snapshot that nothing refers to: %v", err)
	}
}

// writeBlobAgain is writeBlob for one that may be there.
func writeBlobAgain(ctx context.Context, t *testing.T, s content.Ingester, text string) {
	t.Helper()
	d := ocispec.Descriptor{Digest: digest.FromString(text), Size: int64(len(text))}
	if err := content.WriteBlob(ctx, s, "again-"+d.Digest.Encoded(), strings.NewReader(text), d); err != nil && !errdefs.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

func digestOf(text string) digest.Digest { return digest.FromString(text) }

// desc is the descriptor of a manifest.
func desc(text string) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digestOf(text), Size: int64(len(text))}
}
