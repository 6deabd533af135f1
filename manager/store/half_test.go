package store

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
)

// TestFullDiskHalfIngest: an ingest that could not be begun keeps nobody from listing the others.
func TestFullDiskHalfIngest(t *testing.T) {
	c := smallDisk(t, "4m")
	ctx := namespaces.WithNamespace(t.Context(), "default")
	s := openStore(t, c)
	if _, err := s.Content.Writer(ctx, content.WithRef("goes on")); err != nil {
		t.Fatal(err)
	}
	eat(t, c.Root)
	_, err := s.Content.Writer(ctx, content.WithRef("refused"))
	wantFull(t, err)
	if list, err := s.Content.ListStatuses(ctx); err != nil || len(list) != 1 {
		t.Errorf("ingests %v, %v", list, err)
	}
	if dirs, err := os.ReadDir(s.ingestDir); err != nil || len(dirs) != 1 {
		t.Errorf("directories %v, %v", dirs, err)
	}
}

// TestHalfIngestsAtTheStart: what a loss of power leaves of ingests that were being begun.
func TestHalfIngestsAtTheStart(t *testing.T) {
	for name, damage := range map[string]func(dir string) error{
		"no data":     func(dir string) error { return os.Remove(filepath.Join(dir, "data")) },
		"no ref":      func(dir string) error { return os.Remove(filepath.Join(dir, "ref")) },
		"empty ref":   func(dir string) error { return os.Truncate(filepath.Join(dir, "ref"), 0) },
		"empty times": func(dir string) error { return os.Truncate(filepath.Join(dir, "updatedat"), 0) },
	} {
		t.Run(name, func(t *testing.T) {
			c := testConfig(t.TempDir())
			ctx := namespaces.WithNamespace(t.Context(), "default")
			s := openStore(t, c)
			for _, ref := range []string{"a", "b"} {
				w, err := s.Content.Writer(ctx, content.WithRef(ref))
				if err != nil {
					t.Fatal(err)
				}
				w.Close() // which keeps the ingest
			}
			dirs, err := os.ReadDir(s.ingestDir)
			if err != nil || len(dirs) != 2 {
				t.Fatal(dirs, err)
			}
			s.unclean.Store(true)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := damage(filepath.Join(s.ingestDir, dirs[0].Name())); err != nil {
				t.Fatal(err)
			}
			s = openStore(t, c)
			if list, err := s.Content.ListStatuses(ctx); err != nil || len(list) != 1 {
				t.Errorf("ingests %v, %v; want one", list, err)
			}
			if s.unclean.Load() {
				t.Error("the next start has something to do, too")
			}
		})
	}
}

// TestFullDiskLease: whoever prunes makes a lease first, also after a restart, and also when the space that is kept is
// all that there is.
func TestFullDiskLease(t *testing.T) {
	c := smallDisk(t, "4m")
	ctx := namespaces.WithNamespace(t.Context(), "default")
	s := openStore(t, c)
	d := writeBlob(ctx, t, s.Content, `{"a": "manifest"}`)
	eat(t, c.Root)
	for i := range 2 {
		lease, err := s.Leases.Create(ctx, leases.WithRandomID())
		if err != nil {
			t.Fatalf("start %d: %v", i, err)
		}
		if err := s.Leases.Delete(ctx, lease, leases.SynchronousDelete); err != nil {
			t.Errorf("start %d: %v", i, err)
		}
		// What the last run was given is there for this one, so records can still be made.
		if _, err := s.Images.Create(ctx, images.Image{Name: "one", Target: d}); err != nil && !errdefs.IsAlreadyExists(err) {
			t.Errorf("start %d: %v", i, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, c)
	}
}
