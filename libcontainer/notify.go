package libcontainer

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/libcontainer/state"
)

// The environment variable of sd_notify(3), and the directory in which the container has
// its socket.
const (
	notifyVariable  = "NOTIFY_SOCKET="
	notifyDirInside = "/run/notify"
)

// prepareNotify gives the container a socket of its own, by which it tells that it is
// ready. The directory is mounted, not the socket: `start` makes that anew.
func prepareNotify(spec *specs.Spec, root, id string) {
	spec.Mounts = append(spec.Mounts, specs.Mount{
		Destination: notifyDirInside,
		Source:      root + "/" + id + "/" + state.NotifyDir,
		Options:     []string{"bind", "nosuid", "noexec", "nodev", "ro"},
	})
	if p := spec.Process; p != nil {
		env := slices.DeleteFunc(slices.Clone(p.Env), func(e string) bool { return strings.HasPrefix(e, notifyVariable) })
		p.Env = append(env, notifyVariable+notifyDirInside+"/"+state.NotifySocket)
	}
}

// makeNotifyDir makes the directory that prepareNotify has mounted. It is removed with the
// container's.
func makeNotifyDir(dir *state.Dir) error {
	err := unix.Mkdirat(dir.FD(), state.NotifyDir, 0o755)
	if err == nil { // whatever the umask
		err = unix.Fchmodat(dir.FD(), state.NotifyDir, 0o755, 0)
	}
	if err != nil {
		return fault.StateFailed.Errorf("mkdir %s/%s: %w", dir.Path(), state.NotifyDir, err)
	}
	return nil
}

// notifier tells the service manager that started the runtime what the container tells.
type notifier struct {
	socket int    // the container's
	host   string // the service manager's
	done   chan error
}

// listenNotify makes the container's socket, before its program starts. It returns nil
// when there is no service manager or the container was created without one.
func listenNotify(dir *state.Dir, host string) (*notifier, error) {
	if host == "" {
		return nil, nil //nolint:nilnil // nobody to tell is no error
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("notify socket: %w", err)
	}
	// Through the descriptor: an address holds no more than 107 bytes.
	path := "/proc/self/fd/" + strconv.Itoa(dir.FD()) + "/" + state.NotifyDir + "/" + state.NotifySocket
	if err = unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err == unix.EADDRINUSE { // of a start that failed
		if err = unix.Unlink(path); err == nil {
			err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
		}
	}
	if err == unix.ENOENT {
		_ = unix.Close(fd)
		return nil, nil //nolint:nilnil // created without
	}
	if err == nil {
		err = unix.Chmod(path, 0o777) // any user of the container may write
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("notify socket: %w", err)
	}
	return &notifier{socket: fd, host: host}, nil
}

// close lets go of the socket; the container's messages are refused from then on and
// don't pile up. It may be called on nil.
func (n *notifier) close() {
	if n != nil && n.socket >= 0 {
		_ = unix.Close(n.socket)
		n.socket = -1
	}
}

// forward waits until the container is ready, passes that on and names mainPID as the
// service's process. It returns nil when the process behind pidfd ends first.
func (n *notifier) forward(pidfd, mainPID int) error {
	defer n.close()
	ready, err := n.awaitReady(pidfd)
	if err == nil && ready != "" {
		err = tellReady(n.host, ready, mainPID)
	}
	if err != nil {
		return fault.FlagFailed.Of("NOTIFY_SOCKET", fmt.Errorf("NOTIFY_SOCKET %s: %w", n.host, err))
	}
	return nil
}

// forwardBeside does the same beside what the caller goes on with, until finish. The
// pidfd is still open then.
func (n *notifier) forwardBeside(pidfd, mainPID int) {
	if n == nil {
		return
	}
	n.done = make(chan error, 1)
	go func() { n.done <- n.forward(pidfd, mainPID) }()
}

// finish waits for forwardBeside after the process has ended. It may be called on nil.
func (n *notifier) finish() error {
	if n == nil {
		return nil
	}
	return <-n.done
}

// awaitReady returns the line with which the container tells that it is ready, "" when it
// ended before.
func (n *notifier) awaitReady(pidfd int) (string, error) {
	var buf [4096]byte
	for {
		fds := []unix.PollFd{{Fd: int32(n.socket), Events: unix.POLLIN}, {Fd: int32(pidfd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return "", fmt.Errorf("poll: %w", err)
		}
		// A message comes before the end, even if it was the last thing.
		size, err := unix.Read(n.socket, buf[:])
		if err == unix.EAGAIN && fds[1].Revents != 0 {
			return "", nil
		}
		if err != nil && err != unix.EAGAIN && err != unix.EINTR {
			return "", fmt.Errorf("read: %w", err)
		}
		if line := readyLine(string(buf[:max(size, 0)])); line != "" {
			return line, nil
		}
	}
}

// readyLine finds READY= among the lines of a message. Nothing else is passed on: a
// container has no business in the manager's view of its service.
func readyLine(message string) string {
	for line := range strings.SplitSeq(message, "\n") {
		if strings.HasPrefix(line, "READY=") {
			return line
		}
	}
	return ""
}

// tellReady passes readiness on and waits until the service manager has dealt with it: it
// might not find out who sent the messages once the runtime has exited.
func tellReady(host, ready string, mainPID int) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: host}); err != nil { // "@" is an abstract address
		return fmt.Errorf("connect: %w", err)
	}
	for _, message := range []string{ready + "\n", "MAINPID=" + strconv.Itoa(mainPID) + "\n"} {
		if err := unix.Sendmsg(fd, []byte(message), nil, nil, unix.MSG_NOSIGNAL); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	return barrier(fd, barrierWait)
}

// barrierWait is how long a service manager may take, in milliseconds.
const barrierWait = 30_000

// barrier waits until the receiver has dealt with all messages so far: it closes the
// descriptor that comes with the last one, sd_notify_barrier(3).
func barrier(socket, wait int) error {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("pipe2: %w", err)
	}
	defer unix.Close(pipe[0])
	err := unix.Sendmsg(socket, []byte("BARRIER=1"), unix.UnixRights(pipe[1]), nil, unix.MSG_NOSIGNAL)
	_ = unix.Close(pipe[1])
	if err != nil {
		return fmt.Errorf("send BARRIER=1: %w", err)
	}
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pipe[0])}}, wait)
		switch {
		case err == unix.EINTR: // a signal that is passed on; waiting anew is as good
		case err != nil:
			return fmt.Errorf("poll: %w", err)
		case n == 0:
			return fmt.Errorf("BARRIER=1: %w", unix.ETIMEDOUT)
		default:
			return nil
		}
	}
}
