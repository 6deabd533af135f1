package outlive

import (
	"errors"
	"net"
	"os"
)

// SendFile sends a message with a descriptor, which keeps being usable here.
func (w *Wire) SendFile(v any, f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var e error
	err = raw.Control(func(fd uintptr) { e = w.Send(v, int(fd)) })
	return errors.Join(err, e)
}

// ReceiveFile reads a message that has to come with one descriptor.
func (w *Wire) ReceiveFile(v any) (int, error) {
	fds, err := w.Receive(v)
	if err != nil {
		return -1, err
	}
	if len(fds) != 1 {
		CloseAll(fds)
		return -1, errors.New("a descriptor is missing")
	}
	return fds[0], nil
}

// SendListener sends a message with the socket that engines connect to.
func (w *Wire) SendListener(v any, l *net.UnixListener) error {
	f, err := l.File()
	if err != nil {
		return err
	}
	defer f.Close()
	return w.SendFile(v, f)
}

// ReceiveListener reads a message that has to come with a socket that engines connect to.
func (w *Wire) ReceiveListener(v any) (*net.UnixListener, error) {
	fd, err := w.ReceiveFile(v)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "listener")
	found, err := net.FileListener(f)
	f.Close()
	if err != nil {
		return nil, err
	}
	l, ok := found.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(errors.New("not a unix socket"), found.Close())
	}
	return l, nil
}
