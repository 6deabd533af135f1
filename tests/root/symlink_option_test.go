package root_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

// links makes a directory with a file and a symlink to it.
func links(t *testing.T) string {
	t.Helper()
	dir := source(t)
	if err := os.Symlink("file", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestSrcNoFollow(t *testing.T) {
	dir := links(t)
	for name, edit := range map[string]change{"": func(*specs.Spec) {}, " in a user namespace": mapped} {
		t.Run("the symlink itself is mounted"+name, func(t *testing.T) {
			out, _ := inRootfs(t, ownedByMappedRoot(t), "readlink /mnt; mount | grep -c /mnt", func(s *specs.Spec) {
				edit(s)
				s.Mounts = append(s.Mounts, bind(dir+"/link", "/mnt", "src-nofollow"))
			})
			equal(t, "inside", "file\n1", out)
		})
	}
	t.Run("another file is mounted as ever", func(t *testing.T) {
		expect(t, "cat /mnt", "from the host", withMounts(bind(dir+"/file", "/mnt", "src-nofollow")))
	})
}

func TestDestNoFollow(t *testing.T) {
	dir := links(t)
	prepare := func(rootfs string) {
		write(t, filepath.Join(rootfs, "target"), "of the image\n")
		if err := os.Symlink("/target", filepath.Join(rootfs, "link")); err != nil {
			t.Fatal(err)
		}
	}
	out, _ := inRootfs(t, prepare, "cat /link /target", withMounts(bind(dir+"/file", "/link", "dest-nofollow")))
	equal(t, "the symlink is covered, what it points to is not", "from the host\nof the image", out)
	out, _ = inRootfs(t, prepare, "readlink /link; cat /target", withMounts(bind(dir+"/link", "/link", "src-nofollow", "dest-nofollow")))
	equal(t, "a symlink on a symlink", "file\nof the image", out)
	t.Run("what is not there", func(t *testing.T) {
		refuse(t, withMounts(bind(dir+"/file", "/new", "dest-nofollow")), "mounts[7]", "no such file")
	})
}

func TestCopySymlink(t *testing.T) {
	dir := links(t)
	e := harness.New(t)
	mount := withMounts(bind(dir+"/link", "/new/deep/link", "copy-symlink"), bind(dir+"/file", "/plain", "copy-symlink"))
	bundle := e.Bundle("readlink /new/deep/link; cat /plain; mount | grep -c deep; true", mount)
	for _, round := range []string{"first", "second"} { // the root file system keeps the symlink
		r := e.Run("run", "-b", bundle, e.ID("c"+round))
		equal(t, round, "file\nfrom the host\n0\n", r.Stdout)
	}
	at := filepath.Join(bundle, "rootfs", "new", "deep", "link")
	for text, want := range map[string]bool{"file": true, "file2": false, "fil": false, "filX": false, "": false, "file\nfile": false} {
		if err := os.Remove(at); err != nil {
			t.Fatal(err)
		}
		if text == "" {
			write(t, at, "file")
		} else if err := os.Symlink(text, at); err != nil {
			t.Fatal(err)
		}
		r := e.Run("run", "-b", bundle, e.ID("d"))
		if want != (r.Code == 0) || !want && !strings.Contains(r.Stderr, "there is something else: file exists") {
			t.Errorf("over a symlink that says %q: exit %d, %s", text, r.Code, r.Stderr)
		}
	}
	t.Run("in a user namespace", func(t *testing.T) {
		out, _ := inRootfs(t, ownedByMappedRoot(t), "readlink /link", func(s *specs.Spec) {
			mapped(s)
			s.Mounts = append(s.Mounts, bind(dir+"/link", "/link", "copy-symlink"))
		})
		equal(t, "symlink", "file", out)
	})
	t.Run("for a user", func(t *testing.T) {
		r := newRootless(t)
		bundle := r.bundle("readlink /link", withMounts(bind(dir+"/link", "/link", "copy-symlink")))
		for range 2 {
			id := r.ID("c")
			equal(t, "symlink", "file", r.must("run", "-b", bundle, id))
		}
	})
}
