package bundle

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// write makes a bundle with the given config.json.
func write(t *testing.T, config string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ConfigFile), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestLoadReadsABundle(t *testing.T) {
	raw, err := os.ReadFile("testdata/seccomp.json")
	if err != nil {
		t.Fatal(err)
	}
	dir := write(t, string(raw))
	t.Chdir(filepath.Dir(dir))
	for _, name := range []string{dir, filepath.Base(dir), "./" + filepath.Base(dir) + "/"} {
		b, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if b.Dir != dir || !bytes.Equal(b.Raw, raw) || b.Spec.Hostname != "gantry" || b.Spec.Linux.Seccomp != nil {
			t.Errorf("%s: %+v", name, b)
		}
		seccomp, err := DecodeSeccomp(b.RawSeccomp)
		if err != nil || len(seccomp.Syscalls) != 4 {
			t.Errorf("seccomp: %+v, %v", seccomp, err)
		}
	}
}

func TestLoadFollowsASymlink(t *testing.T) {
	target := write(t, `{"hostname":"a"}`)
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(target, ConfigFile), filepath.Join(dir, ConfigFile)); err != nil {
		t.Fatal(err)
	}
	if b, err := Load(dir); err != nil || b.Spec.Hostname != "a" {
		t.Errorf("%+v, %v", b, err)
	}
}

func TestLoadErrors(t *testing.T) {
	tests := map[string]struct {
		make func(t *testing.T, path string) error
		want string // PATH stands for the path of config.json
	}{
		"no config.json": {
			func(*testing.T, string) error { return nil },
			"JSON specification file config.json not found: PATH: no such file or directory",
		},
		"a dangling symlink": {
			func(_ *testing.T, path string) error { return os.Symlink("nowhere", path) },
			"JSON specification file config.json not found: PATH: no such file or directory",
		},
		"a symlink to itself": {
			func(_ *testing.T, path string) error { return os.Symlink(path, path) },
			"open PATH: too many levels of symbolic links",
		},
		"a directory":     {func(_ *testing.T, path string) error { return os.Mkdir(path, 0o700) }, "PATH is not a regular file"},
		"a FIFO":          {func(_ *testing.T, path string) error { return unix.Mkfifo(path, 0o600) }, "PATH is not a regular file"},
		"a device":        {func(_ *testing.T, path string) error { return os.Symlink("/dev/null", path) }, "PATH is not a regular file"},
		"a socket":        {bindSocket, "open PATH: no such device or address"},
		"an empty file":   {content(""), "PATH is empty"},
		"a file of 1 GiB": {sized(1 << 30), "PATH: 1073741824 bytes, more than the limit of 16777216"},
		"one byte above the limit": {
			sized(MaxConfigSize + 1),
			"PATH: 16777217 bytes, more than the limit of 16777216",
		},
		"a truncated file":    {content(`{"ociVersion":"1.3.0",`), "config.json: unexpected end of JSON at byte 22"},
		"a syntax error":      {content("{\n \"a\" 1}"), "config.json: line 2, column 6: want ':' after an object key, got '1'"},
		"a byte order mark":   {content("\xEF\xBB\xBF{}"), "config.json: line 1, column 1: byte order mark before the JSON text"},
		"a value that is off": {content(`{"hostname":1}`), "hostname: want a string, got a number"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, ConfigFile)
			if err := test.make(t, path); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() {
				_, err := Load(dir)
				done <- err
			}()
			select {
			case err := <-done:
				wantError(t, err, strings.ReplaceAll(test.want, "PATH", path))
				if got := errors.Is(err, unix.ENOENT); got != strings.Contains(test.want, "not found") {
					t.Errorf("errors.Is ENOENT: %t", got)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("blocked")
			}
		})
	}
}

func TestLoadReadsUpToTheLimit(t *testing.T) {
	b, err := Load(write(t, `{}`+strings.Repeat(" ", MaxConfigSize-2)))
	if err != nil || len(b.Raw) != MaxConfigSize {
		t.Error(err)
	}
}

func TestLoadRefusesAFileOfUntrueSize(t *testing.T) {
	// procfs files say that they are empty.
	dir := t.TempDir()
	path := filepath.Join(dir, ConfigFile)
	if err := os.Symlink("/proc/self/status", path); err != nil {
		t.Fatal(err)
	}
	_, err := Load(dir)
	wantError(t, err, path+" changed while it was read")
}

func TestLoadLeavesNoDescriptorOpen(t *testing.T) {
	open := func() string {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("needs procfs: ", err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return strings.Join(names, " ")
	}
	good, bad, huge := write(t, `{}`), write(t, `{`), t.TempDir()
	if err := sized(1<<30)(t, filepath.Join(huge, ConfigFile)); err != nil {
		t.Fatal(err)
	}
	before := open()
	for _, dir := range []string{good, bad, huge, t.TempDir()} {
		_, _ = Load(dir)
	}
	if diff := cmp.Diff(before, open()); diff != "" {
		t.Error(diff)
	}
}

func content(s string) func(*testing.T, string) error {
	return func(_ *testing.T, path string) error { return os.WriteFile(path, []byte(s), 0o600) }
}

// sized makes a file of n bytes that takes no room.
func sized(n int64) func(*testing.T, string) error {
	return func(_ *testing.T, path string) error {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			return err
		}
		return os.Truncate(path, n)
	}
}

func bindSocket(t *testing.T, path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	t.Cleanup(func() { unix.Close(fd) })
	return unix.Bind(fd, &unix.SockaddrUnix{Name: path})
}
