package manager

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/manager/config"
)

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "er", "m.sock")
	s := config.Socket{Address: path, UID: os.Getuid(), GID: os.Getgid()}
	if os.Getuid() == 0 {
		s.GID = 7
	}
	l, err := Listen(s)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o660 {
		t.Errorf("mode %o, want 660", got)
	}
	if got := info.Sys().(*syscall.Stat_t).Gid; got != uint32(s.GID) {
		t.Errorf("group %d, want %d", got, s.GID)
	}
	if dir, err := os.Stat(filepath.Dir(path)); err != nil || dir.Mode().Perm() != 0o711 {
		t.Errorf("directory: %v, %v", dir.Mode(), err)
	}

	if _, err := Listen(s); !errors.Is(err, errdefs.ErrAlreadyExists) {
		t.Errorf("a socket that is in use: %v", err)
	}
	// As after a kill: the file stays, and nobody listens.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	l, err = Listen(s)
	if err != nil {
		t.Fatalf("a socket that a dead manager left: %v", err)
	}
	l.Close()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is there after Close: %v", err)
	}

	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(s); !errors.Is(err, errdefs.ErrAlreadyExists) {
		t.Errorf("a file that is no socket: %v", err)
	}
	if text, err := os.ReadFile(path); string(text) != "precious" {
		t.Errorf("the file is now %q, %v", text, err)
	}
}

func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "root")
	first, err := lock(dir, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(dir, 0o700); !errors.Is(err, errdefs.ErrAlreadyExists) {
		t.Errorf("a second manager: %v", err)
	}
	first.Close()
	again, err := lock(dir, 0o700)
	if err != nil {
		t.Fatalf("after the first is gone: %v", err)
	}
	again.Close()
}
