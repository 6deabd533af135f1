package main

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

func TestParseRootless(t *testing.T) {
	for in, want := range map[string]struct{ rootless, auto, bad bool }{
		"": {auto: true}, "auto": {auto: true}, "AUTO": {auto: true},
		"true": {rootless: true}, "1": {rootless: true}, "T": {rootless: true}, "TRUE": {rootless: true},
		"false": {}, "0": {}, "f": {}, "yes": {bad: true}, "2": {bad: true},
	} {
		rootless, auto, err := parseRootless(in)
		if rootless != want.rootless || auto != want.auto || (err != nil) != want.bad {
			t.Errorf("%q: got %v, %v, %v, want %+v", in, rootless, auto, err, want)
		}
	}
}

func TestAbsolute(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for in, want := range map[string]string{
		"": "", "/": "/", "/a/../b/": "/b", "x": dir + "/x", ".": dir, "..": filepath.Dir(dir),
	} {
		if got, err := absolute(in); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", in, got, err, want)
		}
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if got, err := absolute("x"); err == nil {
		t.Errorf("in a removed directory: got %q, want an error", got)
	}
}

func TestListenFDsAreForTheProcessThatIsNamed(t *testing.T) {
	for _, c := range []struct {
		name, count, pid string
		want             int
	}{
		{"none", "", "", 0},
		{"for somebody else", "2", "1", 0},
		{"for this process", "2", "self", 2},
		{"not a number", "two", "self", 0},
		{"a negative number", "-1", "self", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			pid := c.pid
			if pid == "self" {
				pid = strconv.Itoa(os.Getpid())
			}
			t.Setenv("LISTEN_FDS", c.count)
			t.Setenv("LISTEN_PID", pid)
			if got := listenFDs(); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}
