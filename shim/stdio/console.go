package stdio

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// receiveLimit is how long a runtime may take to send the master after it said that the process is made.
const receiveLimit = 10 * time.Second

// console is a socket in a private folder, on which the OCI runtime sends a terminal's master.
type console struct {
	dir, path string
	l         *net.UnixListener
}

// listenConsole makes the folder in dir or, where a socket's path would be too long for sun_path (unix(7)), in a place
// for temporary files.
func listenConsole(dir string) (*console, error) {
	var errs []error
	for _, in := range []string{dir, os.Getenv("XDG_RUNTIME_DIR"), os.TempDir()} {
		if in == "" {
			continue
		}
		c, err := listenConsoleIn(in)
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("console socket: %w", errors.Join(errs...))
}

func listenConsoleIn(in string) (*console, error) {
	in, err := filepath.Abs(in) // the runtime may have another working folder
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(in, "pty")
	if err != nil {
		return nil, err
	}
	c := &console{dir: dir, path: filepath.Join(dir, "s")}
	if c.l, err = net.ListenUnix("unix", &net.UnixAddr{Name: c.path, Net: "unix"}); err != nil {
		os.Remove(dir)
		return nil, err
	}
	return c, nil
}

func (c *console) close() {
	_ = c.l.Close() // removes the socket, too
	os.Remove(c.dir)
}

// receive takes the master and removes the socket, in any case.
func (c *console) receive(ctx context.Context) (*os.File, error) {
	defer c.close()
	ctx, cancel := context.WithTimeout(ctx, receiveLimit)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = c.l.SetDeadline(time.Now()) })()
	conn, err := c.l.AcceptUnix()
	if err != nil {
		return nil, fmt.Errorf("console socket: no terminal came: %w", errors.Join(ctx.Err(), err))
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })()
	fd, err := receiveFD(conn)
	if err != nil {
		return nil, fmt.Errorf("console socket: %w", errors.Join(ctx.Err(), err))
	}
	if _, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("console socket: what came is no terminal: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("console: %w", err)
	}
	return os.NewFile(uintptr(fd), "console"), nil
}

// receiveFD takes one descriptor, by SCM_RIGHTS (unix(7)).
func receiveFD(conn *net.UnixConn) (int, error) {
	name, control := make([]byte, page), make([]byte, unix.CmsgSpace(4*4))
	_, n, _, _, err := conn.ReadMsgUnix(name, control)
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil {
		return -1, err
	}
	var fds []int
	for i := range messages {
		rights, err := unix.ParseUnixRights(&messages[i])
		if err == nil {
			fds = append(fds, rights...)
		}
	}
	if len(fds) == 0 {
		return -1, errors.New("no descriptor came")
	}
	for _, fd := range fds[1:] {
		unix.Close(fd)
	}
	return fds[0], nil
}
