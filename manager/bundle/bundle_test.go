package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

func newStore(t *testing.T) Store {
	t.Helper()
	dir := t.TempDir()
	return Store{State: filepath.Join(dir, "state"), Root: filepath.Join(dir, "root")}
}

func create(t *testing.T, s Store, id string) *Bundle {
	t.Helper()
	b, err := s.Create(t.Context(), "default", id, []byte(`{"ociVersion":"1.2.0"}`))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// tree lists what is in a directory, with modes and where links lead.
func tree(t *testing.T, root string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		line := fmt.Sprintf("%v %s", info.Mode(), name)
		if to, err := os.Readlink(path); err == nil {
			line += " -> " + to
		}
		all = append(all, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestCreate(t *testing.T) {
	defer unix.Umask(unix.Umask(0o022))
	s := newStore(t)
	b := create(t, s, "c")
	if want := (Bundle{
		"default", "c", s.State + "/io.containerd.runtime.v2.task/default/c",
		s.Root + "/io.containerd.runtime.v2.task/default/c",
	}); *b != want {
		t.Errorf("got %v, want %v", *b, want)
	}
	want := []string{
		"drwx--x--x .", "drwx--x--x default", "drwx------ default/c", "-rw-r--r-- default/c/config.json",
		"drwx--x--x default/c/rootfs", "Lrwxrwxrwx default/c/work -> " + b.Work,
	}
	if diff := cmp.Diff(want, tree(t, filepath.Join(s.State, plugin))); diff != "" {
		t.Errorf("state: %s", diff)
	}
	want = []string{"drwx--x--x .", "drwx--x--x default", "drwx--x--x default/c"}
	if diff := cmp.Diff(want, tree(t, filepath.Join(s.Root, plugin))); diff != "" {
		t.Errorf("root: %s", diff)
	}
	spec, err := os.ReadFile(filepath.Join(b.Path, "config.json"))
	if err != nil || string(spec) != `{"ociVersion":"1.2.0"}` {
		t.Errorf("config.json: %q, %v", spec, err)
	}
}

func TestCreateForASandbox(t *testing.T) {
	s := newStore(t)
	b, err := s.Create(t.Context(), "default", "c", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(b.Path, "config.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("config.json: %v", err)
	}
}

func TestCreateAgain(t *testing.T) {
	s := newStore(t)
	b := create(t, s, "c")
	before := tree(t, s.State)
	kept := filepath.Join(b.Work, "kept")
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(t.Context(), "default", "c", nil); !errdefs.IsAlreadyExists(err) {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(before, tree(t, s.State)); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("the first one's work directory: %v", err)
	}
}

// A work directory is on disk, and may be that of a container before the machine was off.
func TestCreateEmptiesTheWorkDirectory(t *testing.T) {
	s := newStore(t)
	old := filepath.Join(s.Get("default", "c").Work, "old")
	if err := os.MkdirAll(old, 0o755); err != nil {
		t.Fatal(err)
	}
	create(t, s, "c")
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestCreateFails(t *testing.T) {
	for name, c := range map[string]struct{ namespace, id, spec string }{
		"no id":            {"default", "", "{}"},
		"dots":             {"default", "..", "{}"},
		"path":             {"default", "a/b", "{}"},
		"hidden":           {"default", ".a", "{}"},
		"long":             {"default", strings.Repeat("a", 300), "{}"},
		"no namespace":     {"", "a", "{}"},
		"hidden namespace": {".n", "a", "{}"},
		"no JSON":          {"default", "a", "{"},
		"wrong JSON":       {"default", "a", `{"linux":{"gidMappings":7}}`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			if _, err := s.Create(t.Context(), c.namespace, c.id, []byte(c.spec)); !errdefs.IsInvalidArgument(err) {
				t.Errorf("got %v", err)
			}
			nothingLeft(t, s)
		})
	}
}

func nothingLeft(t *testing.T, s Store) {
	t.Helper()
	for _, dir := range []string{s.State, s.Root} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if name := d; err == nil && (!name.IsDir() || name.Name() != plugin && name.Name() != "default" && path != dir) {
				t.Errorf("left behind: %s", path)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// The work directory cannot be made: the bundle goes, too.
func TestCreateFailsLate(t *testing.T) {
	harness.NeedRoot(t)
	s := newStore(t)
	b := s.Get("default", "c")
	if err := os.MkdirAll(b.Work, 0o755); err != nil {
		t.Fatal(err)
	}
	mountTmpfs(t, b.Work)
	if _, err := s.Create(t.Context(), "default", "c", []byte("{}")); !errors.Is(err, unix.EBUSY) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(b.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the bundle: %v", err)
	}
}

func mountTmpfs(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) }) //nolint:errcheck // mostly it is gone
}

func TestUserNamespace(t *testing.T) {
	harness.NeedRoot(t)
	for name, c := range map[string]struct {
		spec string
		gid  uint32
		mode os.FileMode
	}{
		"remapped": {`{"linux":{"gidMappings":[{"containerID":1,"hostID":5,"size":1},{"containerID":0,"hostID":100000,"size":1}]}}`, 100000, 0o710},
		"same":     {`{"linux":{"gidMappings":[{"containerID":0,"hostID":0,"size":1}]}}`, 0, 0o700},
		"no root":  {`{"linux":{"gidMappings":[{"containerID":1,"hostID":100000,"size":1}]}}`, 0, 0o700},
		"none":     {`{"linux":{}}`, 0, 0o700},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := newStore(t).Create(t.Context(), "default", "c", []byte(c.spec))
			if err != nil {
				t.Fatal(err)
			}
			var st unix.Stat_t
			if err := unix.Stat(b.Path, &st); err != nil {
				t.Fatal(err)
			}
			if st.Gid != c.gid || os.FileMode(st.Mode&0o777) != c.mode || st.Uid != uint32(os.Geteuid()) {
				t.Errorf("group %d, mode %o, user %d", st.Gid, st.Mode, st.Uid)
			}
		})
	}
}

func TestOneOfManyCreates(t *testing.T) {
	s := newStore(t)
	var wins, losses int
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			_, err := s.Create(context.Background(), "default", "c", []byte("{}"))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				wins++
			case errdefs.IsAlreadyExists(err):
				losses++
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if wins != 1 || losses != 19 {
		t.Errorf("%d won, %d lost", wins, losses)
	}
}

func names(bundles []*Bundle) []string {
	var all []string
	for _, b := range bundles {
		all = append(all, b.Namespace+"/"+b.ID)
	}
	slices.Sort(all)
	return all
}

func TestList(t *testing.T) {
	s := newStore(t)
	if found, err := s.List(t.Context()); err != nil || len(found) != 0 {
		t.Errorf("nothing: %v, %v", names(found), err)
	}
	create(t, s, "a")
	moved := create(t, s, "b")
	if _, err := s.Create(t.Context(), "other", "a", nil); err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(t.TempDir(), "default", "b")
	if err := errors.Join(os.MkdirAll(elsewhere, 0o755), os.Remove(filepath.Join(moved.Path, "work")),
		os.Symlink(elsewhere, filepath.Join(moved.Path, "work"))); err != nil {
		t.Fatal(err)
	}
	litter := []string{
		filepath.Join(s.state(), "default", ".new-123", "rootfs"), // a Create that was killed
		filepath.Join(s.state(), "default", ".c", "x"),            // a Remove, ours or containerd's
		filepath.Join(s.state(), "default", "empty"),
		filepath.Join(s.root(), "default", "gone", "x"), // the machine was off
		filepath.Join(s.root(), "default", ".d"),
	}
	for _, dir := range litter {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	found, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"default/a", "default/b", "other/a"}, names(found)); diff != "" {
		t.Error(diff)
	}
	for _, b := range found {
		if b.ID == "b" && b.Work != elsewhere {
			t.Errorf("work is %s", b.Work)
		}
	}
	for _, dir := range litter {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestRemove(t *testing.T) {
	s := newStore(t)
	b := create(t, s, "c")
	if err := os.WriteFile(filepath.Join(b.Work, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := b.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
		nothingLeft(t, s)
	}
	create(t, s, "c") // the name is free
}

// An earlier Remove was killed when it had taken the name away.
func TestRemoveAfterAHalfRemove(t *testing.T) {
	s := newStore(t)
	b := create(t, s, "c")
	if err := os.MkdirAll(filepath.Join(filepath.Dir(b.Path), ".c", "full"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := b.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, s)
}

// A link in the rootfs or in the bundle leads nowhere.
func TestRemoveFollowsNoLink(t *testing.T) {
	harness.NeedRoot(t)
	s := newStore(t)
	b := create(t, s, "c")
	victim := t.TempDir()
	mountTmpfs(t, victim)
	kept := filepath.Join(victim, "kept")
	if err := errors.Join(os.WriteFile(kept, nil, 0o600),
		os.Symlink(victim, filepath.Join(b.Path, "rootfs", "link")), os.Symlink(victim, filepath.Join(b.Path, "link")),
		os.Remove(filepath.Join(b.Path, "work")), os.Symlink(victim, filepath.Join(b.Path, "work"))); err != nil {
		t.Fatal(err)
	}
	if err := b.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	nothingLeft(t, s)
}

func TestRemoveUnmounts(t *testing.T) {
	harness.NeedRoot(t)
	s := newStore(t)
	b := create(t, s, "c")
	rootfs, image := filepath.Join(b.Path, "rootfs"), t.TempDir()
	kept := filepath.Join(image, "kept")
	if err := errors.Join(os.WriteFile(kept, nil, 0o600), os.Mkdir(filepath.Join(image, "proc"), 0o755),
		os.Mkdir(filepath.Join(b.Path, "extra"), 0o755), os.Mkdir(filepath.Join(b.Path, "extra", "deep"), 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(image, rootfs, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	mountTmpfs(t, filepath.Join(rootfs, "proc"))
	mountTmpfs(t, rootfs) // which hides both
	mountTmpfs(t, filepath.Join(b.Path, "extra", "deep"))
	busy, err := os.Open(filepath.Join(b.Path, "extra", "deep"))
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	if err := b.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	nothingLeft(t, s)
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), s.State) {
		t.Errorf("still mounted, %v", err)
	}
}

// A manager is killed at any moment of Create and Remove: what is found is whole, and nothing else is left.
func TestKilled(t *testing.T) {
	s := newStore(t)
	for i := range 25 {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{"BUNDLE_TEST_STATE=" + s.State, "BUNDLE_TEST_ROOT=" + s.Root, "BUNDLE_TEST_ID=" + strconv.Itoa(i)}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(3+i) * time.Millisecond) // any moment will do
		cmd.Process.Kill()                                //nolint:errcheck // Wait says it
		cmd.Wait()                                        //nolint:errcheck // it was killed
		found, err := s.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range found {
			for _, name := range []string{"config.json", "rootfs", "work"} {
				if _, err := os.Lstat(filepath.Join(b.Path, name)); err != nil {
					t.Error(err)
				}
			}
			if err := b.Remove(t.Context()); err != nil {
				t.Error(err)
			}
		}
		nothingLeft(t, s)
	}
}

// TestMain is, in another process, a manager that makes and removes bundles until it is killed.
func TestMain(m *testing.M) {
	state := os.Getenv("BUNDLE_TEST_STATE")
	if state == "" {
		os.Exit(m.Run())
	}
	s := Store{State: state, Root: os.Getenv("BUNDLE_TEST_ROOT")}
	for i := 0; ; i++ {
		b, err := s.Create(context.Background(), "default", fmt.Sprintf("c%s-%d", os.Getenv("BUNDLE_TEST_ID"), i), []byte("{}"))
		if err != nil {
			panic(err)
		}
		if i%2 == 0 {
			if err := b.Remove(context.Background()); err != nil {
				panic(err)
			}
		}
	}
}
