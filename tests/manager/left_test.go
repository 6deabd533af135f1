package manager_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/tests/compat"
)

// stores wants the stores, and the disk below them, to have the first image and nothing more.
func (s *subject) stores(ctx context.Context, c *containerd.Client) {
	s.t.Helper()
	busybox, err := c.GetImage(ctx, compat.ImageName)
	if err != nil {
		s.t.Error(err)
		return
	}
	var want, got []string
	if err := images.Walk(ctx, images.HandlerFunc(func(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		want = append(want, d.Digest.Encoded())
		return images.Children(ctx, c.ContentStore(), d)
	}), busybox.Target()); err != nil {
		s.t.Error(err)
	}
	if err := c.ContentStore().Walk(ctx, func(i content.Info) error {
		got = append(got, i.Digest.Encoded())
		return nil
	}); err != nil {
		s.t.Error(err)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Errorf("content (-want +got):\n%s", diff)
	}
	const store = "root/io.containerd.content.v1.content/"
	if diff := cmp.Diff(want, names(s.t, s.path(store+"blobs/sha256"))); diff != "" {
		s.t.Errorf("blobs (-want +got):\n%s", diff)
	}
	if left := names(s.t, s.path(store+"ingest")); len(left) > 0 {
		s.t.Errorf("left behind: ingests %v", left)
	}
	var keys []string
	if err := c.SnapshotService(overlayfs).Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		keys = append(keys, i.Name)
		return nil
	}); err != nil {
		s.t.Error(err)
	}
	dirs := names(s.t, s.path("root/io.containerd.snapshotter.v1.overlayfs/snapshots"))
	if len(keys) != 1 || len(dirs) != 1 {
		s.t.Errorf("snapshots %v in %v; want those of the image, which has one layer", keys, dirs)
	}
}

func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Error(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, filepath.Base(e.Name()))
	}
	return list
}
