package store

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	bolt "go.etcd.io/bbolt"

	"github.com/gantry-containers/gantry/manager/config"
)

// BenchmarkRunTransactions is what `ctr run --rm` writes: a lease, a snapshot, their removal.
func BenchmarkRunTransactions(b *testing.B) {
	ctx := namespaces.WithNamespace(b.Context(), "default")
	s, err := Open(ctx, testConfig(b.TempDir()), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // of a test
	n := 0
	for b.Loop() {
		n++
		id := fmt.Sprint("run-", n)
		l, err := s.Leases.Create(ctx, leases.WithID(id))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Snapshotters["overlayfs"].Prepare(ctx, id, ""); err != nil {
			b.Fatal(err)
		}
		if err := s.Leases.Delete(ctx, l); err != nil {
			b.Fatal(err)
		}
		if err := s.Snapshotters["overlayfs"].Remove(ctx, id); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBoltOptions(b *testing.B) {
	for name, options := range map[string]bolt.Options{
		"containerd-meta":     {NoFreelistSync: true, NoStatistics: true, FreelistType: bolt.FreelistArrayType},
		"ours-meta":           {NoFreelistSync: true, FreelistType: bolt.FreelistArrayType},
		"containerd-snapshot": {NoStatistics: true, FreelistType: bolt.FreelistArrayType},
		"hashmap":             {NoFreelistSync: true, FreelistType: bolt.FreelistMapType},
	} {
		b.Run(name, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "a.db")
			db, err := bolt.Open(path, 0o600, &options)
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close() //nolint:errcheck // of a test
			n := 0
			for b.Loop() {
				n++
				if err := db.Update(func(tx *bolt.Tx) error {
					top, err := tx.CreateBucketIfNotExists([]byte("v1"))
					if err != nil {
						return err
					}
					return top.Put(fmt.Appendf(nil, "key-%d", n%1000), []byte(strings.Repeat("x", 300)))
				}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOpen opens a store of a thousand images, stopped in order and not.
func BenchmarkOpen(b *testing.B) {
	c := testConfig(b.TempDir())
	c.Metadata.NoSync = true
	ctx := namespaces.WithNamespace(b.Context(), "default")
	thousand(ctx, b, c)
	for _, fell := range []bool{false, true} {
		b.Run(fmt.Sprintf("fell=%v", fell), func(b *testing.B) {
			for b.Loop() {
				s, err := Open(ctx, c, nil)
				if err != nil {
					b.Fatal(err)
				}
				s.unclean.Store(fell)
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCheck compares the check with what bbolt does at each start anyway.
func BenchmarkCheck(b *testing.B) {
	c := testConfig(b.TempDir())
	c.Metadata.NoSync = true
	ctx := namespaces.WithNamespace(b.Context(), "default")
	thousand(ctx, b, c)
	b.Run("bbolt alone", func(b *testing.B) {
		for b.Loop() {
			db, err := openBolt(metaPath(c), boltOptions(c.Metadata, 0))
			if err != nil {
				b.Fatal(err)
			}
			if err := db.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("check alone", func(b *testing.B) {
		for b.Loop() {
			if damaged, err := ensureWhole(ctx, metaPath(c), 0); damaged || err != nil {
				b.Fatal(damaged, err)
			}
		}
	})
}

func thousand(ctx context.Context, b *testing.B, c config.Config) {
	s, err := Open(ctx, c, nil)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 1000 {
		text := fmt.Sprintf(`{"manifest": %d}`, i)
		d := desc(text)
		if err := content.WriteBlob(ctx, s.Content, text, strings.NewReader(text), d); err != nil {
			b.Fatal(err)
		}
		if _, err := s.Images.Create(ctx, images.Image{Name: text, Target: d, Labels: map[string]string{"x": strings.Repeat("x", 2000)}}); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}
