package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/images"
	"github.com/gantry-containers/gantry/engine/mounts"
	"github.com/gantry-containers/gantry/engine/rootfs"
	"github.com/gantry-containers/gantry/engine/volumes"
	"github.com/gantry-containers/gantry/tests/engine/embedded"
	"github.com/gantry-containers/gantry/tests/harness"
)

type quiet struct{}

func (quiet) Publish(events.Type, events.Action, string, map[string]string) {}

type noImages struct{}

func (noImages) Resolve(_ context.Context, ref string, _ *ocispec.Platform) (*images.Image, error) {
	return nil, fault.Errorf(errdefs.ErrNotFound, "No such image: %s", ref)
}

// rig is all that copying takes, over a manager in a folder of the test.
type rig struct {
	*Service
	t       *testing.T
	store   *container.Store
	roots   *rootfs.Service
	mounts  *mounts.Service
	volumes *volumes.Store
	dir     string
	chain   digest.Digest
	make    func(c *container.Container)
}

func newRig(t *testing.T, fill func(dir string)) *rig {
	t.Helper()
	harness.NeedRoot(t)
	dir := t.TempDir()
	client := embedded.Manager(t)
	chain := embedded.Layer(t, client, "", fill)
	store, _, err := container.Open(filepath.Join(dir, "containers"))
	if err != nil {
		t.Fatal(err)
	}
	vols, err := volumes.Open(filepath.Join(dir, "volumes"), quiet{})
	if err != nil {
		t.Fatal(err)
	}
	roots := rootfs.New(client, embedded.Snapshotter, rootfs.Containers{Pid: func(string) int { return 0 }}, t.TempDir())
	m := mounts.New(mounts.Config{
		Volumes: vols, Containers: store, Images: noImages{}, Roots: roots, Events: quiet{},
		Root: filepath.Join(dir, "root"), Dir: filepath.Join(dir, "mounts"),
	})
	r := &rig{Service: New(store, roots, m, quiet{}), t: t, chain: chain, store: store, roots: roots, mounts: m, volumes: vols, dir: dir}
	r.make = func(c *container.Container) {
		t.Helper()
		c.Name = c.ID
		if err := roots.Create(t.Context(), c.ID, chain); err != nil {
			t.Fatal(err)
		}
		if c.Mounts, err = m.Resolve(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if err := m.CopyUp(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if err := store.Create(c); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r *rig) container(id string, hc api.HostConfig, vols ...string) {
	r.t.Helper()
	c := &container.Container{ID: id, Config: &api.Config{Volumes: map[string]struct{}{}}, HostConfig: &hc}
	for _, v := range vols {
		c.Config.Volumes[v] = struct{}{}
	}
	r.make(c)
}

func fill(t *testing.T) func(dir string) {
	return func(dir string) {
		for name, text := range map[string]string{
			"etc/passwd": "root:x:0:0::/:/bin/sh\nuser:x:7:8::/:/bin/sh\n", "etc/group": "grp:x:9:\n",
			"dir/one": "1", "dir/sub/two": "22", "data/own": "from the image", "ro/file": "x",
		} {
			p := filepath.Join(dir, name)
			for _, err := range []error{os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(text), 0o640)} {
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, err := range []error{
			os.Symlink("/dir", filepath.Join(dir, "link")),
			os.Symlink("../../../../nowhere/x", filepath.Join(dir, "dir/broken")),
			os.Symlink("loop", filepath.Join(dir, "loop")),
			os.Link(filepath.Join(dir, "dir/one"), filepath.Join(dir, "dir/same")),
			os.Chmod(filepath.Join(dir, "data"), 0o3750),
			os.Chown(filepath.Join(dir, "data"), 7, 8),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// names are those of a tar archive, with where links lead.
func names(t *testing.T, r io.Reader) (list []string, files map[string]string) {
	t.Helper()
	files = map[string]string{}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			slices.Sort(list)
			return list, files
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		n := h.Name
		if h.Linkname != "" {
			n += " -> " + h.Linkname
		}
		list = append(list, n)
		files[h.Name] = string(b)
	}
}

func packed(t *testing.T, headers ...tar.Header) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		text := ""
		if h.Typeflag == tar.TypeReg {
			text = "text of " + h.Name
			h.Size = int64(len(text))
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func (r *rig) get(id, path string) ([]string, map[string]string) {
	r.t.Helper()
	content, _, err := r.Get(r.t.Context(), id, path)
	if err != nil {
		r.t.Errorf("%s: %v", path, err)
		return nil, nil
	}
	defer content.Close()
	return names(r.t, content)
}

func TestStat(t *testing.T) {
	r := newRig(t, fill(t))
	r.container("c", api.HostConfig{})
	for path, want := range map[string]api.PathStat{
		"/dir/one":    {Name: "one", Size: 1, Mode: 0o640},
		"dir/one":     {Name: "one", Size: 1, Mode: 0o640},
		"/link":       {Name: "link", Size: 4, Mode: os.ModeSymlink | 0o777, LinkTarget: "/dir"},
		"/link/":      {Name: "link", Mode: os.ModeDir | 0o755},
		"/dir/broken": {Name: "broken", Size: 21, Mode: os.ModeSymlink | 0o777, LinkTarget: "/nowhere/x"},
		"/":           {Name: "/", Mode: os.ModeDir | 0o755},
	} {
		got, err := r.Stat(t.Context(), "c", path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		got.Mtime = time.Time{}
		if got.Mode.IsDir() {
			got.Size = 0
		}
		if d := cmp.Diff(want, *got); d != "" {
			t.Errorf("%s: %s", path, d)
		}
	}
	_, err := r.Stat(t.Context(), "c", "/none")
	if !errdefs.IsNotFound(err) || err.Error() != "Could not find the file /none in container c" {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := r.Stat(t.Context(), "c", "/loop"); err == nil || errdefs.IsNotFound(err) {
		t.Errorf("a link to itself: %v", err)
	}
	if _, err := r.Stat(t.Context(), "nobody", "/"); err == nil || err.Error() != "No such container: nobody" {
		t.Errorf("a missing container: %v", err)
	}
}

func TestGet(t *testing.T) {
	r := newRig(t, fill(t))
	r.container("c", api.HostConfig{Binds: []string{"vol:/vol/deep"}})
	for path, want := range map[string][]string{
		"/dir":      {"dir/", "dir/broken -> ../../../../nowhere/x", "dir/one", "dir/same -> dir/one", "dir/sub/", "dir/sub/two"},
		"/dir/.":    {"./", "./broken -> ../../../../nowhere/x", "./one", "./same -> ./one", "./sub/", "./sub/two"},
		"/link":     {"link -> /dir"},
		"/link/sub": {"sub/", "sub/two"},
		"/dir/one":  {"one"},
		"/vol":      {"vol/", "vol/deep/"},
	} {
		got, _ := r.get("c", path)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", path, d)
		}
	}
	// A client that goes away ends the packing.
	content, _, err := r.Get(t.Context(), "c", "/")
	if err != nil {
		t.Fatal(err)
	}
	content.Close()
	var b bytes.Buffer
	if err := r.Export(t.Context(), "c", &b); err != nil {
		t.Fatal(err)
	}
	all, _ := names(t, &b)
	for _, n := range []string{".dockerenv", "dir/sub/two", "etc/hosts", "proc/"} {
		if !slices.Contains(all, n) {
			t.Errorf("export lacks %s: %v", n, all)
		}
	}
}

func TestPut(t *testing.T) {
	r := newRig(t, fill(t))
	host := t.TempDir()
	r.container("c", api.HostConfig{Binds: []string{"vol:/vol", host + ":/ro/deep:ro"}})
	file := tar.Header{Name: "f", Typeflag: tar.TypeReg, Uid: 3, Gid: 4, Mode: 0o4711}
	for _, p := range []string{"/", "/link", "/vol/"} {
		if err := r.Put(t.Context(), "c", Put{Path: p}, packed(t, file)); err != nil {
			t.Errorf("%s: %v", p, err)
		}
	}
	for _, p := range []string{"/f", "/dir/f", "/vol/f"} {
		st, err := r.Stat(t.Context(), "c", p)
		if err != nil || st.Mode != os.ModeSetuid|0o711 {
			t.Errorf("%s: %+v, %v", p, st, err)
		}
	}
	data, err := r.volumes.Get(t.Context(), "vol")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(data.Mountpoint + "/f"); string(b) != "text of f" {
		t.Errorf("it is not in the volume: %q, %v", b, err)
	}
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, err = io.Copy(w, packed(t, tar.Header{Name: "gz", Typeflag: tar.TypeReg}))
	if err := errors.Join(err, w.Close(), r.Put(t.Context(), "c", Put{Path: "/"}, &zipped)); err != nil {
		t.Error(err)
	}
	if _, files := r.get("c", "/gz"); files["gz"] != "text of gz" {
		t.Errorf("%v", files)
	}
	for _, test := range []struct {
		put  Put
		body io.Reader
		want string
	}{
		{Put{Path: "/ro/deep"}, packed(t, file), "mounted volume is marked read-only"},
		{Put{Path: "/dir/one"}, packed(t, file), "extraction point is not a directory"},
		{Put{Path: "/none"}, packed(t, file), "Could not find the file /none in container c"},
		{Put{Path: "/", KeepKind: true}, packed(t, tar.Header{Name: "dir", Typeflag: tar.TypeReg}), "cannot overwrite directory"},
		{Put{Path: "/"}, strings.NewReader("\xfd7zXZ\x00 and so on"), "xz: "},
		{Put{Path: "/"}, strings.NewReader(strings.Repeat("no archive", 100)), "archive/tar"},
	} {
		if err := r.Put(t.Context(), "c", test.put, test.body); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %s", test.put, err, test.want)
		}
	}
	r.container("readonly", api.HostConfig{ReadonlyRootfs: true, Binds: []string{"vol:/vol"}})
	if err := r.Put(t.Context(), "readonly", Put{Path: "/"}, packed(t, file)); err == nil || err.Error() != "container rootfs is marked read-only" {
		t.Errorf("a read-only root: %v", err)
	}
	if err := r.Put(t.Context(), "readonly", Put{Path: "/vol"}, packed(t, file)); err != nil {
		t.Errorf("a volume of a read-only root: %v", err)
	}
}

func TestPutForTheUser(t *testing.T) {
	r := newRig(t, fill(t))
	r.container("c", api.HostConfig{Binds: []string{"vol:/vol"}})
	data, err := r.volumes.Get(t.Context(), "vol")
	if err != nil {
		t.Fatal(err)
	}
	file := tar.Header{Name: "f", Typeflag: tar.TypeReg, Uid: 3, Gid: 4}
	for user, want := range map[string][2]int{"": {3, 4}, "user": {7, 8}, "7": {7, 8}, "77": {77, 0}, "user:grp": {7, 9}, "5:6": {5, 6}} {
		if _, err := r.store.Update("c", func(c *container.Container) error { c.Config = &api.Config{User: user}; return nil }); err != nil {
			t.Fatal(err)
		}
		if err := r.Put(t.Context(), "c", Put{Path: "/vol", Own: true}, packed(t, file)); err != nil {
			t.Errorf("%s: %v", user, err)
		}
		var owner [2]int
		info, err := os.Stat(data.Mountpoint + "/f")
		if err == nil {
			owner = ownerOf(info)
		}
		if owner != want {
			t.Errorf("%s: %v, %v", user, owner, err)
		}
	}
	if _, err := r.store.Update("c", func(c *container.Container) error { c.Config = &api.Config{User: "nobody"}; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := r.Put(t.Context(), "c", Put{Path: "/vol", Own: true}, packed(t, file)); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a user that is not there: %v", err)
	}
}

func TestCopyUp(t *testing.T) {
	r := newRig(t, fill(t))
	r.container("a", api.HostConfig{Binds: []string{"vol:/data", "none:/dir/sub:nocopy"}}, "/link/sub/..", "/new")
	list, _ := r.get("a", "/data")
	if d := cmp.Diff([]string{"data/", "data/own"}, list); d != "" {
		t.Error(d)
	}
	v, err := r.volumes.Get(t.Context(), "vol")
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(v.Mountpoint)
	if err != nil || info.Mode() != os.ModeDir|os.ModeSetgid|os.ModeSticky|0o750 && info.Mode().Perm() != 0o750 || ownerOf(info) != [2]int{7, 8} {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	// It is filled once: what is in it stays.
	if err := os.Remove(v.Mountpoint + "/own"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(v.Mountpoint+"/other", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.container("b", api.HostConfig{Binds: []string{"vol:/data"}})
	list, _ = r.get("b", "/data")
	if d := cmp.Diff([]string{"data/", "data/other"}, list); d != "" {
		t.Error(d)
	}
	empty, err := r.volumes.Get(t.Context(), "none")
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(empty.Mountpoint); err != nil || len(left) != 0 {
		t.Errorf("copied although nocopy: %v, %v", left, err)
	}
	c := &container.Container{ID: "x", Name: "x", Config: &api.Config{Volumes: map[string]struct{}{"/etc/passwd": {}}}, HostConfig: &api.HostConfig{}}
	if err := r.roots.Create(t.Context(), "x", ""); err != nil {
		t.Fatal(err)
	}
	if c.Mounts, err = r.mounts.Resolve(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := r.mounts.CopyUp(t.Context(), c); err != nil {
		t.Errorf("a root without such a folder: %v", err)
	}
}

func TestWorkingDir(t *testing.T) {
	r := newRig(t, fill(t))
	for dir, want := range map[string]string{"": "", "/": "", "new/er": "", "/link/sub": "", "/etc/passwd": "Cannot mkdir: /etc/passwd is not a directory"} {
		c := &container.Container{ID: "c" + strings.ReplaceAll(dir, "/", "-"), Config: &api.Config{WorkingDir: dir}, HostConfig: &api.HostConfig{}}
		c.Name = c.ID
		if err := r.roots.Create(t.Context(), c.ID, r.chain); err != nil {
			t.Fatal(err)
		}
		err := r.mounts.CopyUp(t.Context(), c)
		if want != "" {
			if err == nil || err.Error() != want {
				t.Errorf("%s: %v", dir, err)
			}
			continue
		}
		if err := errors.Join(err, r.store.Create(c)); err != nil {
			t.Fatal(err)
		}
		if st, err := r.Stat(t.Context(), c.ID, "/"+dir); err != nil || !st.Mode.IsDir() {
			t.Errorf("%s: %v, %v", dir, st, err)
		}
	}
}

func TestNothingIsLeft(t *testing.T) {
	r := newRig(t, fill(t))
	r.container("c", api.HostConfig{Binds: []string{"vol:/vol"}, Mounts: []mount.Mount{
		{Type: mount.TypeVolume, Source: "vol", Target: "/part", VolumeOptions: &mount.VolumeOptions{Subpath: "sub", NoCopy: true}},
	}})
	v, _ := r.volumes.Get(t.Context(), "vol")
	if err := os.Mkdir(v.Mountpoint+"/sub", 0o755); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := r.Put(t.Context(), "c", Put{Path: "/part"}, packed(t, tar.Header{Name: "x", Typeflag: tar.TypeReg})); err != nil {
				t.Error(err)
			}
			if _, err := r.Stat(t.Context(), "c", "/vol/sub/x"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if left := embedded.Mounts(t); len(left) > 0 {
		t.Errorf("mounts are left: %q", left)
	}
}
