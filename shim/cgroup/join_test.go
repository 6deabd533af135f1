package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
)

func TestJoin(t *testing.T) {
	g := newGroup(t)
	g.run(t, "exec sleep 1000")
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", g.cmd.Process.Pid))
	check(t, err)
	if got, want := strings.Count(string(text), ":"+g.name+"\n"), len(g.dirs); got != want {
		t.Errorf("in %d of %d hierarchies:\n%s", got, want, text)
	}
	for _, name := range []string{"", "foo", "../foo", "/../foo", g.name + "/../x", g.name + "/.."} {
		if err := Join(name, g.cmd.Process.Pid); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("name %q: error %v", name, err)
		}
	}
	if err := Join(g.name+"-missing", g.cmd.Process.Pid); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: error %v", err)
	}
	pid := g.cmd.Process.Pid
	g.end()
	if err := Join(g.name, pid); err == nil {
		t.Error("a process that has ended joined")
	}
}

// A cgroup that is not in all of the hierarchies is joined where it is.
func TestJoinWhereItIs(t *testing.T) {
	g := newGroup(t)
	if len(g.dirs) < 2 {
		t.Skip("needs more than one hierarchy: cgroup v1")
	}
	removed := g.dirs[0]
	check(t, os.Remove(removed))
	g.dirs = g.dirs[1:]
	g.run(t, "exec sleep 1000")
	for _, dir := range g.dirs {
		if procs, err := os.ReadFile(dir + "/cgroup.procs"); err != nil || len(procs) == 0 {
			t.Errorf("%s has processes %q, error %v", dir, procs, err)
		}
	}
}

// The cgroup of a process below the tester's own, and of one that has gone.
func TestOf(t *testing.T) {
	g := newGroup(t)
	g.run(t, "exec sleep 1000")
	c, err := Of(g.cmd.Process.Pid)
	check(t, err)
	m, err := c.Stats()
	check(t, err)
	if want := map[bool]string{true: typeV1, false: typeV2}[c.unified == ""]; m.TypeUrl != want {
		t.Errorf("type %s, want %s", m.TypeUrl, want)
	}
	g.remove(t)
	g.dirs = nil
	if m, err := c.Stats(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a removed one: %v, error %v", m, err)
	}
	if o, err := c.WatchOOM(func() {}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("watch of a removed one: %v, error %v", o, err)
	}
}
