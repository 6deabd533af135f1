package copyup

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// open opens a directory as Tree wants it.
func open(t *testing.T, dir string) int {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func tree(t *testing.T, from string) (string, error) {
	t.Helper()
	to := t.TempDir()
	return to, Tree(open(t, from), open(t, to), false)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTreeCopiesContentAndHoles(t *testing.T) {
	from := t.TempDir()
	f, err := os.OpenFile(filepath.Join(from, "sparse"), os.O_CREATE|os.O_RDWR, 0o604)
	check(t, err)
	data := bytes.Repeat([]byte("abc"), 100000)
	for _, at := range []int64{0, 1 << 24, 1 << 30} {
		_, err := f.WriteAt(data, at)
		check(t, err)
	}
	check(t, f.Truncate(1<<36))
	check(t, f.Close())
	noXattrs := unix.Setxattr(filepath.Join(from, "sparse"), "user.note", []byte("kept"), 0) // a tmpfs before Linux 6.6
	to, err := tree(t, from)
	check(t, err)
	copied, err := os.Open(filepath.Join(to, "sparse"))
	check(t, err)
	defer copied.Close()
	for _, at := range []int64{0, 1 << 24, 1 << 30} {
		got := make([]byte, len(data))
		if _, err := copied.ReadAt(got, at); err != nil || !bytes.Equal(got, data) {
			t.Errorf("at %d: %v, or other bytes", at, err)
		}
	}
	var st unix.Stat_t
	check(t, unix.Stat(filepath.Join(to, "sparse"), &st))
	if st.Size != 1<<36 || st.Blocks*512 > 1<<21 || st.Mode&0o7777 != 0o604 {
		t.Errorf("size %d in %d blocks, mode %o", st.Size, st.Blocks, st.Mode)
	}
	value := make([]byte, 8)
	if n, err := unix.Getxattr(filepath.Join(to, "sparse"), "user.note", value); noXattrs == nil && (err != nil || string(value[:n]) != "kept") {
		t.Errorf("user.note is %q, %v", value, err)
	}
}

func TestTreeCopiesManyNames(t *testing.T) {
	from := t.TempDir()
	for i := range 1000 {
		check(t, os.WriteFile(filepath.Join(from, strings.Repeat("n", 1+i%200)+string(rune('a'+i/200))), nil, 0o600))
	}
	to, err := tree(t, from)
	check(t, err)
	want, _ := os.ReadDir(from)
	got, _ := os.ReadDir(to)
	if len(got) != len(want) || len(got) != 1000 {
		t.Errorf("%d of %d names", len(got), len(want))
	}
}

func TestTreeIsNoDeeperThanItsBound(t *testing.T) {
	from := t.TempDir()
	for _, c := range []struct {
		depth int
		want  error
	}{{maxDepth, nil}, {maxDepth + 1, unix.ENAMETOOLONG}} {
		check(t, os.MkdirAll(from+strings.Repeat("/d", c.depth), 0o755))
		if _, err := tree(t, from); !errors.Is(err, c.want) {
			t.Errorf("%d directories: %v, want %v", c.depth, err, c.want)
		}
	}
}

func TestTreeNeedsAnEmptyTarget(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	check(t, os.WriteFile(filepath.Join(from, "file"), nil, 0o600))
	check(t, os.Symlink("/etc/passwd", filepath.Join(to, "file")))
	if err := Tree(open(t, from), open(t, to), false); !errors.Is(err, unix.EEXIST) {
		t.Errorf("over a symlink: %v", err)
	}
}
