package libcontainer

import (
	"errors"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/fault"
)

// terminal is how the pty of a process reaches its user: through a console socket to
// somebody else, or through this runtime's own stdin and stdout.
type terminal struct {
	socket   int        // what the launch gets: its child sends the pty's master here by SCM_RIGHTS
	screen   *screen    // nil with a console socket
	received chan error // how taking the master went; nil once that is known
}

// openTerminal returns nil when the process has no terminal. In the foreground it takes
// the master as soon as the child sends it, prepares it and answers with one byte: a
// child that waits for that runs its program in a terminal of the right size.
func openTerminal(p *specs.Process, o *LaunchOptions) (*terminal, error) {
	wanted := p != nil && p.Terminal
	switch {
	case o.Detach && wanted && o.ConsoleSocket == "":
		return nil, fault.Usage.Of("--console-socket", errors.New("cannot allocate tty if runc will detach without setting console socket"))
	case (!o.Detach || !wanted) && o.ConsoleSocket != "":
		return nil, fault.Usage.Of("--console-socket", errors.New("cannot use console socket if runc will not detach or allocate tty"))
	case !wanted:
		return nil, nil //nolint:nilnil // no terminal is no error
	case o.ConsoleSocket != "":
		fd, err := connect(o.ConsoleSocket)
		if err != nil {
			return nil, fault.FlagFailed.Atf("--console-socket", "connect %s: %w", o.ConsoleSocket, err)
		}
		return &terminal{socket: fd}, nil
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(pair[1], true)
	}
	if err != nil {
		return nil, fault.LaunchFailed.Atf("process.terminal", "socketpair: %w", err)
	}
	t := &terminal{socket: pair[0], screen: &screen{in: 0, out: 1}, received: make(chan error, 1)}
	go func() { t.received <- t.receive(os.NewFile(uintptr(pair[1]), "console")) }()
	return t, nil
}

// closeSocket lets go of the socket, and of a terminal that was never shown. A second
// call does nothing.
func (t *terminal) closeSocket() {
	if t.received != nil && t.await() == nil {
		t.screen.close()
	}
	if t.socket >= 0 {
		_ = unix.Close(t.socket)
		t.socket = -1
	}
}

// show connects the terminal with stdin and stdout once the child runs its program,
// until t.screen.close.
func (t *terminal) show() error {
	if err := t.await(); err != nil {
		return err
	}
	if err := t.screen.show(); err != nil {
		t.screen.close()
		return err
	}
	return nil
}

// await waits until the master was taken.
func (t *terminal) await() error {
	// A child that sent nothing never will, and this is the last copy of its end.
	_ = unix.Close(t.socket)
	t.socket = -1
	err := <-t.received
	t.received = nil
	return err
}

// receive takes the master.
func (t *terminal) receive(socket *os.File) error {
	defer socket.Close()
	conn, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	master := -1
	var recvErr error
	err = conn.Read(func(fd uintptr) bool {
		master, recvErr = receiveFD(int(fd))
		return recvErr != unix.EAGAIN
	})
	if err = errors.Join(err, recvErr); err != nil {
		return fault.LaunchFailed.Atf("process.terminal", "receive the master: %w", err)
	}
	if err := t.screen.open(master); err != nil {
		return err
	}
	return conn.Control(func(fd uintptr) {
		// The child may have gone on, or be gone.
		_ = unix.Sendmsg(int(fd), []byte{'g'}, nil, nil, unix.MSG_NOSIGNAL)
	})
}

// receiveFD takes a descriptor out of the socket, unix(7) SCM_RIGHTS. EPROTO means that
// something else came, or the end.
func receiveFD(socket int) (int, error) {
	var name [64]byte
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, name[:], oob, unix.MSG_CMSG_CLOEXEC)
	for err == unix.EINTR {
		_, n, _, _, err = unix.Recvmsg(socket, name[:], oob, unix.MSG_CMSG_CLOEXEC)
	}
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return -1, err
	}
	if len(messages) != 1 {
		return -1, unix.EPROTO
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return -1, err
	}
	return fds[0], nil
}
