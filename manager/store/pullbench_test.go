package store

import (
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/transfer/image"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/platforms"

	"github.com/gantry-containers/gantry/tests/harness"
)

// BenchmarkPull pulls and unpacks twenty small layers: what is left is the stores' own work.
func BenchmarkPull(b *testing.B) {
	harness.NeedRoot(b)
	ctx := namespaces.WithNamespace(b.Context(), "default")
	s, err := Open(ctx, testConfig(b.TempDir()), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // of a test
	_, from, _ := ociArchive(b, 20)
	to := image.NewStore("example.com/layers:1", image.WithUnpack(platforms.DefaultSpec(), "overlayfs"))
	for b.Loop() {
		if err := s.Transfer.Transfer(ctx, from, to); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := s.Images.Delete(ctx, "example.com/layers:1", images.SynchronousDelete()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
