package bootstrap

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

func TestListen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "s")
	address := "unix://" + dir + "/x"
	old := unix.Umask(0)
	l, err := Listen(address)
	unix.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	mode(t, dir, fs.ModeDir|0o700)
	mode(t, filepath.Dir(dir), fs.ModeDir|0o711)
	mode(t, dir+"/x", fs.ModeSocket|0o600)
	if _, err := Listen(address); !errors.Is(err, ErrServed) {
		t.Errorf("a second one: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	mode(t, dir+"/x", fs.ModeSocket|0o600) // only Remove removes it
	if l, err = Listen(address); err != nil {
		t.Fatalf("a stale one: %v", err)
	}
	defer l.Close()
	if err := errors.Join(Remove(address), Remove(address)); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(dir + "/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Remove: %v", err)
	}
}

func mode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != want {
		t.Errorf("%s has %v, want %v", path, info.Mode(), want)
	}
}

// A shim that is too busy to take a connection is alive.
func TestListenFullBacklog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := connect(path); err != unix.EAGAIN {
		t.Fatalf("the backlog is not full: %v", err)
	}
	if _, err := Listen("unix://" + path); !errors.Is(err, ErrServed) {
		t.Error(err)
	}
}

// Of many that start at once for one group, each round one listens.
func TestListenRace(t *testing.T) {
	address := "unix://" + filepath.Join(t.TempDir(), "s", "x")
	for range 30 {
		var (
			wg     sync.WaitGroup
			served atomic.Int32
			won    = make(chan *net.UnixListener, 8)
		)
		for range cap(won) {
			wg.Go(func() {
				switch l, err := Listen(address); {
				case err == nil:
					won <- l
				case errors.Is(err, ErrServed):
					served.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 || served.Load() != 7 {
			t.Fatalf("%d listen, %d are served", len(won), served.Load())
		}
		(<-won).Close() // stale in the next round
	}
}

func TestListenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := "unix:///" + strings.Repeat("x", 106)
	for address, want := range map[string]string{
		"unix://" + file:        "is in the way of a socket",
		long:                    "the path has 107 bytes, and a socket's may have 106",
		"unix://relative":       "want unix:// and an absolute path",
		"/abstract":             "want unix:// and an absolute path",
		"unix://" + file + "/x": "not a directory",
	} {
		if l, err := Listen(address); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v %v", address, l, err)
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "x" {
		t.Errorf("the file: %q %v", text, err)
	}
}
