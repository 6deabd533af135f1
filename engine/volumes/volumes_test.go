package volumes

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/volume"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/filters"
	"github.com/gantry-containers/gantry/tests/harness"
)

type told struct {
	mu    sync.Mutex
	lines []string
}

func (e *told) Publish(kind events.Type, action events.Action, id string, attributes map[string]string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lines = append(e.lines, fmt.Sprint(kind, " ", action, " ", id, " ", attributes))
}

func open(t *testing.T, dir string) (*Store, *told) {
	t.Helper()
	ev := &told{}
	s, err := Open(dir, ev)
	if err != nil {
		t.Fatal(err)
	}
	return s, ev
}

func made(t *testing.T, s *Store, req volume.CreateRequest) *volume.Volume {
	t.Helper()
	v, err := s.Create(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func volumeNames(list []volume.Volume) (names []string) {
	for _, v := range list {
		names = append(names, v.Name)
	}
	return names
}

func TestCreateAndFindAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "volumes")
	s, ev := open(t, dir)
	named := made(t, s, volume.CreateRequest{Name: "named", Labels: map[string]string{"a": "b"}})
	if again := made(t, s, volume.CreateRequest{Name: "named", Driver: "local", Labels: map[string]string{"c": "d"}}); cmp.Diff(named, again) != "" {
		t.Error(cmp.Diff(named, again))
	}
	anonymous := made(t, s, volume.CreateRequest{DriverOpts: map[string]string{}})
	if _, ok := anonymous.Labels[AnonymousLabel]; !ok || len(anonymous.Name) != 64 {
		t.Errorf("%+v", anonymous)
	}
	if d := cmp.Diff([]string{"volume create named map[driver:local]", "volume create " + anonymous.Name + " map[driver:local]"}, ev.lines); d != "" {
		t.Error(d)
	}
	for path, want := range map[string]os.FileMode{dir: 0o701, filepath.Dir(named.Mountpoint): 0o701, named.Mountpoint: 0o755} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	want := volume.Volume{CreatedAt: named.CreatedAt, Driver: "local", Labels: map[string]string{"a": "b"}, Mountpoint: dir + "/named/_data", Name: "named", Scope: "local"}
	for range 2 {
		got, err := s.Get(t.Context(), "named")
		if d := cmp.Diff(&want, got); d != "" || err != nil {
			t.Error(err, d)
		}
		s, _ = open(t, dir)
	}
}

func TestCreateRefuses(t *testing.T) {
	s, _ := open(t, t.TempDir())
	chars := ` includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`
	for _, test := range []struct {
		req  volume.CreateRequest
		want string
	}{
		{volume.CreateRequest{Name: "a"}, "create a: volume name is too short, names should be at least two alphanumeric characters"},
		{volume.CreateRequest{Name: "../x"}, `create ../x: "../x"` + chars},
		{volume.CreateRequest{Name: "-x"}, `create -x: "-x"` + chars},
		{volume.CreateRequest{Name: "vv", Driver: "none"}, `create vv: error looking up volume plugin none: plugin "none" not found`},
		{volume.CreateRequest{Name: "vv", DriverOpts: map[string]string{"x": ""}}, `create vv: invalid option: "x"`},
		{volume.CreateRequest{Name: "vv", DriverOpts: map[string]string{"type": "tmpfs"}}, `create vv: missing required option: "device"`},
		{volume.CreateRequest{Name: "vv", DriverOpts: map[string]string{"o": "x", "device": "y"}}, `create vv: missing required option: "type"`},
		{volume.CreateRequest{Name: "vv", DriverOpts: map[string]string{"size": "1g"}}, `create vv: quota size requested but no quota support`},
		{volume.CreateRequest{Name: "vv", DriverOpts: map[string]string{"size": "x"}}, `create vv: invalid size: 'x'`},
		{volume.CreateRequest{Name: "vv", DriverOpts: map[string]string{"type": "cifs", "device": "//h:1/x"}}, `create vv: port not allowed in CIFS device URL, include 'port' in 'o='`},
	} {
		_, err := s.Create(t.Context(), test.req)
		if err == nil || err.Error() != test.want || !errdefs.IsInvalidArgument(err) && test.req.Driver == "" {
			t.Errorf("%+v:\n got %v\nwant %s", test.req, err, test.want)
		}
	}
	left, err := os.ReadDir(s.dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestRemove(t *testing.T) {
	s, ev := open(t, t.TempDir())
	v := made(t, s, volume.CreateRequest{Name: "vol"})
	for _, c := range []string{"c2", "c1"} {
		if err := s.Use("vol", c); err != nil {
			t.Fatal(err)
		}
	}
	for _, force := range []bool{false, true} {
		if err := s.Remove(t.Context(), "vol", force); !errdefs.IsConflict(err) || err.Error() != "remove vol: volume is in use - [c1, c2]" {
			t.Errorf("in use: %v", err)
		}
	}
	s.Unuse("vol", "c1")
	s.Unuse("vol", "c2")
	if err := os.WriteFile(v.Mountpoint+"/f", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), "vol", false); err != nil {
		t.Error(err)
	}
	if err := s.Remove(t.Context(), "vol", true); err != nil {
		t.Errorf("a missing one, forced: %v", err)
	}
	if err := s.Remove(t.Context(), "vol", false); !errdefs.IsNotFound(err) || err.Error() != "get vol: no such volume" {
		t.Errorf("a missing one: %v", err)
	}
	if left, err := os.ReadDir(s.dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if d := cmp.Diff("volume destroy vol map[driver:local]", ev.lines[len(ev.lines)-1]); d != "" {
		t.Error(d)
	}
}

func TestWhatACrashLeaves(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	made(t, s, volume.CreateRequest{Name: "whole"})
	for _, d := range []string{"empty/_data", "bare", ".removing-x/_data/more", "brought/_data/file"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s, _ = open(t, dir)
	list, err := s.List(t.Context(), nil)
	if d := cmp.Diff([]string{"brought", "whole"}, volumeNames(list)); d != "" || err != nil {
		t.Error(err, d)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "whole", recordFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ = open(t, dir)
	if v, err := s.Get(t.Context(), "whole"); err != nil || v.CreatedAt == "" {
		t.Errorf("one whose record cannot be read: %v, %v", v, err)
	}
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	anonymous := func(container string) string {
		v, err := s.CreateFor(t.Context(), volume.CreateRequest{}, container)
		if err != nil {
			t.Fatal(err)
		}
		return v.Name
	}
	named, err := s.CreateFor(t.Context(), volume.CreateRequest{Name: "named"}, "killed")
	if err != nil {
		t.Fatal(err)
	}
	gone, kept, lives, shared := anonymous("killed"), anonymous("removed"), anonymous("lives"), anonymous("killed")
	if err := s.Keep(kept, "removed"); err != nil {
		t.Fatal(err)
	}
	s, _ = open(t, dir)
	if err := s.Use(shared, "lives"); err != nil {
		t.Fatal(err)
	}
	if err := s.Sweep(t.Context(), func(id string) bool { return id == "lives" }); err != nil {
		t.Fatal(err)
	}
	list, err := s.List(t.Context(), nil)
	want := slices.Sorted(slices.Values([]string{named.Name, kept, lives, shared}))
	if d := cmp.Diff(want, volumeNames(list)); d != "" || err != nil {
		t.Errorf("%v %s (%s should have gone)", err, d, gone)
	}
}

func TestListUsageAndPrune(t *testing.T) {
	s, ev := open(t, t.TempDir())
	used := made(t, s, volume.CreateRequest{Name: "used", Labels: map[string]string{"k": "v"}})
	made(t, s, volume.CreateRequest{Name: "unused", Labels: map[string]string{"k": "v"}})
	made(t, s, volume.CreateRequest{Name: "options", DriverOpts: map[string]string{"type": "tmpfs", "device": "tmpfs"}})
	anonymous := made(t, s, volume.CreateRequest{})
	if err := s.Use("used", "c"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one", "two"} {
		if err := os.WriteFile(filepath.Join(used.Mountpoint, name), make([]byte, 1000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(used.Mountpoint, "one"), filepath.Join(used.Mountpoint, "same")); err != nil {
		t.Fatal(err)
	}
	usage, err := s.Usage(t.Context())
	if err != nil || len(usage) != 3 {
		t.Fatalf("%v, %v", usage, err)
	}
	for _, v := range usage {
		if v.Name == "used" && *v.UsageData != (volume.UsageData{RefCount: 1, Size: 2000}) {
			t.Errorf("%+v", v.UsageData)
		}
	}
	for _, test := range []struct {
		args filters.Args
		want []string
	}{
		{nil, []string{anonymous.Name, "options", "unused", "used"}},
		{filters.Args{"dangling": {"false": true}}, []string{"used"}},
		{filters.Args{"dangling": {"true": true}, "label": {"k=v": true}}, []string{"unused"}},
		{filters.Args{"name": {"use": true}}, []string{"unused", "used"}},
		{filters.Args{"driver": {"none": true}}, nil},
	} {
		list, err := s.List(t.Context(), test.args)
		sorted := slices.Sorted(slices.Values(test.want))
		if d := cmp.Diff(sorted, volumeNames(list)); d != "" || err != nil {
			t.Errorf("%v: %v %s", test.args, err, d)
		}
	}
	report, err := s.Prune(t.Context(), nil)
	if d := cmp.Diff(&volume.PruneReport{VolumesDeleted: []string{anonymous.Name}}, report); d != "" || err != nil {
		t.Error(err, d)
	}
	if d := cmp.Diff("volume prune  map[reclaimed:0]", ev.lines[len(ev.lines)-1]); d != "" {
		t.Error(d)
	}
	if _, err := s.Get(t.Context(), "unused"); err != nil {
		t.Errorf("one with a name was pruned: %v", err)
	}
}

func TestMount(t *testing.T) {
	harness.NeedRoot(t)
	dir := t.TempDir()
	s, _ := open(t, dir)
	source := t.TempDir()
	v := made(t, s, volume.CreateRequest{Name: "bound", DriverOpts: map[string]string{"type": "none", "device": source, "o": "bind,ro"}})
	t.Cleanup(func() { _ = unix.Unmount(v.Mountpoint, unix.MNT_DETACH) })
	for _, c := range []string{"a", "a", "b"} {
		if path, err := s.Mount(t.Context(), "bound", c); err != nil || path != v.Mountpoint {
			t.Fatal(path, err)
		}
	}
	if err := os.WriteFile(v.Mountpoint+"/x", nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("ro: %v", err)
	}
	if err := s.Remove(t.Context(), "bound", true); err == nil {
		t.Error("removed while it is mounted")
	}
	// The next engine finds it mounted, and counts again by what runs.
	s, _ = open(t, dir)
	s.Mounted("bound", "a")
	if _, err := s.Mount(t.Context(), "bound", "b"); err != nil {
		t.Fatal(err)
	}
	for i, c := range []string{"a", "a", "b"} {
		was, err := s.Unmount(t.Context(), "bound", c)
		if want := i != 1; err != nil || was != want {
			t.Errorf("unmount of %s: %v, %v", c, was, err)
		}
		if mounted := isMountPoint(v.Mountpoint); mounted != (i < 2) {
			t.Errorf("after %s: mounted is %v", c, mounted)
		}
	}
	made(t, s, volume.CreateRequest{Name: "missing", DriverOpts: map[string]string{"type": "none", "device": "/no/such", "o": "bind,password=abc"}})
	_, err := s.Mount(t.Context(), "missing", "c")
	want := "failed to mount local volume: mount /no/such:" + dir + "/missing/_data, flags: 0x1000, data: password=********: no such file or directory"
	if err == nil || err.Error() != want {
		t.Errorf("\n got %v\nwant %s", err, want)
	}
	if err := s.Remove(t.Context(), "missing", false); err != nil {
		t.Error(err)
	}
}

func TestParseFlags(t *testing.T) {
	for options, want := range map[string]string{
		"":                            "0 0 ",
		"ro,rw":                       "0 0 ",
		"bind,nosuid,nodev":           "1006 0 ",
		"rbind,rshared":               "5000 104000 ",
		"addr=1.2.3.4,ro,nfsvers=4.1": "1 0 addr=1.2.3.4,nfsvers=4.1",
	} {
		set, propagation, data := parseFlags(options)
		if got := fmt.Sprintf("%x %x %s", set, propagation, data); got != want {
			t.Errorf("%s: %s, want %s", options, got, want)
		}
	}
}

func TestResolved(t *testing.T) {
	lookup := func(string, string) (*net.IPAddr, error) { return &net.IPAddr{IP: net.IPv4(10, 0, 0, 1)}, nil }
	for _, test := range []struct {
		opts            map[string]string
		device, options string
	}{
		{map[string]string{"type": "nfs", "device": ":/x", "o": "addr=host,rw"}, ":/x", "addr=10.0.0.1,rw"},
		{map[string]string{"type": "nfs", "device": ":/x", "o": "addr=1.2.3.4"}, ":/x", "addr=1.2.3.4"},
		{map[string]string{"type": "cifs", "device": "//host/a b", "o": "x"}, "//10.0.0.1/a b", "x"},
		{map[string]string{"type": "ext4", "device": "/dev/x", "o": "addr=host"}, "/dev/x", "addr=host"},
	} {
		device, options, err := resolved(test.opts, lookup)
		if err != nil || device != test.device || options != test.options {
			t.Errorf("%v: %s %s %v", test.opts, device, options, err)
		}
	}
	if _, _, err := resolved(map[string]string{"type": "nfs"}, lookup); err == nil {
		t.Error("no device")
	}
}
