package libcontainer

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/fault"
)

// screen connects a pty's master with the stdin and stdout of this process.
type screen struct {
	in, out int
	master  *os.File
	cooked  *unix.Termios // what to give back to stdin, nil when it is no terminal
	copied  chan struct{} // closed when nothing more is copied to out
}

// open takes over the master and makes it what suits stdout.
func (s *screen) open(master int) error {
	err := unix.SetNonblock(master, true)
	s.master = os.NewFile(uintptr(master), "master")
	if err == nil && !isTerminal(s.out) {
		err = keepLineEnds(master)
	}
	if err != nil {
		_ = s.master.Close()
		return fault.LaunchFailed.Atf("process.terminal", "set the master's mode: %w", err)
	}
	s.resize()
	return nil
}

// keepLineEnds stops a terminal from writing \r\n for \n: behind a pipe or file nobody
// makes \n of that.
func keepLineEnds(master int) error {
	mode, err := unix.IoctlGetTermios(master, unix.TCGETS)
	if err != nil {
		return err
	}
	mode.Oflag &^= unix.ONLCR
	return unix.IoctlSetTermios(master, unix.TCSETS, mode)
}

// show begins to copy, both ways.
func (s *screen) show() error {
	if err := s.makeRaw(); err != nil {
		return fault.LaunchFailed.Atf("process.terminal", "set stdin's mode: %w", err)
	}
	s.copied = make(chan struct{})
	go s.copyOut()
	go s.copyIn()
	return nil
}

// close ends the copying after the process has ended: what it wrote is written, and
// stdin is what it was.
func (s *screen) close() {
	if s.copied != nil {
		_ = s.master.SetReadDeadline(time.Unix(1, 0)) // wakes copyOut
		<-s.copied
		s.drain()
	}
	if s.cooked != nil {
		_ = unix.IoctlSetTermios(s.in, unix.TCSETS, s.cooked)
		s.cooked = nil
	}
	_ = s.master.Close()
}

// copyOut copies until the last process has closed the terminal (EIO) or close
// interrupts. When stdout fails it hangs up the terminal, as losing a real one does.
func (s *screen) copyOut() {
	defer close(s.copied)
	buf := make([]byte, 32<<10)
	for {
		n, err := s.master.Read(buf)
		if writeAll(s.out, buf[:n]) != nil {
			_ = s.master.Close()
			return
		}
		if err != nil {
			return
		}
	}
}

// drain copies what the ended process left in the terminal. EAGAIN means that nothing is
// left: the kernel's read pushes pending output through first. Others may still write:
// more than a terminal holds is not the ended process's.
func (s *screen) drain() {
	const holds = 1 << 20
	buf := make([]byte, 32<<10)
	for sum := 0; sum < holds; {
		n, err := 0, error(nil)
		s.control(func(fd int) { n, err = unix.Read(fd, buf) })
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 || writeAll(s.out, buf[:n]) != nil {
			return
		}
		sum += n
	}
}

// control calls f with the master's descriptor unless it was closed.
func (s *screen) control(f func(fd int)) {
	if conn, err := s.master.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) { f(int(fd)) })
	}
}

// copyIn copies until stdin ends, which means nothing to the program: a terminal has no
// end. At the end of the process it is left behind in its read.
func (s *screen) copyIn() {
	buf := make([]byte, 4<<10)
	for {
		n, err := unix.Read(s.in, buf)
		if again(s.in, unix.POLLIN, err) {
			continue
		}
		if err != nil || n == 0 {
			return
		}
		if _, err := s.master.Write(buf[:n]); err != nil {
			return
		}
	}
}

// writeAll writes to a descriptor that may be non-blocking: it is shared with others.
func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if again(fd, unix.POLLOUT, err) {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// again reports whether a read or write is to be repeated, and waits until it is worth it.
func again(fd int, events int16, err error) bool {
	if errors.Is(err, unix.EAGAIN) {
		_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, -1)
		return err == nil || err == unix.EINTR
	}
	return err == unix.EINTR
}

// makeRaw makes stdin pass every key on: the terminal of the container interprets them.
// Output is left alone when it goes elsewhere.
func (s *screen) makeRaw() error {
	tio, err := unix.IoctlGetTermios(s.in, unix.TCGETS)
	if err != nil {
		return nil //nolint:nilerr // no terminal
	}
	raw := *tio
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if isTerminal(s.out) {
		raw.Oflag &^= unix.OPOST
	}
	if err := unix.IoctlSetTermios(s.in, unix.TCSETS, &raw); err != nil {
		return err
	}
	s.cooked = tio
	return nil
}

func isTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// resize gives the container's terminal the size of ours.
func (s *screen) resize() {
	if size := sizeOf(s.in, s.out, 2); size != nil {
		s.control(func(fd int) { _ = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, size) })
	}
}

// sizeOf is the size of the first descriptor that is a terminal of any size, or nil.
func sizeOf(fds ...int) *unix.Winsize {
	for _, fd := range fds {
		size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
		if err == nil && size.Row != 0 && size.Col != 0 {
			return size
		}
	}
	return nil
}
