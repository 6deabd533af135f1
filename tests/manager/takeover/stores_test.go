package takeover_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/runtime/restart"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/tests/compat"
)

const (
	leaseID   = "keeps"
	ingestRef = "half"
	mountName = "activated"
	overlayfs = "overlayfs"
)

// furnish puts something into every store, beside the image that is there.
func (w *world) furnish() {
	w.t.Helper()
	ctx := w.ctx
	w.must(w.NamespaceService().SetLabel(ctx, w.ctr.Namespace, "place", "first"))
	image, err := w.ImageService().Get(ctx, compat.ImageName)
	w.must(err)
	image.Name, image.Labels = "docker.io/library/second:1", map[string]string{"kind": "second"}
	_, err = w.ImageService().Create(ctx, image)
	w.must(err)

	// What a lease alone keeps.
	lease, err := w.LeasesService().Create(ctx, leases.WithID(leaseID), leases.WithLabels(map[string]string{"why": "test"}))
	w.must(err)
	held := leases.WithLease(ctx, lease.ID)
	text := []byte("held by a lease")
	w.must(content.WriteBlob(held, w.ContentStore(), "held", bytes.NewReader(text), ocispec.Descriptor{Digest: digest.FromBytes(text), Size: int64(len(text))}))
	_, err = w.SnapshotService(overlayfs).Prepare(held, "held", "")
	w.must(err)

	// What is not whole yet.
	writer, err := content.OpenWriter(held, w.ContentStore(), content.WithRef(ingestRef), content.WithDescriptor(ocispec.Descriptor{Size: 10}))
	w.must(err)
	_, err = writer.Write([]byte("01234"))
	w.must(err)
	w.must(writer.Close())
	w.activate()
}

// activate has the manager keep a mount, where it is one that does.
func (w *world) activate() {
	w.t.Helper()
	source := w.path("source")
	w.must(os.MkdirAll(filepath.Join(source, "sub"), 0o755))
	_, err := w.MountManager().Activate(w.ctx, mountName, []mount.Mount{
		{Type: "bind", Source: source, Options: []string{"rbind", "ro"}},
		{Type: "format/bind", Source: "{{ mount 0 }}/sub", Options: []string{"rbind", "ro"}},
	})
	if !errdefs.IsNotImplemented(err) {
		w.must(err)
	}
}

// clear removes it all again, and wants the garbage to go.
func (w *world) clear() {
	w.t.Helper()
	if err := w.MountManager().Deactivate(w.ctx, mountName); err != nil && !errdefs.IsNotFound(err) {
		w.t.Error(err)
	}
	w.must(w.ContentStore().Abort(w.ctx, ingestRef))
	w.must(w.LeasesService().Delete(w.ctx, leases.Lease{ID: leaseID}))
	for _, name := range []string{compat.ImageName, "docker.io/library/second:1"} {
		w.must(w.ImageService().Delete(w.ctx, name, images.SynchronousDelete()))
	}
	for _, line := range w.stores() {
		if !strings.HasPrefix(line, "namespace ") {
			w.t.Errorf("left behind: %s", line)
		}
	}
	for _, dir := range []string{"io.containerd.content.v1.content/blobs/sha256", "io.containerd.content.v1.content/ingest", "io.containerd.snapshotter.v1.overlayfs/snapshots"} {
		left, err := os.ReadDir(w.path("root/" + dir))
		w.must(err)
		for _, e := range left {
			w.t.Errorf("left behind: %s/%s", dir, e.Name())
		}
	}
}

// same wants the stores to be as they were, after a collection of garbage, too.
func (w *world) same(now string, before []string) {
	w.t.Helper()
	if diff := cmp.Diff(before, w.stores()); diff != "" {
		w.t.Errorf("stores under %s (-before +now):\n%s", now, diff)
	}
	image, err := w.ImageService().Get(w.ctx, compat.ImageName)
	w.must(err)
	image.Name = "docker.io/library/third:1"
	_, err = w.ImageService().Create(w.ctx, image)
	w.must(err)
	w.must(w.ImageService().Delete(w.ctx, image.Name, images.SynchronousDelete()))
	if diff := cmp.Diff(before, w.stores()); diff != "" {
		w.t.Errorf("stores under %s, after garbage (-before +now):\n%s", now, diff)
	}
	for _, line := range w.damaged() {
		w.t.Error(line)
	}
}

// damaged reads every blob.
func (w *world) damaged() (list []string) {
	w.must(w.ContentStore().Walk(w.ctx, func(i content.Info) error {
		b, err := content.ReadBlob(w.ctx, w.ContentStore(), ocispec.Descriptor{Digest: i.Digest, Size: i.Size})
		if err != nil || digest.FromBytes(b) != i.Digest {
			list = append(list, fmt.Sprintf("blob %s: %v", i.Digest, err))
		}
		return nil
	}))
	return list
}

// stores is all that there is, in lines.
func (w *world) stores() (all []string) {
	w.t.Helper()
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	names, err := w.NamespaceService().List(w.ctx)
	w.must(err)
	for _, name := range names {
		labels, err := w.NamespaceService().Labels(w.ctx, name)
		w.must(err)
		add("namespace %s %v", name, labels)
	}
	ctx := namespaces.WithNamespace(w.ctx, w.ctr.Namespace)
	list, err := w.ImageService().List(ctx)
	w.must(err)
	for _, i := range list {
		add("image %s %s %v %v", i.Name, i.Target.Digest, i.Labels, i.CreatedAt)
	}
	w.must(w.ContentStore().Walk(ctx, func(i content.Info) error {
		add("blob %s %d %v %v", i.Digest, i.Size, i.Labels, i.CreatedAt)
		return nil
	}))
	ingests, err := w.ContentStore().ListStatuses(ctx)
	w.must(err)
	for _, i := range ingests {
		add("ingest %s %d", i.Ref, i.Offset)
	}
	w.must(w.SnapshotService(overlayfs).Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		add("snapshot %s of %q %v %v %v", i.Name, i.Parent, i.Kind, i.Labels, i.Created)
		return nil
	}))
	w.leases(add)
	containers, err := w.ContainerService().List(ctx)
	w.must(err)
	for _, c := range containers {
		delete(c.Labels, restart.CountLabel) // of a container that is started again
		add("container %s %s %s %s %s %v %v %x", c.ID, c.Image, c.Snapshotter, c.SnapshotKey, c.Runtime.Name, c.Labels, c.CreatedAt, c.Spec.GetValue())
	}
	mounts, err := w.MountManager().List(ctx)
	if !errdefs.IsNotImplemented(err) {
		w.must(err)
	}
	for _, m := range mounts {
		add("mount %s %v %v", m.Name, m.Active, m.System)
	}
	slices.Sort(all)
	return all
}

func (w *world) leases(add func(string, ...any)) {
	w.t.Helper()
	list, err := w.LeasesService().List(w.ctx)
	w.must(err)
	for _, l := range list {
		held, err := w.LeasesService().ListResources(w.ctx, l)
		w.must(err)
		add("lease %s %v %v", l.ID, slices.Sorted(maps.Keys(l.Labels)), l.CreatedAt)
		for _, r := range held {
			add("lease %s holds %s %s", l.ID, r.Type, r.ID)
		}
	}
}
