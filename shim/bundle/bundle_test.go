package bundle

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func open(t *testing.T) *Bundle {
	t.Helper()
	b, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *Bundle) put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(b.file(name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	b, err := Open("")
	if err != nil || b.Path() != dir || b.Rootfs() != dir+"/rootfs" {
		t.Errorf("the working directory: %v %v", b, err)
	}
	b.put(t, "file", "")
	for _, bad := range []string{"nonexistent", "file"} {
		if _, err := Open(bad); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, bad)) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestConfig(t *testing.T) {
	tests := []struct {
		name, text string
		private    bool
		group      string
		terminal   bool
		root       string
	}{
		{"private", `{"process": {"terminal": true, "args": ["x"]}, "root": {"path": "rootfs"},
			"linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]}}`, true, "c", true, "rootfs"},
		{"joined", `{"linux": {"namespaces": [{"type": "pid", "path": "/proc/1/ns/pid"}]}}`, false, "c", false, ""},
		{"the host's", `{"linux": {"namespaces": [{"type": "mount"}]}}`, false, "c", false, ""},
		{"no linux", `{}`, false, "c", false, ""},
		{"pod", `{"annotations": {"io.kubernetes.cri.sandbox-id": "pod"}}`, false, "pod", false, ""},
		{"both", `{"annotations": {"io.kubernetes.cri.sandbox-id": "pod", "io.containerd.runc.v2.group": "g"}}`, false, "g", false, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := open(t)
			b.put(t, "config.json", test.text)
			c, err := b.Config()
			if err != nil {
				t.Fatal(err)
			}
			got := []any{c.PrivatePIDs(), c.Group("c"), c.Process.Terminal, c.Root.Path}
			if diff := cmp.Diff([]any{test.private, test.group, test.terminal, test.root}, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestBriefRootfs(t *testing.T) {
	const asked = `{"annotations": {"io.gantry.rootfs.brief": "true"}, `
	for text, want := range map[string]bool{
		asked + `"linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}]}}`:                         true,
		asked + `"hooks": {}, "linux": {"namespaces": [{"type": "mount"}]}}`:                             false,
		asked + `"linux": {"namespaces": [{"type": "mount", "path": "/proc/1/ns/mnt"}]}}`:                false,
		asked + `"linux": {"namespaces": [{"type": "pid"}]}}`:                                            false,
		`{"annotations": {"io.gantry.rootfs.brief": "1"}, "linux": {"namespaces": [{"type": "mount"}]}}`: false,
		`{"linux": {"namespaces": [{"type": "mount"}]}}`:                                                 false,
	} {
		b := open(t)
		b.put(t, "config.json", text)
		c, err := b.Config()
		if err != nil {
			t.Fatal(err)
		}
		if got := c.BriefRootfs(); got != want {
			t.Errorf("%s: got %v, want %v", text, got, want)
		}
	}
}

func TestBadConfig(t *testing.T) {
	b := open(t)
	if _, err := b.Config(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
	for _, text := range []string{"", "{", `{"annotations": 3}`, "[]"} {
		b.put(t, "config.json", text)
		if _, err := b.Config(); err == nil || !strings.Contains(err.Error(), "config.json") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestPid(t *testing.T) {
	b := open(t)
	if _, err := b.Pid(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
	b.put(t, "init.pid", "17\n")
	if pid, err := b.Pid(); pid != 17 || err != nil {
		t.Errorf("%d %v", pid, err)
	}
	for _, text := range []string{"", "x", "0", "-3"} {
		b.put(t, "init.pid", text)
		if _, err := b.Pid(); err == nil || !strings.Contains(err.Error(), "init.pid") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestRecords(t *testing.T) {
	b := open(t)
	if _, err := b.Exit(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no exit: %v", err)
	}
	want := Exit{Pid: 7, Status: 137, ExitedAt: time.Unix(1700000000, 123456789).UTC()}
	if err := b.SetExit(want); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Exit(); err != nil || got != want {
		t.Errorf("%+v %v", got, err)
	}
	b.put(t, "exit", "{")
	if _, err := b.Exit(); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a broken record: %v", err)
	}
	if p := b.Phase(); p != Fresh {
		t.Errorf("phase %q", p)
	}
	for _, p := range []Phase{Created, Deleted} {
		if err := b.SetPhase(p); err != nil {
			t.Fatal(err)
		}
		if got := b.Phase(); got != p {
			t.Errorf("phase %q, want %q", got, p)
		}
	}
	b.put(t, "phase", "nonsense")
	if p := b.Phase(); p != Created {
		t.Errorf("a broken phase counts as %q", p)
	}
	if err := b.SetAddress("unix:///s"); err != nil {
		t.Fatal(err)
	}
	if a, err := b.Address(); a != "unix:///s" || err != nil {
		t.Errorf("address %q %v", a, err)
	}
	if left, _ := filepath.Glob(b.file(".*")); left != nil {
		t.Errorf("left: %v", left)
	}
}

// A record that cannot be written leaves nothing, and the former one.
func TestWriteFails(t *testing.T) {
	b := open(t)
	if err := os.MkdirAll(b.file("exit/x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := b.SetExit(Exit{}); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(b.file(".exit.new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the temporary file: %v", err)
	}
}
