package stdio

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// handle is a descriptor on its way to the keeper.
type handle struct{ fd int }

// Close closes it here.
func (h *handle) Close() { unix.Close(h.fd) }

// descriptor turns a connection into a descriptor that can be sent. One that is more than a socket (TLS, WebSocket) is
// relayed by this process, through a pair of sockets; it ends with this process.
func descriptor(conn net.Conn) (*handle, error) {
	switch c := conn.(type) {
	case *net.UnixConn:
		return duplicate(c, conn)
	case *net.TCPConn:
		return duplicate(c, conn)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(pair[0]), "relay")
	local, err := net.FileConn(f)
	f.Close()
	if err != nil {
		unix.Close(pair[1])
		return nil, err
	}
	go relay(conn, local)
	return &handle{pair[1]}, nil
}

// duplicate takes the descriptor out of a connection, which is closed here.
func duplicate(c syscall.Conn, conn net.Conn) (*handle, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	var e error
	err = raw.Control(func(s uintptr) { fd, e = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0) })
	if err := errors.Join(err, e); err != nil {
		return nil, err
	}
	conn.Close()
	return &handle{fd}, nil
}

// relay copies both ways until both have ended.
func relay(client, local net.Conn) {
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(local, client)
		closeWrite(local)
	})
	both.Go(func() {
		_, _ = io.Copy(client, local)
		closeWrite(client)
		// The session has ended: what the client still says is for nobody.
		client.Close()
	})
	both.Wait()
	local.Close()
}

func closeWrite(c net.Conn) {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
	}
}
