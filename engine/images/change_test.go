package images

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	api "github.com/moby/moby/api/types/container"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/filters"
	"github.com/gantry-containers/gantry/tests/harness"
)

// gone writes what was removed as "untagged x", "deleted ID".
func gone(f *fixture, name string, o DeleteOptions) ([]string, error) {
	list, err := f.Delete(f.ctx, name, o)
	var out []string
	for _, r := range list {
		switch {
		case r.Untagged != "":
			out = append(out, "untagged "+r.Untagged)
		default:
			out = append(out, "deleted "+r.Deleted)
		}
	}
	return out, err
}

// empty says what the manager still has.
func (f *fixture) leftovers() []string {
	f.t.Helper()
	var list []string
	err := f.client.ContentStore().Walk(f.ctx, func(info content.Info) error {
		list = append(list, "blob "+info.Digest.String())
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	err = f.client.SnapshotService("overlayfs").Walk(f.ctx, func(_ context.Context, info snapshots.Info) error {
		list = append(list, "snapshot "+info.Name)
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return list
}

func TestDelete(t *testing.T) { onEach(t, testDelete) }

func testDelete(f *fixture) {
	t := f.t
	m := makeImage("x", here, nil)
	id := digest.FromBytes(m.manifest)
	f.load(single(m, "docker.io/library/x:1"))
	for _, name := range []string{"x:2", "y:1"} {
		if err := f.TagByName(f.ctx, "x:1", name); err != nil {
			t.Fatal(err)
		}
	}
	f.events.take()
	for _, c := range []struct {
		name  string
		force bool
		want  []string
		err   string
	}{
		{name: "z", err: "No such image: z:latest"},
		{name: id.Encoded()[:12], err: "conflict: unable to delete " + id.Encoded()[:12] + " (must be forced) - image is referenced in multiple repositories"},
		{name: "x:2", want: []string{"untagged x:2"}},
		{name: "x@" + id.String(), want: []string{"untagged x:1"}},
		{name: "y:1", want: []string{"untagged y:1", "deleted " + id.String()}},
		{name: "y:1", err: "No such image: y:1"},
	} {
		got, err := gone(f, c.name, DeleteOptions{Force: c.force})
		if (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
			t.Errorf("%s: %v, want %q", c.name, err, c.err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
	if diff := cmp.Diff([]string{"image untag ID x:2", "image untag ID x:1", "image untag ID y:1", "image delete ID ID"}, f.events.take()); diff != "" {
		t.Errorf("events: %s", diff)
	}
	if left := f.leftovers(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestDeleteUsed(t *testing.T) {
	f := newFixture(t)
	m := makeImage("x", here, nil)
	id := digest.FromBytes(m.manifest)
	f.load(single(m, "docker.io/library/x:1"))
	c := &container.Container{ID: strings.Repeat("c", 64), State: container.State{Status: container.Running}, Config: &api.Config{Image: "x:1"}}
	c.Image.Target, c.Image.Manifest = ocispec.Descriptor{Digest: id}, ocispec.Descriptor{Digest: id}
	*f.containers = containers{c}
	short := id.Encoded()[:12]
	for _, s := range []struct {
		name   string
		force  bool
		status container.Status
		want   string
	}{
		{"x:1", false, container.Running, "conflict: unable to delete x:1 (must be forced) - container cccccccccccc is using its referenced image " + short},
		{short, false, container.Exited, "conflict: unable to delete " + short + " (must be forced) - image is being used by stopped container cccccccccccc"},
		{short, true, container.Paused, "conflict: unable to delete " + short + " (cannot be forced) - image is being used by running container cccccccccccc"},
	} {
		c.State.Status = s.status
		if _, err := gone(f, s.name, DeleteOptions{Force: s.force}); err == nil || err.Error() != s.want || !errdefs.IsConflict(err) {
			t.Errorf("%v, want %q", err, s.want)
		}
	}
	got, err := gone(f, "x:1", DeleteOptions{Force: true})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"untagged x:1"}, got); diff != "" {
		t.Error(diff)
	}
	if _, ok := f.index.get(danglingName(id)); !ok {
		t.Error("the image of a container that runs is gone")
	}
}

func TestPrune(t *testing.T) {
	f := newFixture(t)
	a, b := makeImage("a", here, map[string]string{"keep": "1"}), makeImage("b", here, nil)
	f.load(single(a, ""))
	f.load(single(b, "docker.io/library/b:1"))
	report, err := f.Prune(f.ctx, filters.Args{})
	if err != nil {
		t.Fatal(err)
	}
	id := digest.FromBytes(a.manifest).String()
	var got []string
	for _, r := range report.ImagesDeleted {
		got = append(got, r.Untagged+r.Deleted)
	}
	if diff := cmp.Diff([]string{id, id}, got); diff != "" {
		t.Error(diff)
	}
	if least := uint64(len(a.layer) + len(a.config) + len(a.manifest)); report.SpaceReclaimed < least {
		t.Errorf("reclaimed %d of %d", report.SpaceReclaimed, least)
	}
	if _, err := f.Resolve(f.ctx, "b:1", nil); err != nil {
		t.Error(err)
	}
}

func TestHistory(t *testing.T) {
	f := newFixture(t)
	m := makeImage("x", here, nil)
	f.load(single(m, "docker.io/library/x:1"))
	h, err := f.History(f.ctx, "x:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(h) != 1 || h[0].CreatedBy != "test" || h[0].Size == 0 || h[0].Tags[0] != "x:1" || h[0].ID != digest.FromBytes(m.manifest).String() {
		t.Errorf("%+v", h)
	}
}

// TestSaveAndLoad loads what was saved, after the image was removed.
func TestSaveAndLoad(t *testing.T) {
	f := newFixture(t)
	m := makeImage("x", here, nil)
	f.load(single(m, "docker.io/library/x:1"))
	if err := f.TagByName(f.ctx, "x:1", "x:2"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ save, said string }{
		{"x", "Loaded image: x:1\nLoaded image: x:2\n"},
		{"x:2", "Loaded image: x:2\n"},
		{digest.FromBytes(m.manifest).String(), "Loaded image ID: " + digest.FromBytes(m.manifest).String() + "\n"},
	} {
		var archive bytes.Buffer
		if err := f.Save(f.ctx, []string{c.save}, nil, &archive); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Delete(f.ctx, digest.FromBytes(m.manifest).String(), DeleteOptions{Force: true}); err != nil {
			t.Fatal(err)
		}
		if got := f.load(archive.Bytes()); got != c.said {
			t.Errorf("%s: said %q, want %q", c.save, got, c.said)
		}
		f.load(single(m, "docker.io/library/x:1"))
		f.load(single(m, "docker.io/library/x:2"))
	}
	if err := f.Save(f.ctx, []string{"y"}, nil, &bytes.Buffer{}); err == nil || err.Error() != "No such image: y:latest" {
		t.Errorf("an image that is not there: %v", err)
	}
}

func TestImport(t *testing.T) {
	f := newFixture(t)
	id, err := f.Import(f.ctx, bytes.NewReader(tarOf(file{"hello", []byte("x")})), ImportOptions{
		Name: "docker.io/library/imp:1", Message: "said", Changes: []string{`CMD ["run"]`, "ENV A=1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	img, err := f.Resolve(f.ctx, "imp:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if img.Target.Digest != id || img.Config.Config.Cmd[0] != "run" || img.Config.History[0].Comment != "said" {
		t.Errorf("%+v", img)
	}
	if diff := cmp.Diff([]string{"image tag ID imp:1", "image import ID ID"}, f.events.take()); diff != "" {
		t.Errorf("events: %s", diff)
	}
	if _, err := f.Import(f.ctx, strings.NewReader("this is no archive of anything, but long enough to be looked at"), ImportOptions{}); err == nil {
		t.Error("what is no archive was imported")
	}
	if n := len(f.index.all()); n != 1 {
		t.Errorf("%d images, want 1", n)
	}
}

// TestCommit commits a snapshot that changed, and one that did not.
func TestCommit(t *testing.T) { onEach(t, testCommit) }

func testCommit(f *fixture) {
	t := f.t
	m := makeImage("x", here, map[string]string{"l": "1"})
	f.load(single(m, "docker.io/library/x:1"))
	base, err := f.Resolve(f.ctx, "x:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &container.Container{
		ID: strings.Repeat("c", 64), Name: "me", State: container.State{Status: container.Exited},
		Config: &api.Config{Image: "x:1", Cmd: []string{"sh"}, Labels: map[string]string{"l": "1"}},
	}
	c.Image.Target, c.Image.Manifest = base.Target, base.Manifest
	*f.containers = containers{c}
	sn := f.client.SnapshotService("overlayfs")
	mounts, err := sn.Prepare(f.ctx, c.ID, base.ChainID.String(), snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "1"}))
	if err != nil {
		t.Fatal(err)
	}
	same, err := f.CommitContainer(f.ctx, CommitOptions{Container: "me", Pause: true})
	if err != nil {
		t.Fatal(err)
	}
	err = mount.WithTempMount(f.ctx, mounts, func(root string) error {
		return os.WriteFile(filepath.Join(root, "new"), []byte("new"), 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	f.events.take()
	id, err := f.CommitContainer(f.ctx, CommitOptions{
		Container: "me", Name: "docker.io/library/y:1", Changes: []string{"ENV B=2"}, Comment: "said", Author: "someone",
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"image create ID ID", "image tag ID y:1", "container commit " + c.ID + " me"}, f.events.take()); diff != "" {
		t.Errorf("events: %s", diff)
	}
	for _, want := range []struct {
		name   string
		layers int
	}{{same, 1}, {id, 2}} {
		img, err := f.Resolve(f.ctx, want.name, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(img.Config.RootFS.DiffIDs); got != want.layers || len(img.Config.History) != 2 || img.Parent != base.Target.Digest {
			t.Errorf("%d layers, want %d: %+v", got, want.layers, img)
		}
		if _, err := sn.Stat(f.ctx, img.ChainID.String()); err != nil {
			t.Errorf("not unpacked: %v", err)
		}
	}
	children, err := f.Children(f.ctx, base.Target.Digest)
	if err != nil || len(children) != 2 {
		t.Errorf("children: %v, %v", children, err)
	}
	built, err := f.BuiltFrom(f.ctx, &Image{Target: ocispec.Descriptor{Digest: digest.Digest(id)}})
	if err != nil || built == nil || built.Cmd[0] != "sh" {
		t.Errorf("built from %+v, %v", built, err)
	}
	in, err := f.Inspect(f.ctx, "y:1", InspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if in.Comment != "said" || in.Author != "someone" || in.Config.Env[0] != "B=2" || in.Parent != base.Target.Digest.String() {
		t.Errorf("%+v", in)
	}
}

// TestOthers notices what other clients of the manager do.
func TestOthers(t *testing.T) { onEach(t, testOthers) }

func testOthers(f *fixture) {
	t := f.t
	m := makeImage("x", here, nil)
	f.load(single(m, "docker.io/library/x:1"))
	records := f.client.ImageService()
	target := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(m.manifest), Size: int64(len(m.manifest))}
	if _, err := records.Create(f.ctx, images.Image{Name: "docker.io/library/other:1", Target: target}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Resolve(f.ctx, "other:1", nil); err != nil {
		t.Errorf("an image that another client has just made: %v", err)
	}
	if err := records.Delete(f.ctx, "docker.io/library/x:1"); err != nil {
		t.Fatal(err)
	}
	if !harness.Until(10e9, func() bool { _, ok := f.index.get("docker.io/library/x:1"); return !ok }) {
		t.Error("an image that another client removed is still here")
	}
}
