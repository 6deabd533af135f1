package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

var rooted = content.WithLabels(map[string]string{"containerd.io/gc.root": "x"})

// hide takes the blob's file away, so that only memory can answer.
func hide(t *testing.T, root string, d ocispec.Descriptor) {
	t.Helper()
	path := filepath.Join(root, contentDir, "blobs", "sha256", d.Digest.Encoded())
	if err := os.Rename(path, path+".hidden"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Rename(path+".hidden", path); err != nil {
			t.Error(err)
		}
	})
}

func TestMemoryAnswers(t *testing.T) {
	c := testConfig(t.TempDir())
	one, two := namespaces.WithNamespace(t.Context(), "one"), namespaces.WithNamespace(t.Context(), "two")
	s := openStore(t, c)
	manifest := writeBlob(one, t, s.Content, `{"a": "manifest"}`, rooted)
	layer := writeBlob(one, t, s.Content, "a layer", rooted)
	for _, d := range []ocispec.Descriptor{manifest, layer} {
		if _, err := content.ReadBlob(one, s.Content, d); err != nil {
			t.Fatal(err)
		}
		hide(t, c.Root, d)
	}
	if got, err := content.ReadBlob(one, s.Content, manifest); err != nil || string(got) != `{"a": "manifest"}` {
		t.Errorf("manifest: %q, %v", got, err)
	}
	if _, err := content.ReadBlob(one, s.Content, layer); err == nil {
		t.Error("a layer was kept in memory")
	}
	if _, err := s.Content.ReaderAt(two, manifest); !errdefs.IsNotFound(err) {
		t.Errorf("another namespace reads it: %v", err)
	}
	if _, err := s.Content.Info(two, manifest.Digest); !errdefs.IsNotFound(err) {
		t.Errorf("another namespace sees it: %v", err)
	}
}

func TestMemoryFollowsChanges(t *testing.T) {
	c := testConfig(t.TempDir())
	ctx := namespaces.WithNamespace(t.Context(), "one")
	other := namespaces.WithNamespace(t.Context(), "two")
	s := openStore(t, c)
	read := func(ctx context.Context, d ocispec.Descriptor) error {
		_, err := content.ReadBlob(ctx, s.Content, d)
		return err
	}
	updated := writeBlob(ctx, t, s.Content, `{"updated": 1}`, rooted)
	deleted := writeBlob(ctx, t, s.Content, `{"deleted": 1}`, rooted)
	shared := writeBlob(ctx, t, s.Content, `{"shared": 1}`, rooted)
	writeBlob(other, t, s.Content, `{"shared": 1}`, rooted)
	collected := writeBlob(ctx, t, s.Content, `{"collected": 1}`)
	for _, d := range []ocispec.Descriptor{updated, deleted, shared, collected} {
		if err := read(ctx, d); err != nil {
			t.Fatal(err)
		}
	}

	if _, err := s.Content.Update(ctx, content.Info{Digest: updated.Digest, Labels: map[string]string{"new": "label"}}, "labels.new"); err != nil {
		t.Fatal(err)
	}
	info, err := s.Content.Info(ctx, updated.Digest)
	want := map[string]string{"containerd.io/gc.root": "x", "new": "label"}
	if err != nil || !cmp.Equal(info.Labels, want) || info.Size != updated.Size {
		t.Errorf("info after the update: %+v, %v", info, err)
	}
	if err := s.Content.Delete(ctx, deleted.Digest); err != nil {
		t.Fatal(err)
	}
	if err := read(ctx, deleted); !errdefs.IsNotFound(err) {
		t.Errorf("read after the deletion: %v", err)
	}
	if err := s.Content.Delete(ctx, shared.Digest); err != nil {
		t.Fatal(err)
	}
	if err := read(ctx, shared); !errdefs.IsNotFound(err) {
		t.Errorf("read after the deletion here: %v", err)
	}
	if err := read(other, shared); err != nil {
		t.Errorf("read after the deletion elsewhere: %v", err)
	}
	if err := s.Collect(ctx); err != nil {
		t.Fatal(err)
	}
	if err := read(ctx, collected); !errdefs.IsNotFound(err) {
		t.Errorf("read after the collection: %v", err)
	}
	for _, gone := range []ocispec.Descriptor{deleted, collected} {
		if _, ok := s.blobs.blobs[gone.Digest]; ok {
			t.Errorf("%s is kept for nobody", gone.Digest)
		}
	}
	if _, ok := s.blobs.blobs[shared.Digest]; !ok {
		t.Error("what another namespace has was forgotten")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	disk, err := local.NewStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m := newMemory(disk)
	var all []ocispec.Descriptor
	for i := range 100 {
		d := writeBlob(t.Context(), t, m, fmt.Sprintf(`{"%d": "%s"}`, i, strings.Repeat("x", 200<<10)))
		all = append(all, d)
		if _, err := content.ReadBlob(t.Context(), m, d); err != nil {
			t.Fatal(err)
		}
		if _, err := content.ReadBlob(t.Context(), m, all[0]); err != nil { // the first one is read all the time
			t.Fatal(err)
		}
	}
	if m.size > memoryTotal || m.size < memoryTotal/2 || len(m.blobs) != m.order.Len() {
		t.Errorf("%d bytes, %d and %d blobs", m.size, len(m.blobs), m.order.Len())
	}
	if _, ok := m.blobs[all[0].Digest]; !ok {
		t.Error("what is read most was dropped")
	}
	if _, ok := m.blobs[all[1].Digest]; ok {
		t.Error("what was read least was kept")
	}
	large := writeBlob(t.Context(), t, m, fmt.Sprintf(`{"large": "%s"}`, strings.Repeat("x", memoryBlob)))
	if got, err := content.ReadBlob(t.Context(), m, large); err != nil || len(got) != int(large.Size) {
		t.Error(len(got), err)
	}
	if _, ok := m.blobs[large.Digest]; ok {
		t.Error("a large one was kept")
	}
}

// TestMemoryRace has readers, a writer and collections at the same blobs: each read is right, or the blob is not there.
func TestMemoryRace(t *testing.T) {
	c := testConfig(t.TempDir())
	ctx := namespaces.WithNamespace(t.Context(), "one")
	s := openStore(t, c)
	texts := []string{`{"blob": 0}`, `{"blob": 1}`, `{"blob": 2}`}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() { readUntil(ctx, t, s, texts, done) })
	}
	for i := range 30 {
		text := texts[i%len(texts)]
		writeBlobAgain(ctx, t, s.Content, text)
		d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digestOf(text), Size: int64(len(text))}
		if _, err := s.Images.Create(ctx, images.Image{Name: "image", Target: d}); err != nil {
			t.Fatal(err)
		}
		if err := s.Collect(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := content.ReadBlob(ctx, s.Content, d); err != nil {
			t.Errorf("an image's manifest: %v", err)
		}
		if err := s.Images.Delete(ctx, "image", images.SynchronousDelete()); err != nil {
			t.Fatal(err)
		}
		if _, err := content.ReadBlob(ctx, s.Content, d); !errdefs.IsNotFound(err) {
			t.Errorf("after the collection: %v", err)
		}
	}
	close(done)
	readers.Wait()
	if err := s.Collect(ctx); err != nil {
		t.Fatal(err)
	}
	if n := len(s.blobs.blobs); n != 0 {
		t.Errorf("%d blobs are kept that are gone", n)
	}
}

// readUntil reads the blobs in turn.
func readUntil(ctx context.Context, t *testing.T, s *Store, texts []string, done <-chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-done:
			return
		default:
		}
		text := texts[i%len(texts)]
		got, err := content.ReadBlob(ctx, s.Content, ocispec.Descriptor{Digest: digestOf(text), Size: int64(len(text))})
		if err == nil && string(got) != text || err != nil && !errdefs.IsNotFound(err) && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%q, %v", got, err)
			return
		}
	}
}

// TestMemoryOvertaken: a blob that is deleted while it is being read is not kept.
func TestMemoryOvertaken(t *testing.T) {
	disk, err := local.NewStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	slow := &slowStore{Store: disk, opened: make(chan struct{}), goOn: make(chan struct{})}
	m := newMemory(slow)
	d := writeBlob(t.Context(), t, m, `{"a": 1}`)
	read := make(chan error)
	go func() {
		_, err := content.ReadBlob(t.Context(), m, d)
		read <- err
	}()
	<-slow.opened
	if err := m.Delete(t.Context(), d.Digest); err != nil {
		t.Fatal(err)
	}
	close(slow.goOn)
	if err := <-read; err != nil {
		t.Error(err)
	}
	if len(m.blobs) != 0 {
		t.Error("it was kept")
	}
}

type slowStore struct {
	content.Store
	opened, goOn chan struct{}
}

func (s *slowStore) ReaderAt(ctx context.Context, d ocispec.Descriptor) (content.ReaderAt, error) {
	r, err := s.Store.ReaderAt(ctx, d)
	close(s.opened)
	<-s.goOn
	return r, err
}

func BenchmarkManifest(b *testing.B) {
	disk, err := local.NewStore(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	text := fmt.Sprintf(`{"x": "%s"}`, strings.Repeat("x", 2000))
	d := ocispec.Descriptor{Digest: digestOf(text), Size: int64(len(text))}
	if err := content.WriteBlob(b.Context(), disk, "ref", strings.NewReader(text), d); err != nil {
		b.Fatal(err)
	}
	for name, s := range map[string]content.Store{"disk": disk, "memory": newMemory(disk)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := content.ReadBlob(b.Context(), s, d); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
