package badinput_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

func TestADiskThatIsFull(t *testing.T) {
	e := harness.New(t)
	bundle, id := e.Bundle(script, nil), e.ID("a")
	try(t, os.MkdirAll(e.Root, 0o700))
	// So many pages are free: state.json is written twice beside config.json, each takes one.
	for free, file := range []string{".config.json.new: no space", ".state.json.new: no space", ".state.json.new: no space"} {
		fill := fmt.Sprintf("mount -t tmpfs -o size=64k,mode=700 tmpfs %s\ndd if=/dev/zero of=%[1]s/fill bs=4096 count=%d 2>/dev/null", e.Root, 16-free)
		for _, verb := range []string{"create", "run"} {
			a := &attempt{env: e, args: []string{verb, "-b", bundle, id}, change: privately(fill)}
			a.refused("write " + e.Root + "/" + id + "/" + file)
		}
		if ran(bundle) {
			t.Error("the program has run")
		}
	}
}

func TestARootDirectoryThatIsUnusable(t *testing.T) {
	e := harness.New(t)
	id := e.ID("a")
	bundle := e.Bundle(script, nil)
	root := e.Root
	try(t, os.MkdirAll(root, 0o700))
	write(t, root+"/file", nil)
	try(t, os.Symlink("nowhere", root+"/link"))
	for _, c := range []struct{ name, root, setup, want string }{
		{"read-only", root, "mount --bind " + root + " " + root + "; mount -o remount,bind,ro " + root, "mkdir " + root + "/" + id + ": read-only file system"},
		{"a file", root + "/file", "", "mkdir " + root + "/file/" + id + ": not a directory"},
		{"below a file", root + "/file/x", "", "mkdir " + root + "/file/x/" + id + ": not a directory"},
		{"a dangling symlink", root + "/link", "", "mkdir " + root + "/link/" + id + ": no such file or directory"},
		{"too long", root + strings.Repeat("/"+strings.Repeat("x", 200), 30), "", "mkdir " + root + "/xxx"},
		{"a name that is too long", root + "/" + strings.Repeat("x", 300), "", "mkdir " + root + "/xxx"},
		{"a procfs", "/proc/x", "", "mkdir /proc/x: no such file or directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := at(e, t)
			e.Root = c.root
			a := &attempt{env: e, args: []string{"create", "-b", bundle, id}}
			if c.setup != "" {
				a.change = privately(c.setup)
			}
			a.refused(c.want)
		})
	}
}

func TestARootDirectoryWithALongPath(t *testing.T) {
	e := harness.New(t)
	bundle, id := e.Bundle(script, nil), e.ID("a")
	e.Root += strings.Repeat("/"+strings.Repeat("x", 200), 10)
	e.MustRun("create", "-b", bundle, id)
	e.MustRun("start", id)
	e.WaitStatus(id, specs.StateStopped)
	if !ran(bundle) {
		t.Error("the program has not run")
	}
	e.MustRun("delete", id)
	nothingLeft(e)
}

func TestAStateFileThatIsDamaged(t *testing.T) {
	e := harness.New(t)
	bundle, id := e.Bundle("sleep 100", nil), e.ID("a")
	file := filepath.Join(e.Root, id, "state.json")
	for _, c := range []struct {
		name   string
		damage func(whole []byte) error
		want   string
		newer  bool // not damaged: nobody may touch it
	}{
		{"truncated", func(b []byte) error { return os.WriteFile(file, b[:len(b)/2], 0o600) }, file + ": ", false},
		{"empty", func([]byte) error { return os.WriteFile(file, nil, 0o600) }, file + ": ", false},
		{"garbage", func([]byte) error { return os.WriteFile(file, []byte("\x00\xffgarbage"), 0o600) }, file + ": ", false},
		{"null", func([]byte) error { return os.WriteFile(file, []byte("null"), 0o600) }, file + ": ", false},
		{"an empty object", func([]byte) error { return os.WriteFile(file, []byte("{}"), 0o600) }, file + ": version is missing", false},
		{"of another container", func(b []byte) error {
			return os.WriteFile(file, []byte(strings.ReplaceAll(string(b), id, "other")), 0o600)
		}, file + `: belongs to container "other"`, false},
		{"of wrong types", func(b []byte) error {
			return os.WriteFile(file, []byte(strings.Replace(string(b), `"id":"`, `"pid":"x","init":7,"id":"`, 1)), 0o600)
		}, file + ": init: ", false},
		{"of a newer version", func(b []byte) error {
			return os.WriteFile(file, []byte(strings.Replace(string(b), `"version":`, `"version":9`, 1)), 0o600)
		}, file + ": written by a newer version of the runtime", true},
		{"a directory", func([]byte) error { return errJoin(os.Remove(file), os.Mkdir(file, 0o700)) }, file + ": ", false},
		{"a FIFO", func([]byte) error { return errJoin(os.Remove(file), unix.Mkfifo(file, 0o600)) }, file + ": not a regular file", false},
		{"a symlink", func([]byte) error { return errJoin(os.Remove(file), os.Symlink("/etc/passwd", file)) }, file + ": too many levels of symbolic links", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := at(e, t)
			e.MustRun("run", "-d", "-b", bundle, id)
			whole, err := os.ReadFile(file)
			try(t, err)
			try(t, c.damage(whole))
			for _, verb := range [][]string{{"state", id}, {"start", id}, {"kill", id}, {"delete", id}, {"exec", id, "true"}, {"pause", id}, {"ps", id}} {
				(&attempt{env: e, args: verb, leaves: true}).refused(c.want)
			}
			(&attempt{env: e, args: []string{"create", "-b", bundle, id}, leaves: true}).refused("container with given ID already exists")
			if r := e.Run("list"); r.Code != 0 || !strings.Contains(r.Stderr, id) {
				t.Errorf("list: exit %d, %q", r.Code, r.Stderr)
			}
			if c.newer {
				(&attempt{env: e, args: []string{"delete", "--force", id}, leaves: true}).refused(c.want)
				write(t, file, whole)
			}
			e.MustRun("delete", "--force", id)
			nothingLeft(e)
		})
	}
}

func TestAStateDirectoryWithMissingFiles(t *testing.T) {
	e := harness.New(t)
	bundle, id := e.Bundle(script, nil), e.ID("a")
	dir := filepath.Join(e.Root, id)
	for _, c := range []struct {
		name  string
		files []string
		verb  []string
		want  string
	}{
		{"config.json, before start", []string{"config.json"}, []string{"start", id}, ""},
		{"config.json, before exec", []string{"config.json"}, []string{"exec", id, "true"}, ""},
		{"start.sock", []string{"start.sock"}, []string{"start", id}, "start socket: no such file or directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := at(e, t)
			e.MustRun("create", "-b", bundle, id)
			for _, f := range c.files {
				try(t, os.Remove(filepath.Join(dir, f)))
			}
			(&attempt{env: e, args: c.verb, leaves: true}).refused(c.want)
			e.MustRun("delete", "--force", id)
			nothingLeft(e)
			if ran(bundle) {
				t.Error("the program has run")
			}
		})
	}
}

func TestAStartSocketThatIsAnothersPath(t *testing.T) {
	e := harness.New(t)
	bundle, id := e.Bundle(script, nil), e.ID("a")
	socket := filepath.Join(e.Root, id, "start.sock")
	e.MustRun("create", "-b", bundle, id)
	try(t, errJoin(os.Remove(socket), os.WriteFile(socket, nil, 0o600)))
	(&attempt{env: e, args: []string{"start", id}, leaves: true}).refused("start socket: connection refused")
	if status := e.State(id).Status; status != specs.StateCreated {
		t.Errorf("status %s", status)
	}
	e.MustRun("delete", id)
	nothingLeft(e)
}
