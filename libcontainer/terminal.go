package libcontainer

import (
	"errors"
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// terminal is how the pty of a process reaches its user: through a console socket to
// somebody else, or through this runtime's own stdin and stdout.
type terminal struct {
	socket int // what the launch gets: its child sends the pty's master here by SCM_RIGHTS
	peer   int // the other end in the foreground, -1 with a console socket
	screen *screen
}

// openTerminal returns nil when the process has no terminal.
func openTerminal(p *specs.Process, o *LaunchOptions) (*terminal, error) {
	wanted := p != nil && p.Terminal
	switch {
	case o.Detach && wanted && o.ConsoleSocket == "":
		return nil, errors.New("cannot allocate tty if runc will detach without setting console socket")
	case (!o.Detach || !wanted) && o.ConsoleSocket != "":
		return nil, errors.New("cannot use console socket if runc will not detach or allocate tty")
	case !wanted:
		return nil, nil //nolint:nilnil // no terminal is no error
	case o.ConsoleSocket != "":
		fd, err := connect(o.ConsoleSocket)
		if err != nil {
			return nil, fmt.Errorf("--console-socket: connect %s: %w", o.ConsoleSocket, err)
		}
		return &terminal{socket: fd, peer: -1}, nil
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("process.terminal: socketpair: %w", err)
	}
	return &terminal{socket: pair[0], peer: pair[1], screen: &screen{in: 0, out: 1}}, nil
}

// closeSocket lets go of the sockets. A second call does nothing.
func (t *terminal) closeSocket() {
	for _, fd := range []*int{&t.socket, &t.peer} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
			*fd = -1
		}
	}
}

// receive takes the master that the child sent before it executed the program. It may
// be called as soon as the child did, and again.
func (t *terminal) receive() error {
	if t.screen.master != nil {
		return nil
	}
	fd, err := receiveFD(t.peer)
	if err != nil {
		return fmt.Errorf("process.terminal: receive the master: %w", err)
	}
	return t.screen.open(fd)
}

// receiveFD takes a descriptor that already waits in the socket.
func receiveFD(socket int) (int, error) {
	var name [64]byte
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, name[:], oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
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

// inheritSize gives a terminal in the foreground the size of ours before the program can
// ask for it. The configured size is for terminals that nobody shows.
func inheritSize(p *specs.Process, o *LaunchOptions) {
	if p == nil || !p.Terminal || o.Detach {
		return
	}
	if size := sizeOf(0, 1, 2); size != nil {
		p.ConsoleSize = &specs.Box{Height: uint(size.Row), Width: uint(size.Col)}
	}
}
