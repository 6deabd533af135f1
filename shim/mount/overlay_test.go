package mount

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// More layers than their full paths have room for in a page.
func TestManyLayers(t *testing.T) {
	for _, n := range []int{1, 60, 128, 300} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			s := newScene(t)
			m := s.overlay(n)
			t.Logf("%d bytes of options", len(strings.Join(m.Options, ",")))
			s.all(m)
			for _, i := range []int{0, n / 2, n - 1} {
				_, err := os.Stat(fmt.Sprintf("%s/file%d", s.target, i))
				check(t, err)
			}
			check(t, os.WriteFile(s.target+"/new", nil, 0o600))
			_, err := os.Stat(s.dir + "/snapshots/new/fs/new")
			check(t, err)
			check(t, UnmountAll(s.target))
			s.gone()
		})
	}
}

// The working directory of the process and its threads is as before.
func TestManyLayersKeepWorkingDirectory(t *testing.T) {
	s := newScene(t)
	before, err := os.Getwd()
	check(t, err)
	for range 20 {
		s.all(s.overlay(128))
		check(t, UnmountAll(s.target))
	}
	elsewhere := func() (threads []string) {
		tasks, err := os.ReadDir("/proc/self/task")
		check(t, err)
		for _, task := range tasks {
			if wd, err := os.Readlink("/proc/self/task/" + task.Name() + "/cwd"); err == nil && wd != before {
				threads = append(threads, task.Name()+" in "+wd)
			}
		}
		return threads
	}
	// A thread's end is the kernel's, a moment after the mount.
	if !harness.Until(5*time.Second, func() bool { return len(elsewhere()) == 0 }) {
		t.Errorf("process %d, threads %q", os.Getpid(), elsewhere())
	}
}

// Names that overlayfs wants escaped.
func TestLayersWithColons(t *testing.T) {
	s := newScene(t)
	esc := strings.NewReplacer(`:`, `\:`, `\`, `\\`)
	dirs := []string{s.mkdir(`odd:na\me/1/fs`), s.mkdir(`odd:na\me/2/fs`)}
	s.file(`odd:na\me/2/fs/file`)
	o, err := parse([]string{lowerdir + esc.Replace(dirs[0]) + ":" + esc.Replace(dirs[1])})
	check(t, err)
	dir, short := compacted(o)
	if want := s.dir + `/odd:na\me`; dir != want {
		t.Fatalf("common directory %q, want %q", dir, want)
	}
	if want := lowerdir + "1/fs:2/fs"; short.data[0] != want {
		t.Fatalf("data %q, want %q", short.data[0], want)
	}
	check(t, mountFrom(dir, func() error {
		return unix.Mount("overlay", s.target, "overlay", 0, strings.Join(short.data, ","))
	}))
	_, err = os.Stat(s.target + "/file")
	check(t, err)
	check(t, UnmountAll(s.target))
}

func TestCommonDir(t *testing.T) {
	for _, c := range []struct{ layers, dir, data string }{
		{"/a/b/1/fs:/a/b/2/fs", "/a/b", "1/fs:2/fs"},
		{"/a/b/1/fs:/a/b/12/fs", "/a/b", "1/fs:12/fs"},
		{"/a/b:/a/b/c", "/a", "b:b/c"},
		{"/a/b:/a/bc", "/a", "b:bc"},
		{"/a/b", "/a", "b"},
		{"/a/b/1::/a/b/2", "/a/b", "1::2"},
		{"/a:/b", "", ""},
		{"/a/b:/c/d", "", ""},
		{"a/b:a/c", "", ""},
		{"/", "", ""},
		{"", "", ""},
	} {
		layers := splitLayers(c.layers)
		dir := commonDir(layers)
		if dir != c.dir {
			t.Errorf("%s: directory %q, want %q", c.layers, dir, c.dir)
			continue
		}
		if dir != "" && below(layers, dir, "") != lowerdir+c.data {
			t.Errorf("%s: %q, want %q", c.layers, below(layers, dir, ""), lowerdir+c.data)
		}
	}
}
