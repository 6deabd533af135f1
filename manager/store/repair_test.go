package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/typeurl/v2"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/gantry-containers/gantry/manager/config"
)

// fill makes a store with some images, containers and snapshots of a namespace, in chains of native snapshots.
func fill(ctx context.Context, t *testing.T, s *Store, from, to int) {
	t.Helper()
	spec, err := typeurl.MarshalAnyToProto(&emptypb.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	for i := from; i < to; i++ {
		d := writeBlob(ctx, t, s.Content, fmt.Sprintf(`{"manifest": %d}`, i), content.WithLabels(map[string]string{"number": fmt.Sprint(i)}))
		d.MediaType = ocispec.MediaTypeImageManifest
		layer, key := fmt.Sprintf("layer-%d", i), fmt.Sprintf("container-%d", i)
		native := s.Snapshotters["native"]
		if _, err := native.Prepare(ctx, "tmp-"+layer, "", snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "x"})); err != nil {
			t.Fatal(err)
		}
		if err := native.Commit(ctx, layer, "tmp-"+layer, snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "x"})); err != nil {
			t.Fatal(err)
		}
		if _, err := native.Prepare(ctx, key, layer); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Images.Create(ctx, images.Image{Name: fmt.Sprintf("image-%d", i), Target: d}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Containers.Create(ctx, containers.Container{
			ID: key, Snapshotter: "native", SnapshotKey: key, Spec: spec, Runtime: containers.RuntimeInfo{Name: "x"},
			Labels: map[string]string{"long": strings.Repeat("x", 500)},
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// seen counts what a client sees, and fails where something that is listed cannot be used.
func seen(ctx context.Context, t *testing.T, s *Store) (imgs, ctrs, snaps, blobs int) {
	t.Helper()
	list, err := s.Images.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range list {
		if _, err := content.ReadBlob(ctx, s.Content, i.Target); err != nil {
			t.Errorf("image %s: %v", i.Name, err)
		}
	}
	all, err := s.Containers.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Snapshotters["native"].Walk(ctx, func(ctx context.Context, i snapshots.Info) error {
		snaps++
		_, err := s.Snapshotters["native"].Usage(ctx, i.Name)
		return err
	}); err != nil {
		t.Error(err)
	}
	if err := s.Content.Walk(ctx, func(i content.Info) error {
		blobs++
		_, err := content.ReadBlob(ctx, s.Content, ocispec.Descriptor{Digest: i.Digest, Size: i.Size})
		return err
	}); err != nil {
		t.Error(err)
	}
	return len(list), len(all), snaps, blobs
}

func metaPath(c config.Config) string { return filepath.Join(c.Root, metadataDir, "meta.db") }

func change(t *testing.T, path string, f func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, f(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func damagedFiles(t *testing.T, path string) int {
	t.Helper()
	all, err := filepath.Glob(path + ".damaged-*")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// keptAfter opens a store whose database is damaged, and demands that the damaged file is kept, and the data too, over
// a collection.
func keptAfter(t *testing.T, c config.Config, path string) (imgs, ctrs, snaps, blobs int) {
	t.Helper()
	ctx := namespaces.WithNamespace(t.Context(), "default")
	s := openStore(t, c)
	if n := damagedFiles(t, path); n != 1 {
		t.Errorf("%d damaged files beside the database", n)
	}
	if err := s.Collect(ctx); err != nil {
		t.Error(err)
	}
	return seen(ctx, t, s)
}

// template is a filled store that is made once.
var template = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "gantry-store-test-") })

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := template(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

func filled(t *testing.T) config.Config {
	t.Helper()
	dir, err := template()
	if err != nil {
		t.Fatal(err)
	}
	made := testConfig(dir)
	if _, err := os.Stat(made.Root); err != nil {
		s := openStore(t, made)
		fill(namespaces.WithNamespace(t.Context(), "default"), t, s, 0, 30)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	c := testConfig(t.TempDir())
	if err := os.CopyFS(c.Root, os.DirFS(made.Root)); err != nil {
		t.Fatal(err)
	}
	return c
}

// newestMeta is the offset of the meta page that bbolt takes.
func newestMeta(data []byte) int {
	if binary.NativeEndian.Uint64(data[16+48:]) > binary.NativeEndian.Uint64(data[4096+16+48:]) {
		return 0
	}
	return 4096
}

func TestDamagedMetadata(t *testing.T) {
	tests := []struct {
		name    string
		damage  func(data []byte) []byte
		images  int // at least
		copies  bool
		records bool // all of them must be back
	}{
		{name: "both meta pages torn", damage: func(d []byte) []byte {
			d[20] ^= 1
			d[4096+20] ^= 1
			return d
		}, copies: true, records: true},
		{name: "everything is garbage, there is a copy", damage: func(d []byte) []byte { return bytes.Repeat([]byte{0xA5}, len(d)) }, copies: true, records: true},
		{name: "everything is zero, no copy", damage: func(d []byte) []byte { clear(d); return d }},
		{name: "cut to a quarter, there is a copy", damage: func(d []byte) []byte { return d[:len(d)/4] }, copies: true, records: true},
		{name: "cut to a page", damage: func(d []byte) []byte { return d[:4096] }},
		{name: "cut within a page", damage: func(d []byte) []byte { return d[:100] }},
		{name: "emptied", damage: func([]byte) []byte { return nil }, copies: true, records: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := filled(t)
			if test.copies {
				if err := openStore(t, c).Close(); err != nil { // which makes the copy
					t.Fatal(err)
				}
			}
			change(t, metaPath(c), test.damage)
			imgs, ctrs, snaps, blobs := keptAfter(t, c, metaPath(c))
			if test.records && (imgs != 30 || ctrs != 30) {
				t.Errorf("%d images and %d containers of 30", imgs, ctrs)
			}
			if snaps != 60 || blobs != 30 {
				t.Errorf("%d snapshots of 60, %d blobs of 30", snaps, blobs)
			}
		})
	}
}

// TestDamagedPages breaks each page in turn, and demands that the rest stays, with the data of what is lost.
func TestDamagedPages(t *testing.T) {
	c := filled(t)
	whole, err := os.ReadFile(metaPath(c))
	if err != nil {
		t.Fatal(err)
	}
	used := newestMeta(whole)
	pages := int(binary.NativeEndian.Uint64(whole[used+16+40:])) //nolint:gosec // some pages
	random := rand.New(rand.NewPCG(1, 2))
	damaged := 0
	for page := 2; page < pages; page += 3 {
		here := c
		here.Root = filepath.Join(t.TempDir(), "root")
		if err := os.CopyFS(here.Root, os.DirFS(c.Root)); err != nil {
			t.Fatal(err)
		}
		change(t, metaPath(here), func(d []byte) []byte {
			for i := range 4096 {
				d[page*4096+i] = byte(random.Uint32())
			}
			return d
		})
		ctx := namespaces.WithNamespace(t.Context(), "default")
		s := openStore(t, here)
		if err := s.Collect(ctx); err != nil {
			t.Error(err)
		}
		_, _, snaps, blobs := seen(ctx, t, s)
		if snaps != 60 || blobs != 30 {
			t.Errorf("page %d: %d snapshots of 60, %d blobs of 30", page, snaps, blobs)
		}
		damaged += damagedFiles(t, metaPath(here))
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if damaged == 0 {
		t.Error("no page mattered")
	}
}

// TestLostWrite: the page of the last transaction's root never reached the disk, although the disk said so.
func TestLostWrite(t *testing.T) {
	c := filled(t)
	change(t, metaPath(c), func(d []byte) []byte {
		root := int(binary.NativeEndian.Uint64(d[newestMeta(d)+16+16:])) * 4096 //nolint:gosec // some pages
		clear(d[root : root+4096])
		return d
	})
	imgs, ctrs, snaps, blobs := keptAfter(t, c, metaPath(c))
	if imgs != 30 || ctrs != 29 || snaps != 60 || blobs != 30 {
		t.Errorf("%d images, %d containers, %d snapshots, %d blobs", imgs, ctrs, snaps, blobs)
	}
}

func TestDamagedSnapshotter(t *testing.T) {
	c := filled(t)
	root := filepath.Join(c.Root, nativeDir)
	change(t, filepath.Join(root, "metadata.db"), func(d []byte) []byte { clear(d); return d })
	imgs, _, snaps, blobs := keptAfter(t, c, filepath.Join(root, "metadata.db"))
	if imgs != 30 || blobs != 30 {
		t.Errorf("%d images, %d blobs", imgs, blobs)
	}
	if snaps != 0 {
		t.Errorf("%d snapshots that nobody can mount are still listed", snaps)
	}
	lost, err := filepath.Glob(filepath.Join(root, "lost-*", "*"))
	if err != nil || len(lost) != 60 {
		t.Errorf("%d directories were put aside of 60: %v", len(lost), err)
	}
}

func TestRescuedLease(t *testing.T) {
	c := filled(t)
	change(t, metaPath(c), func(d []byte) []byte { clear(d); return d })
	ctx := namespaces.WithNamespace(t.Context(), "default")
	s := openStore(t, c)
	if err := s.Snapshotters["native"].Remove(ctx, "layer-3"); err == nil {
		t.Error("a layer was removed from under its child: the links are lost")
	}
	if err := s.Leases.Delete(ctx, leases.Lease{ID: rescueLease}, leases.SynchronousDelete); err != nil {
		t.Fatal(err)
	}
	if _, _, snaps, blobs := seen(ctx, t, s); snaps != 0 || blobs != 0 {
		t.Errorf("%d snapshots, %d blobs are left without the lease", snaps, blobs)
	}
	if left, err := os.ReadDir(filepath.Join(c.Root, nativeDir, "snapshots")); err != nil || len(left) > 0 {
		t.Errorf("%d directories are left: %v", len(left), err)
	}
}

func TestBlobThatLostBytes(t *testing.T) {
	c := filled(t)
	if err := os.Remove(filepath.Join(c.Root, metadataDir, cleanMark)); err != nil {
		t.Fatal(err)
	}
	blobs, err := filepath.Glob(filepath.Join(c.Root, contentDir, "blobs", "sha256", "*"))
	if err != nil || len(blobs) != 30 {
		t.Fatal(blobs, err)
	}
	if err := os.Truncate(blobs[0], 3); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(blobs[1]); err != nil {
		t.Fatal(err)
	}
	ctx := namespaces.WithNamespace(t.Context(), "default")
	s := openStore(t, c)
	n := 0
	if err := s.Content.Walk(ctx, func(content.Info) error { n++; return nil }); err != nil || n != 28 {
		t.Errorf("%d blobs, %v", n, err)
	}
	for i := range 30 { // and can be had again
		writeBlobAgain(ctx, t, s.Content, fmt.Sprintf(`{"manifest": %d}`, i))
	}
	if _, _, _, n := seen(ctx, t, s); n != 30 {
		t.Errorf("%d blobs after they were written again", n)
	}
}

func TestDatabaseIsForContainerdToo(t *testing.T) {
	c := filled(t)
	change(t, metaPath(c), func(d []byte) []byte { return d[:len(d)/4] })
	if err := openStore(t, c).Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{metaPath(c), filepath.Join(c.Root, nativeDir, "metadata.db"), filepath.Join(c.Root, overlayDir, "metadata.db")} {
		db, err := bolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.View(func(tx *bolt.Tx) error {
			for err := range tx.Check() {
				t.Errorf("%s: %v", path, err)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestCopyInUse: a store that has been open for long loses its database, and has more than what it began with.
func TestCopyInUse(t *testing.T) {
	c := testConfig(t.TempDir())
	ctx := namespaces.WithNamespace(t.Context(), "default")
	s := openStore(t, c)
	fill(ctx, t, s, 0, 3)
	if err := s.Collect(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(metaPath(c) + lastGood); err == nil {
		t.Error("a copy was made so soon")
	}
	s.copies.last = s.copies.last.Add(-copyEvery)
	if err := s.Collect(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	change(t, metaPath(c), func(d []byte) []byte { clear(d); return d })
	if imgs, ctrs, _, _ := keptAfter(t, c, metaPath(c)); imgs != 3 || ctrs != 3 {
		t.Errorf("%d images, %d containers", imgs, ctrs)
	}
}
