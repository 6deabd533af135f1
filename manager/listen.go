package manager

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/manager/config"
)

// Listen makes a unix socket that root and the socket's group may use. A socket that a dead manager left is replaced;
// one that somebody listens on is not: errdefs.ErrAlreadyExists.
func Listen(s config.Socket) (net.Listener, error) {
	l, err := listen(s)
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", s.Address, err)
	}
	return l, nil
}

func listen(s config.Socket) (*net.UnixListener, error) {
	if err := os.MkdirAll(filepath.Dir(s.Address), 0o711); err != nil {
		return nil, err
	}
	if err := patiently(func() error { return removeStale(s.Address) }); err != nil {
		return nil, err
	}
	// Only root can connect until the mode is set: the file is born with the mode that the mask leaves of 0777.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.Address, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.Chown(s.Address, s.UID, s.GID), os.Chmod(s.Address, 0o660)); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// removeStale removes a socket that nobody listens on. What is no socket stays.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("there is a file that is no socket: %w", errdefs.ErrAlreadyExists)
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
		return fmt.Errorf("somebody answers there; is another manager running? %w", errdefs.ErrAlreadyExists)
	}
	// EAGAIN is a queue that is full of clients: somebody is there.
	if !errors.Is(err, unix.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

// patience is how long another manager may seem to be there that is not.
const patience = 2 * time.Second

// patiently tries again for a while what another manager hinders. One that was killed while it began a process may be
// gone, and what it had open in the hands of that process still, until execve(2) closes it.
func patiently(try func() error) error {
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		err := try()
		if !errdefs.IsAlreadyExists(err) && !errors.Is(err, unix.EAGAIN) || time.Now().After(end) {
			return err
		}
	}
}

// lock takes a directory for this process alone, until the file is closed or the process dies. It is made if missing.
func lock(dir string, mode os.FileMode) (*os.File, error) {
	if err := os.MkdirAll(dir, mode); err != nil {
		return nil, err
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	err = patiently(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("%s belongs to a manager that is running: %w", dir, errdefs.ErrAlreadyExists)
	}
	return nil, fmt.Errorf("lock %s: %w", dir, err)
}
