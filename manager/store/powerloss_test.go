package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/gantry-containers/gantry/manager/config"
)

// moment is the root directory as the disk has it after one commit of one of the databases: bbolt waits for the disk
// twice in each, once between the pages and the meta page, and once after that.
type moment struct {
	dir  string
	step int // operations that were answered before it
}

// recorder copies the root directory after each commit.
type recorder struct {
	t       *testing.T
	root    string
	to      string
	step    int
	moments []moment
	mu      sync.Mutex // a collection has several at work
}

func (r *recorder) commit() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.copy()
}

func (r *recorder) copy() {
	dir := filepath.Join(r.to, fmt.Sprint(len(r.moments)))
	if err := os.CopyFS(dir, os.DirFS(r.root)); err != nil {
		r.t.Error(err)
	}
	r.moments = append(r.moments, moment{dir, r.step})
}

type recordedDB struct {
	database
	r *recorder
}

func (d recordedDB) Update(fn func(*bolt.Tx) error) error {
	err := d.database.Update(fn)
	if err == nil {
		d.r.commit()
	}
	return err
}

type recordedSnapshotter struct {
	snapshots.Snapshotter
	r *recorder
}

func (s recordedSnapshotter) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	defer s.r.copy()
	return s.Snapshotter.Prepare(ctx, key, parent, opts...)
}

func (s recordedSnapshotter) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	defer s.r.copy()
	return s.Snapshotter.Commit(ctx, name, key, opts...)
}

func (s recordedSnapshotter) Remove(ctx context.Context, key string) error {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	defer s.r.copy()
	return s.Snapshotter.Remove(ctx, key)
}

// Cleanup stays one where there is one.
func (s recordedSnapshotter) Cleanup(ctx context.Context) error {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	defer s.r.copy()
	if c, ok := s.Snapshotter.(snapshots.Cleaner); ok {
		return c.Cleanup(ctx)
	}
	return errdefs.ErrNotImplemented
}

type recordedBlobs struct {
	content.Store
	r *recorder
}

func (s recordedBlobs) Delete(ctx context.Context, dgst digest.Digest) error {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	return s.Store.Delete(ctx, dgst)
}

// operations are what clients do, one after the other.
func operations(t *testing.T, s *Store) []func(ctx context.Context) error {
	spec, err := typeurl.MarshalAnyToProto(&emptypb.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	root := snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "x"})
	var ops []func(context.Context) error
	add := func(op func(ctx context.Context) error) { ops = append(ops, op) }
	for i := range 2 {
		text := fmt.Sprintf(`{"manifest": %d}`, i)
		d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digestOf(text), Size: int64(len(text))}
		name := fmt.Sprint("image-", i)
		add(func(ctx context.Context) error {
			return content.WriteBlob(ctx, s.Content, name, strings.NewReader(text), d, rooted)
		})
		add(func(ctx context.Context) error {
			_, err := s.Images.Create(ctx, images.Image{Name: name, Target: d})
			return err
		})
		for _, sn := range []string{"native", "overlayfs"} {
			add(func(ctx context.Context) error {
				_, err := s.Snapshotters[sn].Prepare(ctx, "unpack-"+name, "", root)
				return err
			})
			add(func(ctx context.Context) error {
				return s.Snapshotters[sn].Commit(ctx, "layer-"+name, "unpack-"+name, root)
			})
			add(func(ctx context.Context) error {
				_, err := s.Snapshotters[sn].Prepare(ctx, "container-"+name, "layer-"+name, root)
				return err
			})
		}
		add(func(ctx context.Context) error {
			_, err := s.Containers.Create(ctx, containers.Container{ID: name, Spec: spec, Runtime: containers.RuntimeInfo{Name: "x"}})
			return err
		})
	}
	add(func(ctx context.Context) error {
		_, err := s.Leases.Create(ctx, leases.WithID("lease"))
		return err
	})
	add(func(ctx context.Context) error { return s.Containers.Delete(ctx, "image-0") })
	add(func(ctx context.Context) error { return s.Snapshotters["native"].Remove(ctx, "container-image-0") })
	add(func(ctx context.Context) error { return s.Snapshotters["overlayfs"].Remove(ctx, "container-image-0") })
	add(func(ctx context.Context) error { return s.Collect(ctx) })
	add(func(ctx context.Context) error { return s.Leases.Delete(ctx, leases.Lease{ID: "lease"}) })
	add(func(ctx context.Context) error { return s.Images.Delete(ctx, "image-0", images.SynchronousDelete()) })
	return ops
}

// things is the set of what clients can see.
func things(ctx context.Context, t *testing.T, s *Store) map[string]bool {
	t.Helper()
	got := map[string]bool{}
	list, err := s.Images.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range list {
		got["image "+i.Name] = true
		if _, err := content.ReadBlob(ctx, s.Content, i.Target); err != nil {
			t.Errorf("image %s: %v", i.Name, err)
		}
	}
	all, err := s.Containers.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		got["container "+c.ID] = true
	}
	held, err := s.Leases.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range held {
		got["lease "+l.ID] = true
	}
	for name, sn := range s.Snapshotters {
		if err := sn.Walk(ctx, func(ctx context.Context, i snapshots.Info) error {
			got["snapshot "+name+" "+i.Name] = true
			_, err := sn.Usage(ctx, i.Name)
			return err
		}); err != nil {
			t.Errorf("snapshotter %s: %v", name, err)
		}
	}
	if err := s.Content.Walk(ctx, func(i content.Info) error { got["blob "+i.Digest.String()] = true; return nil }); err != nil {
		t.Error(err)
	}
	return got
}

// leftovers counts what the stores below have and nobody knows of.
func leftovers(ctx context.Context, t *testing.T, s *Store) (names []string) {
	t.Helper()
	var k known
	if err := s.db.View(k.read); err != nil {
		t.Fatal(err)
	}
	for _, b := range s.backends {
		n := 0
		if err := b.Walk(ctx, func(_ context.Context, i snapshots.Info) error {
			n++
			if _, ok := k.snapshots[b.name][i.Name]; !ok {
				names = append(names, b.name+" "+i.Name)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		dirs, err := os.ReadDir(filepath.Join(b.root, "snapshots"))
		if err != nil || len(dirs) != n {
			names = append(names, fmt.Sprintf("%s has %d directories of %d snapshots: %v", b.name, len(dirs), n, err))
		}
	}
	if err := s.blobs.Walk(ctx, func(i content.Info) error {
		if _, ok := k.blobs[i.Digest]; !ok {
			names = append(names, i.Digest.String())
		}
		return nil
	}); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	return names
}

var databases = []string{filepath.Join(metadataDir, metadataFile), filepath.Join(overlayDir, "metadata.db"), filepath.Join(nativeDir, "metadata.db")}

// tear is a database file at a moment between two commits: what was synced is there, of the rest a part.
func tear(before, after []byte, random *rand.Rand) []byte {
	const page = 4096
	how := random.IntN(5)
	if how == 0 || bytes.Equal(before, after) {
		return before
	}
	if how == 4 {
		return after
	}
	torn := bytes.Clone(after)
	if len(before) > len(after) {
		torn = append(torn, before[len(after):]...)
	}
	for at := 0; at+page <= len(torn); at += page {
		old := make([]byte, page)
		copy(old, before[min(at, len(before)):])
		switch {
		case at < 2*page && how != 3: // pages only: both metas are as they were
			copy(torn[at:], old)
		case at < 2*page: // all pages, and of the new meta page some sectors
			for sector := at; sector < at+page; sector += 512 {
				if random.IntN(2) == 0 {
					copy(torn[sector:sector+512], old[sector-at:])
				}
			}
		case how != 3 && random.IntN(2) == 0:
			copy(torn[at:], old)
		}
	}
	if how == 2 && len(before) >= 2*page && len(before) < len(torn) {
		torn = torn[:len(before)] // the new length had not arrived either
	}
	return torn
}

// TestPowerLoss loses the power at many moments between commits. What was answered must be there, without any repair;
// of what was under way, all or nothing; and no leftovers.
func TestPowerLoss(t *testing.T) {
	c := testConfig(t.TempDir())
	ctx := namespaces.WithNamespace(t.Context(), "default")
	s := openStore(t, c)
	r := &recorder{t: t, root: c.Root, to: t.TempDir()}
	s.bolt.db = recordedDB{s.bolt.db, r}
	s.blobs.Store = recordedBlobs{s.blobs.Store, r}
	for _, b := range s.backends {
		b.Snapshotter = recordedSnapshotter{b.Snapshotter, r}
	}
	r.commit()
	answered := []map[string]bool{things(ctx, t, s)}
	for i, op := range operations(t, s) {
		if err := op(ctx); err != nil {
			t.Fatalf("operation %d: %v", i, err)
		}
		r.step++
		r.commit()
		answered = append(answered, things(ctx, t, s))
	}
	t.Logf("%d moments of %d operations", len(r.moments), r.step)
	random := rand.New(rand.NewPCG(3, 4))
	for i := 1; i < len(r.moments); i++ {
		for try := range 3 {
			before, after := r.moments[i-1], r.moments[i]
			here := testConfig(t.TempDir())
			crash(t, before.dir, after.dir, here.Root, random)
			t.Run(fmt.Sprintf("%d-%d", i, try), func(t *testing.T) {
				checkAfterCrash(ctx, t, here, answered[before.step], answered[min(before.step+1, r.step)])
			})
			os.RemoveAll(here.Root)
		}
	}
}

// crash makes the root directory of a moment between two.
func crash(t *testing.T, before, after, to string, random *rand.Rand) {
	t.Helper()
	// Files and directories beside the databases: those of one moment or the other. The databases decide.
	tree := before
	changed := slices.ContainsFunc(databases, func(db string) bool { return !bytes.Equal(read(t, before, db), read(t, after, db)) })
	if random.IntN(2) == 0 || !changed {
		tree = after
	}
	torn := map[string][]byte{}
	for _, db := range databases {
		torn[db] = tear(read(t, before, db), read(t, after, db), random)
		if bytes.Equal(torn[db], read(t, after, db)) {
			tree = after // a commit waits for the files that it speaks of
		}
	}
	if err := os.CopyFS(to, os.DirFS(tree)); err != nil {
		t.Fatal(err)
	}
	for db, data := range torn {
		if err := os.WriteFile(filepath.Join(to, db), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func checkAfterCrash(ctx context.Context, t *testing.T, c config.Config, before, after map[string]bool) {
	s, err := Open(ctx, c, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, db := range databases {
		if n := damagedFiles(t, filepath.Join(c.Root, db)); n > 0 {
			t.Errorf("%s needed a repair", db)
		}
	}
	s.sweeper.running.Wait()
	got := things(ctx, t, s)
	for name := range before {
		if after[name] && !got[name] {
			t.Errorf("%s is lost", name)
		}
	}
	for name := range got {
		if !before[name] && !after[name] && !strings.HasPrefix(name, "snapshot ") && !strings.HasPrefix(name, "blob ") {
			t.Errorf("%s is there, and never was", name)
		}
	}
	if left := leftovers(ctx, t, s); len(left) > 0 {
		t.Errorf("leftovers: %q", left)
	}
	if err := s.Collect(ctx); err != nil {
		t.Error(err)
	}
	if again := things(ctx, t, s); !maps.Equal(withoutHalf(again, before, after), withoutHalf(got, before, after)) {
		t.Errorf("the collection took %v of %v", again, got)
	}
}

// withoutHalf leaves out what was being made or removed, which a collection may take.
func withoutHalf(got, before, after map[string]bool) map[string]bool {
	kept := map[string]bool{}
	for name := range got {
		if before[name] && after[name] {
			kept[name] = true
		}
	}
	return kept
}

// anotherBoot makes the machine look as if it had been started again.
func anotherBoot(t *testing.T) {
	t.Helper()
	old := bootID
	bootID = filepath.Join(t.TempDir(), "boot_id")
	t.Cleanup(func() { bootID = old })
	if err := os.WriteFile(bootID, []byte("another\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestUnsyncedLayers: what was committed just before the power was lost is unpacked again; not after a kill, nor when it
// had been synced, nor below what cannot be made again.
func TestUnsyncedLayers(t *testing.T) {
	tests := []struct {
		name   string
		before func(ctx context.Context, t *testing.T, s *Store)
		boot   bool
		want   []string
	}{
		{name: "killed", want: []string{"a", "b"}},
		{name: "power lost", boot: true},
		{name: "power lost after a sync", boot: true, want: []string{"a", "b"}, before: func(_ context.Context, t *testing.T, s *Store) {
			for _, b := range s.backends {
				if err := b.unsynced.sync(); err != nil {
					t.Error(err)
				}
			}
		}},
		{name: "power lost, with a container", boot: true, want: []string{"a", "container"}, before: func(ctx context.Context, t *testing.T, s *Store) {
			if _, err := s.Snapshotters["native"].Prepare(ctx, "container", "a", snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "x"})); err != nil {
				t.Error(err)
			}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ctx := namespaces.WithNamespace(t.Context(), "default")
			c := twoLayers(ctx, t, test.before)
			if test.boot {
				anotherBoot(t)
			}
			s := openStore(t, c)
			if err := s.Collect(ctx); err != nil {
				t.Error(err)
			}
			var got []string
			for name := range things(ctx, t, s) {
				got = append(got, strings.TrimPrefix(name, "snapshot native "))
			}
			slices.Sort(got)
			if !slices.Equal(got, test.want) {
				t.Errorf("snapshots %v, want %v", got, test.want)
			}
			if left := leftovers(ctx, t, s); len(left) > 0 {
				t.Errorf("leftovers: %q", left)
			}
		})
	}
}

// TestUnsyncedLayerOfAContainer: a layer that a container stands on goes with the container, also over a restart.
func TestUnsyncedLayerOfAContainer(t *testing.T) {
	ctx := namespaces.WithNamespace(t.Context(), "default")
	c := twoLayers(ctx, t, func(ctx context.Context, t *testing.T, s *Store) {
		if _, err := s.Snapshotters["native"].Prepare(ctx, "container", "b"); err != nil {
			t.Error(err)
		}
	})
	anotherBoot(t)
	if err := openStore(t, c).Close(); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, c)
	native := s.Snapshotters["native"]
	for _, name := range []string{"a", "b", "container"} {
		if _, err := native.Stat(ctx, name); err != nil {
			t.Error(err)
		}
	}
	if err := native.Remove(ctx, "container"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		if _, err := native.Stat(ctx, name); !errdefs.IsNotFound(err) {
			t.Errorf("layer %s may have lost files, and is there still: %v", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(c.Root, nativeDir, "doubtful")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("they are remembered still:", err)
	}
}

// twoLayers is a store with the layers a and b that fell just after their commit, and before.
func twoLayers(ctx context.Context, t *testing.T, before func(context.Context, *testing.T, *Store)) config.Config {
	t.Helper()
	c := testConfig(t.TempDir())
	s := openStore(t, c)
	root := snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "x"})
	for _, layer := range [][2]string{{"a", ""}, {"b", "a"}} {
		if _, err := s.Snapshotters["native"].Prepare(ctx, "tmp", layer[1], root); err != nil {
			t.Fatal(err)
		}
		if err := s.Snapshotters["native"].Commit(ctx, layer[0], "tmp", root); err != nil {
			t.Fatal(err)
		}
	}
	if before != nil {
		before(ctx, t, s)
	}
	fallen := testConfig(t.TempDir())
	if err := os.CopyFS(fallen.Root, os.DirFS(c.Root)); err != nil {
		t.Fatal(err)
	}
	return fallen
}
