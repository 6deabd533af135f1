package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const scheme = "unix://"

// maxPath is the longest path of a socket that containerd's programs take, in bytes; the kernel has 108 with the zero
// at the end (unix(7)).
const maxPath = 106

// ErrServed is returned by Listen where a living shim has the address.
var ErrServed = errors.New("another shim listens on the address")

// Listen makes the socket, for its user alone; one that nobody serves is replaced. Of several that listen for the
// same address at the same time one wins, and the others get ErrServed.
func Listen(address string) (*net.UnixListener, error) {
	path, err := Path(address)
	if err != nil {
		return nil, err
	}
	unlock, err := lock(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer unlock()
	l, err := bind(path)
	if !errors.Is(err, unix.EADDRINUSE) {
		return l, err
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	return bind(path)
}

// Path is the socket's file.
func Path(address string) (string, error) {
	path, ok := strings.CutPrefix(address, scheme)
	if !ok || !filepath.IsAbs(path) {
		return "", fmt.Errorf("the address %q: want %s and an absolute path", address, scheme)
	}
	if len(path) > maxPath {
		return "", fmt.Errorf("the address %s: the path has %d bytes, and a socket's may have %d: choose a shorter socket_dir",
			address, len(path), maxPath)
	}
	return path, nil
}

// Remove removes the socket. Its server does so while it still listens: then it cannot be another's.
func Remove(address string) error {
	path, err := Path(address)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// RemoveStale removes the socket if nobody serves it any more.
func RemoveStale(address string) error {
	path, err := Path(address)
	if err != nil {
		return err
	}
	unlock, err := lock(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer unlock()
	if err := removeStale(path); !errors.Is(err, ErrServed) {
		return err
	}
	return nil
}

// lock keeps others out of the directory, which it makes, between bind(2) and listen(2): they would take the socket
// for one that nobody serves.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o711); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(d.Fd()), unix.LOCK_EX)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("flock %s: %w", dir, err), d.Close())
	}
	return func() { _ = d.Close() }, nil
}

func bind(path string) (*net.UnixListener, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		// The file that bind makes has the mode of the socket's inode, less the umask.
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }), err)
	}}
	l, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	u := l.(*net.UnixListener)
	u.SetUnlinkOnClose(false) // the server listens on
	return u, nil
}

// removeStale removes a socket that nobody listens on.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is in the way of a socket", path)
	}
	switch err := connect(path); err {
	case nil, unix.EAGAIN: // EAGAIN: so many have connected that it could not take them yet
		return ErrServed
	case unix.ECONNREFUSED:
		return os.Remove(path)
	case unix.ENOENT:
		return nil
	default:
		return fmt.Errorf("connect %s: %w", path, err)
	}
}

// connect tries the socket and never waits.
func connect(path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrUnix{Name: path})
}
