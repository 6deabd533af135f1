package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestPayload packs a tree and unpacks it elsewhere.
func TestPayload(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "deep", "tree")
	for name, mode := range map[string]fs.FileMode{"plain": 0o640, "program": 0o755 | fs.ModeSetuid} {
		if err := os.WriteFile(filepath.Join(from, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(from, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("plain", filepath.Join(from, "link")); err != nil {
		t.Fatal(err)
	}
	// The job's own file has an absolute path that a test must not write.
	tar := filepath.Join(t.TempDir(), "tar")
	m := &machine{add: []addition{{from, to}}}
	if err := m.writePayload(tar, filepath.Join(to, "job")); err != nil {
		t.Fatal(err)
	}
	if err := unpack(tar); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"plain": 0o640, "program": 0o755 | fs.ModeSetuid, "link": 0o777 | fs.ModeSymlink, "job": 0o644} {
		info, err := os.Lstat(filepath.Join(to, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want %v", name, info, err, want)
		}
	}
	if b, err := os.ReadFile(filepath.Join(to, "link")); err != nil || string(b) != "plain" {
		t.Errorf("through the link: %q, %v", b, err)
	}
}
