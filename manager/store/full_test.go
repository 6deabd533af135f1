package store

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gantry-containers/gantry/manager/config"
	"github.com/gantry-containers/gantry/tests/harness"
)

// smallDisk is a configuration whose root is a file system of so many bytes.
func smallDisk(t *testing.T, size string) config.Config {
	t.Helper()
	harness.NeedRoot(t)
	c := testConfig(t.TempDir())
	if err := os.MkdirAll(c.Root, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", c.Root, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(c.Root, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return c
}

func freeBytes(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize //nolint:gosec // a small disk
}

// eat fills the disk to the last block, as a container would.
func eat(t *testing.T, dir string) (name string) {
	t.Helper()
	name = filepath.Join(dir, "eaten")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 4096); ; {
		if _, err := f.Write(block); errors.Is(err, unix.ENOSPC) {
			return name
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// wantFull demands an error that every client can tell from others.
func wantFull(t *testing.T, err error) {
	t.Helper()
	if !errdefs.IsResourceExhausted(err) {
		t.Errorf("error %v: not of a full disk", err)
		return
	}
	if code := status.Code(errgrpc.ToGRPC(err)); code != codes.ResourceExhausted {
		t.Errorf("gRPC code %v for %v", code, err)
	}
	if text := errgrpc.ToNative(errgrpc.ToGRPC(err)).Error(); strings.Contains(text, "\n") {
		t.Errorf("a client reads %q", text)
	}
	if !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("error %q does not say why", err)
	}
}

// layer is an archive with one file of so many bytes that compress to nothing less.
func layer(ctx context.Context, t *testing.T, s *Store, size int) (ocispec.Descriptor, error) {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	body := make([]byte, size)
	rand.Read(body)
	if err := w.WriteHeader(&tar.Header{Name: "file", Mode: 0o644, Size: int64(size)}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(buf.Bytes()), Size: int64(buf.Len())}
	return d, content.WriteBlob(ctx, s.Content, d.Digest.String(), &buf, d)
}

func TestFullDiskContent(t *testing.T) {
	c := smallDisk(t, "4m")
	ctx := namespaces.WithNamespace(t.Context(), "default")
	s := openStore(t, c)
	if err := s.Collect(ctx); err != nil {
		t.Fatal(err)
	}
	before := freeBytes(t, c.Root)
	_, err := layer(ctx, t, s, 5<<20)
	wantFull(t, err)
	if left := freeBytes(t, c.Root); before-left > 64<<10 {
		t.Errorf("%d bytes are kept by what was refused", before-left)
	}
	writeBlob(ctx, t, s.Content, "a small one has room")
}

// TestFullDiskUnpack is the trouble that containerd has: a layer is unpacked to the last block of the disk, and neither
// deletion nor collection can write what they have to.
func TestFullDiskUnpack(t *testing.T) {
	c := smallDisk(t, "4m")
	ctx := namespaces.WithNamespace(t.Context(), "default")
	s := openStore(t, c)
	before := freeBytes(t, c.Root)

	lease, err := s.Leases.Create(ctx, leases.WithID("pull"))
	if err != nil {
		t.Fatal(err)
	}
	in := leases.WithLease(ctx, lease.ID)
	d, err := layer(in, t, s, 1200<<10)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Images.Create(in, images.Image{Name: "big", Target: d}); err != nil {
		t.Fatal(err)
	}
	mounts, err := s.Snapshotters["overlayfs"].Prepare(in, "unpacking", "")
	if err != nil {
		t.Fatal(err)
	}
	eaten := filepath.Join(c.Root, "half")
	if err := os.WriteFile(eaten, make([]byte, freeBytes(t, c.Root)-700<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = s.Differ.Apply(in, d, mounts)
	wantFull(t, err)
	if err := os.Remove(eaten); err != nil {
		t.Fatal(err)
	}
	eaten = eat(t, c.Root) // and now not a block is left, and nobody gives one back

	if err := s.Images.Delete(ctx, "big"); err != nil {
		t.Errorf("an image cannot be deleted from a full disk: %v", err)
	}
	if err := s.Leases.Delete(ctx, lease, leases.SynchronousDelete); err != nil {
		t.Errorf("nor a lease: %v", err)
	}
	if err := os.Remove(eaten); err != nil {
		t.Fatal(err)
	}
	if left := freeBytes(t, c.Root); before-left > 64<<10 {
		t.Errorf("%d bytes are still gone after the collection", before-left)
	}
	if _, err := s.Snapshotters["overlayfs"].Prepare(ctx, "another", ""); err != nil {
		t.Errorf("with space again: %v", err)
	}
}

// TestFullDiskMetadata makes records until the disk is full, and deletes them all again.
func TestFullDiskMetadata(t *testing.T) {
	c := smallDisk(t, "4m")
	ctx := namespaces.WithNamespace(t.Context(), "default")
	s := openStore(t, c)
	d := writeBlob(ctx, t, s.Content, `{"a": "manifest"}`)
	if err := os.WriteFile(filepath.Join(c.Root, "half"), make([]byte, freeBytes(t, c.Root)-1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	n, err := 0, error(nil)
	for ; err == nil && n < 2000; n++ {
		_, err = s.Images.Create(ctx, images.Image{Name: fmt.Sprintf("image-%d", n), Target: d, Labels: map[string]string{"x": strings.Repeat("x", 3000)}})
		if err == nil {
			_, err = s.Snapshotters["native"].Prepare(ctx, fmt.Sprintf("snapshot-%d", n), "", snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "x"}))
		}
	}
	wantFull(t, err)
	t.Logf("full after %d records", n)
	eaten := eat(t, c.Root)
	_, err = s.Images.Create(ctx, images.Image{Name: "one-more", Target: d})
	wantFull(t, err)

	all, err := s.Images.List(ctx)
	if err != nil || len(all) < n-1 {
		t.Fatal(len(all), err)
	}
	for i, image := range all {
		if err := s.Images.Delete(ctx, image.Name); err != nil {
			t.Fatalf("delete of image %d of %d: %v", i, len(all), err)
		}
		if err := s.Snapshotters["native"].Remove(ctx, fmt.Sprintf("snapshot-%d", i)); err != nil && !errdefs.IsNotFound(err) {
			t.Fatalf("removal of snapshot %d of %d: %v", i, len(all), err)
		}
	}
	if err := s.Collect(ctx); err != nil {
		t.Errorf("collection on a full disk: %v", err)
	}
	left, err := os.ReadDir(filepath.Join(c.Root, nativeDir, "snapshots"))
	if err != nil || len(left) > 0 {
		t.Errorf("%d directories of snapshots are left: %v", len(left), err)
	}
	if err := os.Remove(eaten); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Images.Create(ctx, images.Image{Name: "one-more", Target: d}); err != nil {
		t.Errorf("with space again: %v", err)
	}
}

// TestFullDiskCollectsAtOnce: everything that a collection has to remove goes in one transaction.
func TestFullDiskCollectsAtOnce(t *testing.T) {
	c := smallDisk(t, "8m")
	ctx := namespaces.WithNamespace(t.Context(), "default")
	s := openStore(t, c)
	for i := range 300 {
		writeBlob(ctx, t, s.Content, fmt.Sprintf(`{"number": %d}`, i), content.WithLabels(map[string]string{"x": strings.Repeat("x", 2000)}))
	}
	eat(t, c.Root)
	if err := s.Collect(ctx); err != nil {
		t.Errorf("collection on a full disk: %v", err)
	}
	left, err := os.ReadDir(filepath.Join(c.Root, contentDir, "blobs", "sha256"))
	if err != nil || len(left) > 0 {
		t.Errorf("%d blobs are left: %v", len(left), err)
	}
}

func TestOpenOnAFullDisk(t *testing.T) {
	c := smallDisk(t, "4m")
	ctx := namespaces.WithNamespace(t.Context(), "default")
	s := openStore(t, c)
	d := writeBlob(ctx, t, s.Content, `{"a": "manifest"}`)
	if _, err := s.Images.Create(ctx, images.Image{Name: "one", Target: d}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	eat(t, c.Root)
	s = openStore(t, c)
	if err := s.Images.Delete(ctx, "one", images.SynchronousDelete()); err != nil {
		t.Error(err)
	}
	if err := s.Content.Walk(ctx, func(i content.Info) error { return fmt.Errorf("%s is left", i.Digest) }); err != nil {
		t.Error(err)
	}
}
