package shim

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
)

func program(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(path) })
	return path
}

// PATH is first, but for our own shim: one in PATH may be of another release.
func TestResolve(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	beside, inPath := filepath.Dir(self), t.TempDir()
	t.Setenv("PATH", inPath)
	b := &New(Config{}).binaries
	check := func(runtime, want string) {
		t.Helper()
		got, err := b.resolve(runtime)
		if want == "" && errdefs.IsNotFound(err) {
			return
		}
		if err != nil || got != want {
			t.Errorf("%s is %s, %v, want %s", runtime, got, err, want)
		}
	}
	check("io.containerd.gantry.v2", "")
	ownInPath := program(t, inPath, "containerd-shim-gantry-v2")
	check("io.containerd.gantry.v2", ownInPath)
	ownBeside := program(t, beside, "containerd-shim-gantry-v2")
	check("io.containerd.gantry.v2", ownInPath) // it is known
	if err := os.Remove(ownInPath); err != nil {
		t.Fatal(err)
	}
	check("io.containerd.gantry.v2", ownBeside)
	b = &New(Config{}).binaries
	program(t, inPath, "containerd-shim-gantry-v2")
	check("io.containerd.gantry.v2", ownBeside)
	check("io.example.gantry.v2", ownInPath)

	other := program(t, beside, "containerd-shim-other-v1")
	check("io.containerd.other.v1", other)
	b = &New(Config{}).binaries
	program(t, inPath, "containerd-shim-other-v1")
	check("io.containerd.other.v1", filepath.Join(inPath, "containerd-shim-other-v1"))
	check("other.v1", filepath.Join(inPath, "containerd-shim-other-v1"))
	check(other, other)

	if err := os.Chmod(other, 0o644); err != nil {
		t.Fatal(err)
	}
	check(other, "")
}

// The configuration's table is asked once, by name: what it leads to is not looked up again, and a path never is.
func TestResolveMeant(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	one, two := program(t, dir, "containerd-shim-one-v2"), program(t, dir, "containerd-shim-two-v2")
	b := &New(Config{Runtimes: map[string]string{
		"io.containerd.one.v2":  "io.containerd.two.v2",
		"io.containerd.two.v2":  "io.containerd.one.v2",
		"io.containerd.path.v1": one,
		"io.containerd.gone.v1": "io.containerd.none.v1",
		one:                     two,
	}}).binaries
	for runtime, want := range map[string]string{
		"io.containerd.one.v2":  two,
		"io.containerd.two.v2":  one,
		"io.containerd.path.v1": one,
		two:                     two,
	} {
		if got, err := b.resolve(runtime); err != nil || got != want {
			t.Errorf("%s is %s, %v, want %s", runtime, got, err, want)
		}
	}
	if got, err := b.resolve("io.containerd.gone.v1"); !errdefs.IsNotFound(err) {
		t.Errorf("a name that means one of no shim is %q, %v", got, err)
	}
}
