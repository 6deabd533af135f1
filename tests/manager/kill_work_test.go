package manager_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/api/types/runc/options"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/transfer/image"
	"github.com/containerd/containerd/v2/core/transfer/registry"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/containerd/v2/pkg/rootfs"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

const overlayfs = "overlayfs"

// worker is one client, up to the death of the manager, and what that has acknowledged to it.
type worker struct {
	*killed
	name      string
	client    *containerd.Client
	random    *rand.Rand
	lives     []*life
	pulled    bool
	content   []ocispec.Descriptor
	committed []string
	failed    chan error
}

func notFound(err error) bool { return errdefs.IsNotFound(err) }

// tasks is all that can be done with a container.
func (w *worker) tasks(ctx context.Context, id string) error {
	ctx = namespaces.WithNamespace(ctx, w.ns)
	l := &life{id: id, code: 1 + w.random.Uint32N(99)}
	w.lives = append(w.lives, l)
	w.mu.Lock()
	w.ids = append(w.ids, id)
	w.mu.Unlock()
	busybox, err := w.client.GetImage(ctx, compat.ImageName)
	if err != nil {
		return err
	}
	script := fmt.Sprintf("sleep 0.%02d; exit %d", w.random.IntN(30), l.code)
	k, err := w.client.NewContainer(ctx, id, containerd.WithNewSnapshot(id, busybox),
		containerd.WithNewSpec(oci.WithImageConfig(busybox), oci.WithProcessArgs("sh", "-c", script)),
		containerd.WithRuntime("io.containerd.runc.v2", &options.Options{BinaryName: harness.Runtime(w.t), Root: w.path("runc")}))
	if err != nil {
		return err
	}
	task, err := k.NewTask(ctx, cio.NullIO)
	if err != nil {
		return err
	}
	l.created = true
	exit, err := task.Wait(ctx)
	if err != nil {
		return err
	}
	l.startAsked = true
	if err := task.Start(ctx); err != nil {
		return err
	}
	l.started = true
	if p, err := task.Exec(ctx, "e", &specs.Process{Args: []string{"true"}, Cwd: "/"}, cio.NullIO); err == nil {
		_ = p.Start(ctx) // the container may be faster
		_, _ = p.Delete(ctx, containerd.WithProcessKill)
	}
	if w.random.IntN(2) == 0 {
		l.killAsked = true
		_ = task.Kill(ctx, unix.SIGKILL) // it may have ended
	}
	select {
	case status := <-exit:
		if code := status.ExitCode(); status.Error() == nil && code != l.code && (!l.killAsked || code != 137) {
			w.t.Errorf("%s: code %d; want %d (killed: %v)", id, code, l.code, l.killAsked)
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	l.endAsked = true
	if _, err := task.Delete(ctx); err != nil {
		return err
	}
	l.deleted = true
	return k.Delete(ctx, containerd.WithSnapshotCleanup)
}

// pulls pulls the image, by the client or by the manager itself, and removes it.
func (w *worker) pulls(ctx context.Context, _ string) error {
	ctx = namespaces.WithNamespace(ctx, w.ns)
	if w.random.IntN(2) == 0 {
		if _, err := w.client.Pull(ctx, w.image, containerd.WithPullUnpack); err != nil {
			return err
		}
	} else {
		from, err := registry.NewOCIRegistry(ctx, w.image)
		if err != nil {
			return err
		}
		to := image.NewStore(w.image, image.WithUnpack(platforms.DefaultSpec(), overlayfs))
		if err := w.client.Transfer(ctx, from, to); err != nil {
			return err
		}
	}
	w.pulled = true
	if w.random.IntN(3) == 0 {
		return nil
	}
	w.pulled = false // from here on it may be there or not
	return w.client.ImageService().Delete(ctx, w.image, images.SynchronousDelete())
}

// commits writes content, and commits a snapshot and the difference that it makes.
func (w *worker) commits(ctx context.Context, name string) error {
	ctx = namespaces.WithNamespace(ctx, w.ns)
	ctx, done, err := w.client.WithLease(ctx, leases.WithID(name))
	if err != nil {
		return err
	}
	blob := make([]byte, 300_000)
	for i := range blob {
		blob[i] = byte(w.random.Uint32())
	}
	wanted := ocispec.Descriptor{Digest: digest.FromBytes(blob), Size: int64(len(blob))}
	if err := content.WriteBlob(ctx, w.client.ContentStore(), name, bytes.NewReader(blob), wanted); err != nil {
		return err
	}
	w.content = append(w.content, wanted)
	if err := w.commit(ctx, name); err != nil {
		return err
	}
	if w.random.IntN(3) == 0 {
		return nil // the lease stays, and what it holds
	}
	w.content, w.committed = nil, nil
	return done(ctx)
}

func (w *worker) commit(ctx context.Context, name string) error {
	busybox, err := w.client.GetImage(ctx, compat.ImageName)
	if err != nil {
		return err
	}
	layers, err := busybox.RootFS(ctx)
	if err != nil {
		return err
	}
	s := w.client.SnapshotService(overlayfs)
	mounts, err := s.Prepare(ctx, name+"-active", identity.ChainID(layers).String())
	if err != nil {
		return err
	}
	if err := mount.WithTempMount(ctx, mounts, func(root string) error {
		return os.WriteFile(filepath.Join(root, "new"), []byte(name), 0o600)
	}); err != nil {
		return err
	}
	difference, err := rootfs.CreateDiff(ctx, name+"-active", s, w.client.DiffService())
	if err != nil {
		return err
	}
	w.content = append(w.content, difference)
	if err := s.Commit(ctx, name, name+"-active"); err != nil {
		return err
	}
	w.committed = append(w.committed, name)
	return nil
}

// acknowledged looks for what the worker was told to be done.
func (w *worker) acknowledged() {
	w.t.Helper()
	c, ctx := w.api()
	defer hangUp(c)
	for _, d := range w.content {
		if info, err := c.ContentStore().Info(ctx, d.Digest); err != nil || info.Size != d.Size {
			w.t.Errorf("%s: content %s has %d bytes, %v; want %d", w.name, d.Digest, info.Size, err, d.Size)
		}
	}
	for _, name := range w.committed {
		if info, err := c.SnapshotService(overlayfs).Stat(ctx, name); err != nil || info.Kind != snapshots.KindCommitted {
			w.t.Errorf("%s: snapshot %s is %v, %v; want it committed", w.name, name, info.Kind, err)
		}
	}
	if !w.pulled {
		return
	}
	pulled, err := c.GetImage(ctx, w.image)
	if err != nil {
		w.t.Errorf("%s: the image that was pulled: %v", w.name, err)
		return
	}
	if unpacked, err := pulled.IsUnpacked(ctx, overlayfs); err != nil || !unpacked {
		w.t.Errorf("%s: the image that was pulled is unpacked: %v, %v", w.name, unpacked, err)
	}
	if _, _, _, missing, err := images.Check(ctx, c.ContentStore(), pulled.Target(), platforms.Default()); err != nil || len(missing) > 0 {
		w.t.Errorf("%s: the image that was pulled lacks %v, %v", w.name, missing, err)
	}
}

// nothing removes what dead clients have held, collects garbage, and wants nothing to be left but the first image.
func (k *killed) nothing() {
	k.t.Helper()
	c, ctx := k.api()
	held, err := c.LeasesService().List(ctx)
	if err != nil {
		k.t.Fatal(err)
	}
	for _, l := range held {
		if err := c.LeasesService().Delete(ctx, l); err != nil {
			k.t.Error(err)
		}
	}
	ingests, err := c.ContentStore().ListStatuses(ctx)
	if err != nil {
		k.t.Error(err)
	}
	for _, i := range ingests {
		if err := c.ContentStore().Abort(ctx, i.Ref); err != nil && !notFound(err) {
			k.t.Error(err)
		}
	}
	collect(ctx, k.t, c)
	k.stores(ctx, c)
	if !harness.Until(told, func() bool { return len(k.ctr.Leftovers("any-")) == 0 }) {
		k.t.Errorf("left behind: %v", k.ctr.Leftovers("any-"))
	}
	for _, dir := range []string{"root", "state", "s", "fifos"} {
		err := filepath.WalkDir(k.path(dir), func(path string, _ fs.DirEntry, err error) error {
			if strings.HasPrefix(filepath.Base(path), "any-") {
				k.t.Errorf("left behind: %s", path)
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			k.t.Error(err)
		}
	}
	if left := k.mounts(); len(left) > 0 {
		k.t.Errorf("left behind: mounts %v", left)
	}
}

// collect has the manager collect its garbage, and returns when it has. Containerd looks for what it wrote and did not
// come to note, before it was killed, only when it has something to remove at that place: it gets that.
func collect(ctx context.Context, t testing.TB, c *containerd.Client) {
	t.Helper()
	var err error
	if upstream() {
		s, name := c.SnapshotService(overlayfs), "collected"
		_, prepared := s.Prepare(ctx, name, "")
		err = errors.Join(prepared, content.WriteBlob(ctx, c.ContentStore(), name, strings.NewReader(name), ocispec.Descriptor{}), s.Remove(ctx, name))
	}
	l, created := c.LeasesService().Create(ctx, leases.WithRandomID())
	if err = errors.Join(err, created); err == nil {
		err = c.LeasesService().Delete(ctx, l, leases.SynchronousDelete)
	}
	if err != nil {
		t.Error(err)
	}
}
