package events

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// A full file system costs old events first, then new ones; nothing of it is left when there is space again.
func TestNoSpace(t *testing.T) {
	harness.NeedRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	l := openLog(t, Config{Dir: filepath.Join(dir, "log"), MaxEvents: 128}) // 16 in a segment: more than there is space for
	s := read(t, l, Start{})
	value := make([]byte, 10_000)
	for i := range 200 {
		if err := l.Forward(t.Context(), envelope("default", "/a", value)); err != nil {
			t.Fatalf("event %d: %v", i+1, err)
		}
		next(t, s, 1)
	}

	if err := os.WriteFile(filepath.Join(dir, "others"), make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("there is space for a megabyte")
	}
	for range 200 { // the log lives on what it has
		if err := l.Forward(t.Context(), envelope("default", "/a", value)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Forward(t.Context(), envelope("default", "/a", make([]byte, 300_000))); !errdefs.IsResourceExhausted(err) {
		t.Errorf("no space: %v, want resource exhausted", err)
	}
	if got := l.Last(); got != 400 {
		t.Errorf("Last() = %d, want 400", got)
	}
	fill(t, filepath.Join(dir, "rest"))
	late := read(t, l, Start{Filters: []string{"topic"}}) // has no place, and is told all the same
	if late.place != nil {
		t.Error("there is a place for a subscriber")
	}
	if err := os.Remove(filepath.Join(dir, "rest")); err != nil {
		t.Fatal(err)
	}
	last := l.Last()
	if err := os.Remove(filepath.Join(dir, "others")); err != nil {
		t.Fatal(err)
	}
	forwardTo(t, l, "/b")
	diff(t, []string{fmt.Sprintf("%d /b", last+1)}, next(t, late, 1))
	closeLog(t, l)
	l = openLog(t, Config{Dir: filepath.Join(dir, "log"), MaxEvents: 128})
	if got := l.Last(); got != last+1 {
		t.Errorf("opened with %d events, want %d", got, last+1)
	}
	closeLog(t, l)
}

// fill writes until there is no space.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
}
