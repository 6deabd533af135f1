package rootfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	api "github.com/moby/moby/api/types/container"
	"github.com/opencontainers/go-digest"

	"github.com/gantry-containers/gantry/tests/engine/embedded"
	"github.com/gantry-containers/gantry/tests/harness"
)

// write makes files of an image: a name that ends in a slash is a folder.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(p, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// image is a service with an image of two layers.
func image(t *testing.T) (*Service, digest.Digest) {
	t.Helper()
	harness.NeedRoot(t)
	client := embedded.Manager(t)
	base := embedded.Layer(t, client, "", func(dir string) {
		write(t, dir, map[string]string{"etc/passwd": "root:x:0:0::/root:/bin/sh\n", "dir/a": "a", "dir/b": "b", "opaque/x": "x", "opaque/y": "y", "keep/k": "k", "var/": ""})
		if err := os.Symlink("/run", filepath.Join(dir, "var/run")); err != nil {
			t.Fatal(err)
		}
	})
	top := embedded.Layer(t, client, base, func(dir string) {
		write(t, dir, map[string]string{"top": "top"})
		if err := os.Symlink("/../../../../../../etc/passwd", filepath.Join(dir, "link")); err != nil {
			t.Fatal(err)
		}
	})
	return New(client, embedded.Snapshotter, Containers{Pid: func(string) int { return 0 }}, t.TempDir()), top
}

func TestCreate(t *testing.T) {
	s, chain := image(t)
	ctx := t.Context()
	for _, id := range []string{"one", "two"} {
		if err := s.Create(ctx, id, chain); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Create(ctx, "one", chain); !errdefs.IsAlreadyExists(err) {
		t.Errorf("the same again: %v", err)
	}
	if err := s.Create(ctx, "none", digest.FromString("no such")); !errdefs.IsNotFound(err) {
		t.Errorf("on top of nothing: %v", err)
	}
	tree, err := s.Open(ctx, "one")
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Root.Close()
	for name, want := range map[string]string{"/etc/passwd": "root:x:0:0::/root:/bin/sh\n", "link": "root:x:0:0::/root:/bin/sh\n", "top": "top", "/.dockerenv": "", "/etc/hosts": ""} {
		b, err := tree.ReadFile(name, 100)
		if err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if _, err := tree.ReadFile("/etc/passwd", 5); err == nil {
		t.Error("more than the limit was read")
	}
	if _, err := tree.ReadFile("/dev", 5); err == nil {
		t.Error("a folder was read")
	}
	if _, err := tree.ReadFile("/none", 5); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if err := tree.MkdirAll("/new", 0o755); err == nil {
		t.Error("a tree for a look was written")
	}
	if shown := embedded.Mounts(t); len(shown) > 0 {
		t.Errorf("mounts show: %q", shown)
	}
	for _, id := range []string{"one", "one", "two"} {
		if err := s.Remove(ctx, id); err != nil {
			t.Error(err)
		}
	}
}

func TestEmptyRoot(t *testing.T) {
	s, _ := image(t)
	if err := s.Create(t.Context(), "empty", ""); err != nil {
		t.Fatal(err)
	}
	tree, err := s.OpenWritable(t.Context(), "empty")
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Root.Close()
	if err := tree.Touch("/a/b/c", 0o600); err != nil {
		t.Error(err)
	}
	if b, err := tree.ReadFile("/a/b/c", 1); err != nil || len(b) != 0 {
		t.Errorf("%q, %v", b, err)
	}
}

func TestMkdirAllBehindLinks(t *testing.T) {
	s, chain := image(t)
	if err := s.Create(t.Context(), "c", chain); err != nil {
		t.Fatal(err)
	}
	tree, err := s.OpenWritable(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Root.Close()
	if err := tree.MkdirAll("/var/run/x/y", 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := tree.OpenFile("/run/x/y", os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := tree.MkdirAll("/etc/passwd/x", 0o755); err == nil {
		t.Error("a folder inside a file")
	}
}

func TestSweep(t *testing.T) {
	s, chain := image(t)
	for _, id := range []string{"known", "unknown"} {
		if err := s.Create(t.Context(), id, chain); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.View(t.Context(), "view", "unknown", chain); err != nil {
		t.Fatal(err)
	}
	if err := s.Sweep(t.Context(), func(id string) bool { return id == "known" }); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]bool{"known": true, "unknown": false, "view": false} {
		if _, err := s.Mounts(t.Context(), id); (err == nil) != want {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// change does to a container's root what its processes might.
func change(t *testing.T, dir string) {
	t.Helper()
	write(t, dir, map[string]string{"new/deep/file": "x", "dir/a": "longer", "opaque.new/z": "z"})
	for _, err := range []error{
		os.Remove(filepath.Join(dir, "dir/b")),
		os.RemoveAll(filepath.Join(dir, "opaque")),
		os.Mkdir(filepath.Join(dir, "opaque"), 0o755),
		os.WriteFile(filepath.Join(dir, "opaque/x"), []byte("other"), 0o600),
		os.Chmod(filepath.Join(dir, "keep"), 0o700),
		os.WriteFile(filepath.Join(dir, ".dockerenv"), nil, 0o755),
		os.Remove(filepath.Join(dir, "top")),
		os.Mkdir(filepath.Join(dir, "top"), 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestChanges(t *testing.T) {
	s, chain := image(t)
	if err := s.Create(t.Context(), "c", chain); err != nil {
		t.Fatal(err)
	}
	none, err := s.Changes(t.Context(), "c")
	if err != nil || len(none) != 0 {
		t.Errorf("of a new container: %v, %v", none, err)
	}
	mounts, err := s.Mounts(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := mount.All(mounts, dir); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mount.UnmountAll(dir, 0) }()
	change(t, dir)
	want := []api.FilesystemChange{
		{Kind: api.ChangeModify, Path: "/.dockerenv"},
		{Kind: api.ChangeModify, Path: "/dir"},
		{Kind: api.ChangeModify, Path: "/dir/a"},
		{Kind: api.ChangeDelete, Path: "/dir/b"},
		{Kind: api.ChangeModify, Path: "/keep"},
		{Kind: api.ChangeAdd, Path: "/new"},
		{Kind: api.ChangeAdd, Path: "/new/deep"},
		{Kind: api.ChangeAdd, Path: "/new/deep/file"},
		{Kind: api.ChangeModify, Path: "/opaque"},
		{Kind: api.ChangeModify, Path: "/opaque/x"},
		{Kind: api.ChangeDelete, Path: "/opaque/y"},
		{Kind: api.ChangeAdd, Path: "/opaque.new"},
		{Kind: api.ChangeAdd, Path: "/opaque.new/z"},
		{Kind: api.ChangeModify, Path: "/top"},
	}
	got, err := s.Changes(t.Context(), "c")
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("by the layer: %v\n%s", err, d)
	}
	got, err = s.compareTrees(t.Context(), "c")
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("by both trees: %v\n%s", err, d)
	}
	size, err := s.Usage(t.Context(), "c")
	if err != nil || size == 0 {
		t.Errorf("size: %d, %v", size, err)
	}
}
