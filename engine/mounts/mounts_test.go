package mounts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/images"
	"github.com/gantry-containers/gantry/engine/volumes"
)

// told collects events as lines.
type told struct {
	mu    sync.Mutex
	lines []string
}

func (e *told) Publish(_ events.Type, action events.Action, id string, attributes map[string]string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lines = append(e.lines, fmt.Sprint(action, " ", id, " ", attributes))
}

// others are containers that VolumesFrom names.
type others map[string]*container.Container

func (o others) Get(ref string) (*container.Container, error) {
	if c, ok := o[ref]; ok {
		return c, nil
	}
	return nil, fault.Errorf(errdefs.ErrNotFound, "No such container: %s", ref)
}

// noImages has none.
type noImages struct{}

func (noImages) Resolve(_ context.Context, ref string, _ *ocispec.Platform) (*images.Image, error) {
	return nil, fault.Errorf(errdefs.ErrNotFound, "No such image: %s", ref)
}

// service is one over real volumes in folders of the test.
func service(t *testing.T, from others) (*Service, *volumes.Store) {
	t.Helper()
	dir, ev := t.TempDir(), &told{}
	store, err := volumes.Open(filepath.Join(dir, "volumes"), ev)
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{Volumes: store, Containers: from, Images: noImages{}, Events: ev, Root: dir + "/root", Dir: filepath.Join(dir, "mounts")}), store
}

func newContainer(hc api.HostConfig, vols ...string) *container.Container {
	c := &container.Container{ID: "c1", Config: &api.Config{Volumes: map[string]struct{}{}}, HostConfig: &hc}
	for _, v := range vols {
		c.Config.Volumes[v] = struct{}{}
	}
	return c
}

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	from := others{"other": {ID: "c0", Mounts: []container.Mount{
		{Type: mount.TypeBind, Source: dir, Destination: "/from", RW: true, Propagation: mount.PropagationRPrivate, Mode: "z"},
		{Type: mount.TypeBind, Source: dir, Destination: "/b", RW: true},
	}}}
	s, store := service(t, from)
	c := newContainer(api.HostConfig{
		Binds:       []string{"named:/a/deep/one", dir + ":/b:ro,rslave", "/missing/here:/c", "nocopy:/d:nocopy"},
		VolumesFrom: []string{"other:ro"},
		Tmpfs:       map[string]string{"/t": ""},
		Mounts: []mount.Mount{
			{Type: mount.TypeVolume, Target: "/e"},
			{Type: mount.TypeTmpfs, Target: "/f/", TmpfsOptions: &mount.TmpfsOptions{SizeBytes: 1 << 20}},
			{Type: mount.TypeBind, Source: dir, Target: "/g", ReadOnly: true},
		},
	}, "/t", "/e", "/h")
	got, err := s.Resolve(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	bind := func(dest, source string, p mount.Propagation) container.Mount {
		return container.Mount{Type: mount.TypeBind, Source: source, Destination: dest, Propagation: p}
	}
	b, made, g, f := bind("/b", dir, "rslave"), bind("/c", "/missing/here", "rprivate"), bind("/g", dir, "rprivate"), bind("/from", dir, "rprivate")
	b.Mode, made.RW = "ro,rslave", true
	vol := container.Mount{Type: mount.TypeVolume, Driver: "local", RW: true, CopyUp: true, Mode: "z"}
	named, nocopy, anonymous, image := vol, vol, vol, vol
	named.Name, named.Destination = "named", "/a/deep/one"
	nocopy.Name, nocopy.Destination, nocopy.CopyUp, nocopy.Mode = "nocopy", "/d", false, "nocopy"
	anonymous.Destination, anonymous.Anonymous = "/e", true
	image.Destination, image.Anonymous, image.Mode = "/h", true, ""
	want := []container.Mount{b, made, nocopy, anonymous, {Type: mount.TypeTmpfs, Destination: "/f", RW: true}, f, g, image, named}
	opts := []cmp.Option{
		cmpopts.IgnoreFields(container.Mount{}, "Spec"),
		cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Source" || p.Last().String() == ".Name" }, cmp.Comparer(func(a, b string) bool {
			return a == b || strings.Contains(a+b, "/_data") || len(a+b) == 64
		})),
	}
	if d := cmp.Diff(want, got, opts...); d != "" {
		t.Error(d)
	}
	for _, m := range got {
		o := m.Spec.BindOptions
		if m.Destination == "/c" && !o.CreateMountpoint {
			t.Errorf("%s: %+v", m.Destination, o)
		}
	}
	c.Mounts = got
	if err := store.Remove(t.Context(), "named", false); !errdefs.IsConflict(err) || err.Error() != "remove named: volume is in use - [c1]" {
		t.Errorf("remove of a used volume: %v", err)
	}
	if err := s.Release(t.Context(), c, true); err != nil {
		t.Fatal(err)
	}
	left, err := store.List(t.Context(), nil)
	if err != nil || len(left) != 2 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestResolveRefuses(t *testing.T) {
	dir := t.TempDir()
	bind := func(m mount.Mount) api.HostConfig {
		m.Type = mount.TypeBind
		return api.HostConfig{Mounts: []mount.Mount{m}}
	}
	vol := func(m mount.Mount) api.HostConfig {
		m.Type = mount.TypeVolume
		return api.HostConfig{Mounts: []mount.Mount{m}}
	}
	for _, test := range []struct {
		hc   api.HostConfig
		want string
		bad  bool // an invalid argument, not our fault
	}{
		{api.HostConfig{Binds: []string{""}}, "invalid volume specification: ''", false},
		{api.HostConfig{Binds: []string{"a:b:c:d"}}, "invalid volume specification: 'a:b:c:d'", false},
		{api.HostConfig{Binds: []string{"/foo:ro"}}, "invalid volume specification: '/foo:ro'", false},
		{api.HostConfig{Binds: []string{"a:/b:rw,ro"}}, "invalid mode: rw,ro", false},
		{api.HostConfig{Binds: []string{"a:/b:x"}}, "invalid mode: x", false},
		{api.HostConfig{Binds: []string{"a:b"}}, "invalid volume specification: 'a:b': invalid mount config for type \"volume\": invalid mount path: 'b' mount path must be absolute", false},
		{api.HostConfig{Binds: []string{"/a:/"}}, "invalid volume specification: '/a:/': invalid mount config for type \"bind\": invalid specification: destination can't be '/'", false},
		{api.HostConfig{Binds: []string{"a:/b:rshared"}}, "invalid volume specification: 'a:/b:rshared': invalid mount config for type \"volume\": field BindOptions must not be specified", false},
		{api.HostConfig{Binds: []string{"./a:/b"}}, "create ./a: \"./a\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path", true},
		{api.HostConfig{Binds: []string{"a1:/b", dir + ":/b/"}}, "Duplicate mount point: /b", true},
		{api.HostConfig{Binds: []string{"a1:/b"}, Tmpfs: map[string]string{"/b": ""}}, "Duplicate mount point: /b", true},
		{api.HostConfig{Binds: []string{"a1:/b"}, Mounts: []mount.Mount{{Type: mount.TypeTmpfs, Target: "/b/"}}}, "Duplicate mount point: /b/", true},
		{api.HostConfig{Binds: []string{"a1:/b"}, VolumeDriver: "none"}, `create a1: error looking up volume plugin none: plugin "none" not found`, false},
		{api.HostConfig{VolumesFrom: []string{""}}, "volumes-from specification cannot be an empty string", true},
		{api.HostConfig{VolumesFrom: []string{"x:z,nocopy"}}, "invalid mode: z,nocopy", true},
		{api.HostConfig{VolumesFrom: []string{"x"}}, "No such container: x", true},
		{bind(mount.Mount{Target: "/x", Source: "/no/such"}), `invalid mount config for type "bind": bind source path does not exist: /no/such`, true},
		{bind(mount.Mount{Source: "/x"}), `invalid mount config for type "bind": field Target must not be empty`, true},
		{bind(mount.Mount{Target: "/x"}), `invalid mount config for type "bind": field Source must not be empty`, true},
		{bind(mount.Mount{Target: "/x", Source: "x"}), `invalid mount config for type "bind": invalid mount path: 'x' mount path must be absolute`, true},
		{bind(mount.Mount{Target: "/x", Source: dir, BindOptions: &mount.BindOptions{Propagation: "x"}}), `invalid mount config for type "bind": invalid propagation mode: x`, true},
		{bind(mount.Mount{Target: "/x", Source: dir, VolumeOptions: &mount.VolumeOptions{}}), `invalid mount config for type "bind": field VolumeOptions must not be specified`, true},
		{vol(mount.Mount{Target: "/x", VolumeOptions: &mount.VolumeOptions{Subpath: "a"}}), `invalid mount config for type "volume": must not set Subpath when using anonymous volumes`, true},
		{vol(mount.Mount{Target: "/x", Source: "v1", VolumeOptions: &mount.VolumeOptions{Subpath: "../a"}}), `invalid mount config for type "volume": subpath must be a relative path within the volume`, true},
		{api.HostConfig{Mounts: []mount.Mount{{Type: mount.TypeTmpfs, Target: "/x", Source: "x"}}}, `invalid mount config for type "tmpfs": field Source must not be specified`, true},
		{api.HostConfig{Mounts: []mount.Mount{{Type: mount.TypeTmpfs, Target: "/x", TmpfsOptions: &mount.TmpfsOptions{Options: [][]string{{"dev"}}}}}}, `invalid mount config for type "tmpfs": invalid option: dev`, true},
		{api.HostConfig{Mounts: []mount.Mount{{Type: mount.TypeImage, Target: "/x"}}}, `invalid mount config for type "image": field Source must not be empty`, true},
		{api.HostConfig{Mounts: []mount.Mount{{Type: mount.TypeImage, Target: "/x", Source: "none"}}}, `No such image: none`, false},
		{api.HostConfig{Mounts: []mount.Mount{{Type: mount.TypeNamedPipe, Target: "/x"}}}, `invalid mount config for type "npipe": mount type unknown`, true},
		{api.HostConfig{Mounts: []mount.Mount{{Type: mount.TypeCluster, Target: "/x"}}}, `invalid mount config for type "cluster": mount type unknown`, true},
	} {
		s, store := service(t, nil)
		test.hc.Mounts = append([]mount.Mount{{Type: mount.TypeVolume, Target: "/first"}}, test.hc.Mounts...)
		_, err := s.Resolve(t.Context(), newContainer(test.hc))
		if err == nil || err.Error() != test.want || errdefs.IsInvalidArgument(err) != test.bad {
			t.Errorf("%+v:\n got %v\nwant %s", test.hc, err, test.want)
		}
		left, _ := store.List(t.Context(), nil)
		for _, v := range left {
			if _, anonymous := v.Labels[volumes.AnonymousLabel]; anonymous {
				t.Errorf("%s: an anonymous volume is left", test.want)
			}
			if err := store.Remove(t.Context(), v.Name, false); err != nil {
				t.Errorf("%s: %v", test.want, err)
			}
		}
	}
}

func TestBindsOfTheEnginesRoot(t *testing.T) {
	for p, want := range map[mount.Propagation]mount.Propagation{"": "rslave", "rshared": "rshared", "private": ""} {
		s, _ := service(t, nil)
		m := mount.Mount{Type: mount.TypeBind, Source: "/", Target: "/x", BindOptions: &mount.BindOptions{Propagation: p}}
		got, err := s.Resolve(t.Context(), newContainer(api.HostConfig{Mounts: []mount.Mount{m}}))
		if want == "" {
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("%s: %v", p, err)
			}
			continue
		}
		if err != nil || got[0].Propagation != want {
			t.Errorf("%s: %v, %v", p, got, err)
		}
		if m.BindOptions.Propagation != p || m.BindOptions.CreateMountpoint {
			t.Error("the client's own options were changed")
		}
	}
}

func TestPrepareBind(t *testing.T) {
	dir := t.TempDir()
	s, _ := service(t, nil)
	gone := filepath.Join(dir, "gone")
	if err := os.Mkdir(gone, 0o755); err != nil {
		t.Fatal(err)
	}
	c := newContainer(api.HostConfig{Binds: []string{dir + "/new/er:/a"}})
	c.Mounts, _ = s.Resolve(t.Context(), c)
	if _, err := s.Prepare(t.Context(), c); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir + "/new/er"); err != nil {
		t.Error(err)
	}
	c = newContainer(api.HostConfig{Mounts: []mount.Mount{{Type: mount.TypeBind, Source: gone, Target: "/a"}}})
	c.Mounts, _ = s.Resolve(t.Context(), c)
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	want := `invalid mount config for type "bind": bind source path does not exist: ` + gone
	if _, err := s.Prepare(t.Context(), c); err == nil || err.Error() != want {
		t.Errorf("a source that went: %v", err)
	}
	conflict := mount.Mount{Type: mount.TypeBind, Source: dir, Target: "/a", BindOptions: &mount.BindOptions{ReadOnlyForceRecursive: true}}
	c = newContainer(api.HostConfig{Mounts: []mount.Mount{conflict}})
	c.Mounts, _ = s.Resolve(t.Context(), c)
	if _, err := s.Prepare(t.Context(), c); err == nil || !strings.Contains(err.Error(), "mount options conflict") {
		t.Errorf("options that contradict each other: %v", err)
	}
	if errors.Is(s.Finish(t.Context(), c), os.ErrNotExist) {
		t.Error("finish is not repeatable")
	}
}
