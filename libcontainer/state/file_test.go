package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func full() *State {
	return &State{
		OCIVersion: "1.3.0", ID: "c", Bundle: "/b", Rootfs: "/b/\"r\\\n\u2028é",
		Created: time.Date(2026, 11, 23, 21, 0, 0, 123456789, time.UTC), Owner: 4294967295,
		Init: Process{PID: 1 << 22, StartTime: 1<<64 - 1}, Started: true,
		CgroupPaths: []CgroupPath{{"cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/c"}, {"", "/sys/fs/cgroup/unified/c"}},
		Rootless:    true, PrivatePID: true, IntelRdt: IntelRdt{Root: "/sys/fs/resctrl", Group: "/sys/fs/resctrl/c", Made: true, Monitor: "/sys/fs/resctrl/c/mon_groups/c"},
		Annotations: map[string]string{"a": "1", "<b>": "&", "": "\x01"},
	}
}

func TestSaveAndLoadGiveBackTheState(t *testing.T) {
	for name, want := range map[string]*State{
		"every field":    full(),
		"the zero state": {ID: "c", Created: time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			d := mustCreate(t, root, "c")
			// The second save replaces a file and uses the buffer again.
			if err := errors.Join(d.Save(full()), d.Save(want)); err != nil {
				t.Fatal(err)
			}
			got, err := mustOpen(t, root).Load()
			if err != nil {
				t.Fatal(err)
			}
			want.Version = Version
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("loaded (+) is not saved (-):\n%s", diff)
			}
			info, err := os.Stat(d.Path() + "/" + stateFile)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
			}
		})
	}
}

func TestStateJSONIsWhatEncodingJSONWrites(t *testing.T) {
	for _, s := range []*State{full(), {}} {
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var reread State
		got := appendState(nil, s)
		if err = json.Unmarshal(got, &reread); err != nil {
			t.Fatalf("%v: %s", err, got)
		}
		again, err := json.Marshal(&reread)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(again)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestConfigIsKeptByteForByte(t *testing.T) {
	d := mustCreate(t, t.TempDir(), "c")
	if _, err := d.Config(); !errors.Is(err, ErrIncomplete) {
		t.Errorf("no config yet: %v, want ErrIncomplete", err)
	}
	raw := []byte("{ \"b\":1,\n\t\"a\":2 }\x00")
	if err := d.SaveConfig(raw); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Config(); err != nil || string(got) != string(raw) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestLoadOfAFileOfNoUse(t *testing.T) {
	for _, c := range []struct{ name, text string }{
		{"an empty file", ""},
		{"a truncated file", `{"version":1,"id":"c","bund`},
		{"not JSON", "hello"},
		{"null", "null"},
		{"another kind of JSON", `[1]`},
		{"a wrong type", `{"version":1,"id":"c","init":{"pid":"x"}}`},
		{"no version", `{"id":"c"}`},
		{"a negative version", `{"version":-1,"id":"c"}`},
		{"the state of another container", `{"version":1,"id":"d"}`},
		{"something after the object", `{"version":1,"id":"c"}{}`},
		{"binary zeros", strings.Repeat("\x00", 100)},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := mustCreate(t, t.TempDir(), "c")
			if err := os.WriteFile(d.Path()+"/"+stateFile, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := d.Load()
			var damaged *DamagedError
			if !errors.As(err, &damaged) || damaged.Path != d.Path()+"/"+stateFile {
				t.Errorf("got %v, want a DamagedError for the file", err)
			}
			if errors.Is(err, ErrNewer) {
				t.Errorf("%v: nothing newer here", err)
			}
		})
	}
}

func TestLoadOfANewerState(t *testing.T) {
	d := mustCreate(t, t.TempDir(), "c")
	text := fmt.Sprintf(`{"version":%d,"id":"c","init":"of another type"}`, Version+1)
	if err := os.WriteFile(d.Path()+"/"+stateFile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Load(); !errors.Is(err, ErrNewer) {
		t.Errorf("got %v, want ErrNewer", err)
	}
}

func TestLoadRefusesWhatIsNotAFile(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(path string) error
	}{
		{"a FIFO doesn't hang the reader", func(p string) error { return unix.Mkfifo(p, 0o600) }},
		{"a directory", func(p string) error { return os.Mkdir(p, 0o700) }},
		{"a symlink", func(p string) error { return os.Symlink("/etc/passwd", p) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := mustCreate(t, t.TempDir(), "c")
			if err := c.make(d.Path() + "/" + stateFile); err != nil {
				t.Fatal(err)
			}
			if s, err := d.Load(); err == nil {
				t.Errorf("loaded %+v", s)
			}
		})
	}
}

func TestAFullDiskKeepsTheOldState(t *testing.T) {
	needRoot(t)
	cmd := child("full disk", t.TempDir())
	cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// fullDiskChild saves twice on a file system that has room for one file of a page.
func fullDiskChild(root string) error {
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=4k"); err != nil {
		return err
	}
	d, err := Create(root, "c")
	if err != nil {
		return err
	}
	if err = d.Save(&State{ID: "c", Bundle: "/old"}); err != nil {
		return err
	}
	if err = d.Save(&State{ID: "c", Bundle: "/new"}); !errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("second save: %w, want ENOSPC", err)
	}
	s, err := d.Load()
	if err != nil || s.Bundle != "/old" {
		return fmt.Errorf("load: %+v, %w, want the first state", s, err)
	}
	entries, err := os.ReadDir(d.Path())
	if err != nil || len(entries) != 1 {
		return fmt.Errorf("files left: %v, %w, want state.json only", entries, err)
	}
	return d.Remove()
}
