package harness

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// bundleEntry is one file of the bundle that hack/make-bundle makes.
type bundleEntry struct {
	name string // relative to the bundle
	mode fs.FileMode
	data []byte // of a file, or where a symlink points
}

// demoBundle runs hack/make-bundle once and keeps what it made: the script takes half a
// second, and every test wants a bundle of its own.
var demoBundle = sync.OnceValues(func() ([]bundleEntry, error) {
	dir, err := os.MkdirTemp("", "gantry-bundle-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if out, err := exec.Command(filepath.Join(Top(), "hack", "make-bundle"), dir).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make-bundle: %w\n%s", err, out)
	}
	var list []bundleEntry
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		entry, err := readEntry(dir, path, d)
		list = append(list, entry)
		return err
	})
	return list, err
})

func readEntry(dir, path string, d fs.DirEntry) (bundleEntry, error) {
	name, err := filepath.Rel(dir, path)
	if err != nil {
		return bundleEntry{}, err
	}
	info, err := d.Info()
	if err != nil {
		return bundleEntry{}, err
	}
	e := bundleEntry{name: name, mode: info.Mode()}
	switch {
	case e.mode.IsRegular():
		e.data, err = os.ReadFile(path)
	case e.mode.Type() == fs.ModeSymlink:
		var to string
		to, err = os.Readlink(path)
		e.data = []byte(to)
	}
	return e, err
}

func (b *bundleEntry) copyTo(dir string) error {
	path := filepath.Join(dir, b.name)
	switch b.mode.Type() {
	case fs.ModeSymlink:
		return os.Symlink(string(b.data), path)
	case fs.ModeDir:
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
	default:
		if err := os.WriteFile(path, b.data, 0o600); err != nil {
			return err
		}
	}
	return os.Chmod(path, b.mode)
}

// Bundle makes a busybox bundle that runs a shell script, without a terminal and with a
// writable root; change edits its config.
func (e *Env) Bundle(script string, change func(*specs.Spec)) string {
	e.T.Helper()
	dir := e.T.TempDir()
	Reachable(e.T, dir)
	entries, err := demoBundle()
	if err != nil {
		e.T.Fatal(err)
	}
	for i := range entries {
		if err := entries[i].copyTo(dir); err != nil {
			e.T.Fatal(err)
		}
	}
	e.EditConfig(dir, func(s *specs.Spec) {
		s.Process.Args = []string{"sh", "-c", script}
		s.Process.Terminal = false
		s.Root.Readonly = false
		if change != nil {
			change(s)
		}
	})
	return dir
}

// Reachable lets other users into a temporary directory: a container's root in a user
// namespace must be able to reach its rootfs.
func Reachable(t testing.TB, dir string) {
	t.Helper()
	for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// EditConfig changes a bundle's config.json.
func (e *Env) EditConfig(bundle string, change func(*specs.Spec)) {
	e.T.Helper()
	file := filepath.Join(bundle, "config.json")
	b, err := os.ReadFile(file)
	if err != nil {
		e.T.Fatal(err)
	}
	var s specs.Spec
	if err := json.Unmarshal(b, &s); err != nil {
		e.T.Fatal(err)
	}
	change(&s)
	if b, err = json.MarshalIndent(&s, "", "\t"); err != nil {
		e.T.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o644); err != nil {
		e.T.Fatal(err)
	}
}
