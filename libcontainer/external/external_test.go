package external

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/host"
	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// planned is a plan with the given actions.
func planned(actions ...plan.Action) *plan.Plan {
	p := &plan.Plan{}
	for _, a := range actions {
		p.Ops = append(p.Ops, plan.Op{Do: a})
	}
	return p
}

func TestSources(t *testing.T) {
	p := planned(
		&plan.BindMount{Destination: "/data", Source: "/host/data", Flags: plan.MountFlags{Set: plan.NoSuid, RecSet: plan.ReadOnly}, Recursive: true},
		&plan.BindMount{Destination: "/data", Flags: plan.MountFlags{Set: plan.NoExec, Clear: plan.NoSuid}, Remount: true},
		&plan.Mount{Destination: "/tmp", Type: "tmpfs"},
		&plan.CgroupMount{Destination: "/sys/fs/cgroup", Cgroups: []plan.Cgroup{{Hierarchy: "memory", Mount: "/cg/memory", Path: "/new"}}},
		&plan.MaskPath{Path: "/proc/keys"},
		&plan.MakeDevice{Device: plan.Device{Path: "/dev/null"}, Bind: true},
	)
	mounts := []Mount{
		{Point: "/real/data", Kind: Bind, Name: "/data"},
		{Point: "/real/data/sub", Kind: Bind, Name: "/data", Below: "sub"},
		{Point: "/tmp"},
		{Point: "/sys/fs/cgroup/memory", Kind: Cgroup, Name: "memory"},
		{Point: "/proc/keys", Kind: Null},
		{Point: "/dev/null", Kind: Device, Name: "/dev/null"},
	}
	got, err := Sources(mounts, p)
	if err != nil {
		t.Fatal(err)
	}
	want := []Source{
		{mounts[0], "/host/data", plan.NoExec | plan.ReadOnly},
		{mounts[1], "/host/data", plan.ReadOnly},
		{mounts[3], "/cg/memory/new", 0},
		{mounts[4], "/dev/null", 0},
		{mounts[5], "/dev/null", 0},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Source{})); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
	if path := got[1].Path(); path != "/host/data/sub" {
		t.Errorf("the source of what is below is %s", path)
	}
	keys := ""
	for i := range got {
		keys += got[i].Key() + " "
	}
	if want := "/real/data /real/data/sub /sys/fs/cgroup/memory /dev/null /dev/null "; keys != want {
		t.Errorf("keys %s, want %s", keys, want)
	}
	for _, m := range []Mount{{Point: "/x", Kind: Bind, Name: "/x"}, {Point: "/c", Kind: Cgroup, Name: "pids"}, {Point: "/y", Kind: "other", Name: "/data"}} {
		if _, err := Sources([]Mount{m}, p); err == nil {
			t.Errorf("a source for %+v", m)
		}
	}
}

// TestSourcesGoByDestination is the attack of CVE-2026-119101: links in the image that were
// swapped after the dump must not swap what is mounted.
func TestSourcesGoByDestination(t *testing.T) {
	p := planned(
		&plan.BindMount{Destination: "/ro", Source: "/host/secret", Flags: plan.MountFlags{Set: plan.ReadOnly}},
		&plan.BindMount{Destination: "/rw", Source: "/host/scratch"},
	)
	got, err := Sources([]Mount{{Point: "/1", Kind: Bind, Name: "/ro"}, {Point: "/2", Kind: Bind, Name: "/rw"}}, p)
	if err != nil || len(got) != 2 || got[0].Path() != "/host/secret" || got[0].flags != plan.ReadOnly || got[1].Path() != "/host/scratch" {
		t.Errorf("sources %+v, %v", got, err)
	}
}

func openDir(t *testing.T, dir string) int {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

func TestMakeTargets(t *testing.T) {
	root := t.TempDir()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	mounts := []Mount{
		{Point: "/dev"},
		{Point: "/dev/shm"},
		{Point: "/a/dir", Kind: Bind, Name: "/a/dir"},
		{Point: "/etc/file", Kind: Bind, Name: "/etc/file"},
	}
	sources := []Source{{Mount: mounts[2], top: filepath.Dir(file)}, {Mount: mounts[3], top: file}}
	if err := MakeTargets(openDir(t, root), mounts, sources); err != nil {
		t.Fatal(err)
	}
	for name, isDir := range map[string]bool{"dev": true, "a/dir": true, "etc/file": false} {
		st, err := os.Stat(filepath.Join(root, name))
		if err != nil || st.IsDir() != isDir {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "dev/shm")); err == nil {
		t.Error("/dev/shm was made under what /dev covers")
	}
}

func TestMakeTargetsRefusesSymlinks(t *testing.T) {
	for name, target := range map[string]string{"absolute": "HOST", "relative": "elsewhere", "dangling": "/none", "up": "../../../../../../HOST"} {
		t.Run(name, func(t *testing.T) {
			root, host := t.TempDir(), t.TempDir()
			if err := os.Symlink(strings.ReplaceAll(target, "HOST", host), filepath.Join(root, "link")); err != nil {
				t.Fatal(err)
			}
			for _, point := range []string{"/link", "/link/below"} {
				err := MakeTargets(openDir(t, root), []Mount{{Point: point}}, nil)
				if !errors.Is(err, unix.ELOOP) {
					t.Errorf("%s: %v, want ELOOP", point, err)
				}
			}
			for _, dir := range []string{root, host} {
				entries, err := os.ReadDir(dir)
				if err != nil || len(entries) > 1 || dir == host && len(entries) > 0 {
					t.Errorf("%s has %v, %v", dir, entries, err)
				}
			}
		})
	}
}

func TestSourcesBelowAreMounts(t *testing.T) {
	volume := t.TempDir()
	if err := os.Mkdir(filepath.Join(volume, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"link": "/proc", "down": "dir"} {
		if err := os.Symlink(target, filepath.Join(volume, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		top, below string
		want       error
	}{
		{volume, "", nil},
		{"/", "proc", nil},
		{volume, "dir", unix.EINVAL},
		{volume, "link", unix.ELOOP},
		{volume, "down", unix.ELOOP},
		{volume, "none", unix.ENOENT},
		{volume + "/none", "", unix.ENOENT},
	} {
		s := Source{Mount: Mount{Point: "/x", Kind: Bind, Name: "/x", Below: c.below}, top: c.top}
		if err := MakeTargets(openDir(t, t.TempDir()), nil, []Source{s}); !errors.Is(err, c.want) {
			t.Errorf("%s below %s: %v, want %v", c.below, c.top, err, c.want)
		}
	}
}

func TestResolve(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"real", "other"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/real", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	got, err := Resolve(root, planned(
		&plan.BindMount{Destination: "/link", Source: "/a"}, &plan.BindMount{Destination: "/missing/x", Source: "/b"}, &plan.MaskPath{Path: "/proc/keys"},
	))
	want := []Mount{{Point: "/real", Kind: Bind, Name: "/link"}, {Point: "/missing/x", Kind: Bind, Name: "/missing/x"}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	_, err = Resolve(root, planned(&plan.BindMount{Destination: "/link", Source: "/a"}, &plan.BindMount{Destination: "/real", Source: "/b"}))
	if err == nil || err.Error() != "mounts on /link and /real lead to the same place: /real" {
		t.Errorf("two mounts in one place: %v", err)
	}
}

func TestWhatLiesBesideImages(t *testing.T) {
	dir := t.TempDir()
	fd := openDir(t, dir)
	if _, err := LoadMounts(fd); !errors.Is(err, ErrNoMounts) {
		t.Errorf("without mounts.json: %v", err)
	}
	mounts := []Mount{{Point: "/proc"}, {Point: "/data/sub", Kind: Bind, Name: "/data", Below: "sub"}}
	if err := SaveMounts(fd, mounts); err != nil {
		t.Fatal(err)
	}
	got, err := LoadMounts(fd)
	if diff := cmp.Diff(mounts, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	// A link or a FIFO is not followed or waited for.
	if err := os.Symlink("/etc/passwd", dir+"/descriptors.json"); err != nil {
		t.Fatal(err)
	}
	if err := SaveDescriptors(fd, nil); !errors.Is(err, unix.ELOOP) {
		t.Errorf("save through a symlink: %v", err)
	}
	if err := os.Remove(dir + "/descriptors.json"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(dir+"/descriptors.json", 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadDescriptors(fd); err == nil {
		t.Error("descriptors from a FIFO")
	}
}

func TestListRefusesWhatCRIUWouldConfuse(t *testing.T) {
	root := host.Mount{ID: "1", Point: "/", Options: "rw"}
	known := map[string]*Mount{"2": {Point: "/a", Kind: Bind, Name: "/a"}}
	for _, c := range []struct {
		name   string
		mounts []host.Mount
		want   string
	}{
		{"well", []host.Mount{root, {ID: "2", Point: "/a", Options: "ro,nosuid"}, {ID: "3", Point: "/b"}, {ID: "4", Point: "/b"}}, ""},
		{"covered", []host.Mount{root, {ID: "2", Point: "/a"}, {ID: "3", Point: "/a"}}, "/a: something is mounted over"},
		{"mapped", []host.Mount{root, {ID: "2", Point: "/a", Options: "rw,relatime,idmapped"}}, "/a: CRIU can't restore an id-mapped mount"},
		{"colon", []host.Mount{root, {ID: "2", Point: "/a]:/b"}}, "/a]:/b: CRIU can't name a mount point with a colon"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := (&table{mounts: c.mounts, known: known}).list()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestBelow(t *testing.T) {
	for _, c := range []struct {
		dir, path, rest string
		ok              bool
	}{
		{"/a", "/a/b", "b", true}, {"/a", "/a", "/a", false}, {"/a", "/ab", "/ab", false}, {"/", "/a", "/a", true}, {"/", "/", "/", false},
	} {
		if rest, ok := below(c.dir, c.path); rest != c.rest || ok != c.ok {
			t.Errorf("below(%s, %s) = %s, %v", c.dir, c.path, rest, ok)
		}
	}
}
