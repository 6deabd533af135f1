package inroot

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMakeFollowsDanglingLinksInTheRoot(t *testing.T) {
	for name, c := range map[string]struct {
		link, target string // a symlink to make first
		path         Path
		file         bool
		want         string // what must exist afterwards, below the root
	}{
		"a missing file":                       {path: "/a/b/c", file: true, want: "a/b/c"},
		"a missing directory":                  {path: "/a/b/c", want: "a/b/c"},
		"a file behind a relative link":        {link: "etc/resolv.conf", target: "../run/systemd/resolve/stub.conf", path: "/etc/resolv.conf", file: true, want: "run/systemd/resolve/stub.conf"},
		"a file behind an absolute link":       {link: "etc/resolv.conf", target: "/run/x", path: "/etc/resolv.conf", file: true, want: "run/x"},
		"a directory below a dangling link":    {link: "var", target: "/other/place", path: "/var/lib/x", want: "other/place/lib/x"},
		"a link that climbs stays in the root": {link: "up", target: "../../../../up-there", path: "/up/x", want: "up-there/x"},
	} {
		t.Run(name, func(t *testing.T) {
			outer := t.TempDir()
			root := filepath.Join(outer, "root")
			if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
				t.Fatal(err)
			}
			if c.link != "" {
				if err := os.Symlink(c.target, filepath.Join(root, c.link)); err != nil {
					t.Fatal(err)
				}
			}
			if err := makeIn(root, c.path, c.file); err != nil {
				t.Fatal(err)
			}
			st, err := os.Lstat(filepath.Join(root, c.want))
			if err != nil {
				t.Fatal(err)
			}
			if st.IsDir() == c.file {
				t.Errorf("%s is a directory: %v", c.want, st.IsDir())
			}
			if list, _ := os.ReadDir(outer); len(list) != 1 {
				t.Errorf("something was made outside the root: %v", list)
			}
		})
	}
}

func TestMakeEndsAtALoop(t *testing.T) {
	root := t.TempDir()
	if err := os.Symlink("b", filepath.Join(root, "a")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a", filepath.Join(root, "b")); err != nil {
		t.Fatal(err)
	}
	if err := makeIn(root, "/a/x", false); !errors.Is(err, unix.ELOOP) {
		t.Errorf("got %v, want ELOOP", err)
	}
}

func makeIn(root string, p Path, file bool) error {
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if file {
		return MakeFile(fd, p)
	}
	return MakeDir(fd, p)
}
