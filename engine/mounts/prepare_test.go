package mounts

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/volume"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/tests/engine/embedded"
	"github.com/gantry-containers/gantry/tests/harness"
)

// part is a container with a part of a volume.
func part(sub string) api.HostConfig {
	return api.HostConfig{Mounts: []mount.Mount{{
		Type: mount.TypeVolume, Source: "vol", Target: "/x", VolumeOptions: &mount.VolumeOptions{Subpath: sub},
	}}}
}

func TestPrepareParts(t *testing.T) {
	harness.NeedRoot(t)
	s, store := service(t, nil)
	vol, err := store.Create(t.Context(), volume.CreateRequest{Name: "vol"})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.MkdirAll(vol.Mountpoint+"/a/b", 0o755),
		os.WriteFile(vol.Mountpoint+"/a/file", []byte("text"), 0o600),
		os.Symlink("a/b", vol.Mountpoint+"/inside"),
		os.Symlink("/etc", vol.Mountpoint+"/absolute"),
		os.Symlink("../../..", vol.Mountpoint+"/up"),
		os.Symlink("loop", vol.Mountpoint+"/loop"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for sub, want := range map[string]error{
		"a/b": nil, "a/file": nil, "inside": nil, ".": nil,
		"absolute": errdefs.ErrInvalidArgument, "up": errdefs.ErrInvalidArgument,
		"none": errdefs.ErrNotFound, "loop": errdefs.ErrNotFound, "a/file/x": errdefs.ErrNotFound,
	} {
		t.Run(sub, func(t *testing.T) {
			c := newContainer(part(sub))
			if c.Mounts, err = s.Resolve(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if want != nil {
				if _, err := s.Prepare(t.Context(), c); errdefs.Resolve(err) != want {
					t.Errorf("%v, want %v", err, want)
				}
			} else {
				preparePart(t, s, c, filepath.Join(vol.Mountpoint, sub))
			}
			if left := embedded.Mounts(t); len(left) > 0 {
				t.Errorf("mounts are left: %q", left)
			}
		})
	}
}

// preparePart prepares a container twice, as after an engine that was killed, and gives it back twice.
func preparePart(t *testing.T, s *Service, c *container.Container, file string) {
	t.Helper()
	should, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got, err := s.Prepare(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		is, err := os.Stat(got[0].Source)
		if err != nil || !os.SameFile(is, should) {
			t.Errorf("it is another file: %v", err)
		}
	}
	for range 2 {
		if err := s.Finish(t.Context(), c); err != nil {
			t.Error(err)
		}
	}
}

// TestSwappedPart has another container make a link of the part of a volume while it is opened.
func TestSwappedPart(t *testing.T) {
	harness.NeedRoot(t)
	s, store := service(t, nil)
	vol, err := store.Create(t.Context(), volume.CreateRequest{Name: "vol"})
	if err != nil {
		t.Fatal(err)
	}
	outside := t.TempDir()
	if err := os.WriteFile(outside+"/secret", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	name := vol.Mountpoint + "/x"
	for _, err := range []error{os.Mkdir(name, 0o755), os.Symlink(outside, name+".link")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var ended atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !ended.Load() {
			_ = os.Rename(name, name+".dir")
			_ = os.Rename(name+".link", name)
			_ = os.Rename(name, name+".link")
			_ = os.Rename(name+".dir", name)
		}
	}()
	c := newContainer(part("x"))
	if c.Mounts, err = s.Resolve(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	prepared := 0
	for start := time.Now(); time.Since(start) < time.Second; {
		got, err := s.Prepare(t.Context(), c)
		if err != nil {
			continue
		}
		prepared++
		if _, err := os.Stat(got[0].Source + "/secret"); err == nil {
			t.Error("it is a folder of the host")
			break
		}
	}
	ended.Store(true)
	<-done
	if err := s.Finish(t.Context(), c); err != nil {
		t.Error(err)
	}
	if prepared == 0 {
		t.Error("the race was never won by us: it proves nothing")
	}
}

func TestVolumeEventsAndRestore(t *testing.T) {
	harness.NeedRoot(t)
	s, store := service(t, nil)
	ev := &told{}
	s.Events = ev
	c := newContainer(api.HostConfig{Binds: []string{"vol:/v:ro"}})
	var err error
	if c.Mounts, err = s.Resolve(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prepare(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Finish(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"mount vol map[container:c1 destination:/v driver:local propagation: read/write:false]",
		"unmount vol map[container:c1 driver:local]",
	}
	if d := cmp.Diff(want, ev.lines); d != "" {
		t.Error(d)
	}
	store.Unuse("vol", c.ID)
	if err := s.Restore(t.Context(), c, true); err != nil {
		t.Fatal(err)
	}
	if err := store.Remove(t.Context(), "vol", false); !errdefs.IsConflict(err) {
		t.Errorf("the next engine does not know who uses it: %v", err)
	}
	if was, err := store.Unmount(t.Context(), "vol", c.ID); !was || err != nil {
		t.Errorf("the next engine does not know for whom it is mounted: %v", err)
	}
}
