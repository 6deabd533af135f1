package libcontainer

import (
	"path"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/libcontainer/launch"
	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/state"
)

// writePidFile writes the decimal pid, without a newline: clients parse the raw bytes. It
// appears at once with its content, because BuildKit reads it the moment it exists.
func writePidFile(file string, pid int) error {
	if file == "" {
		return nil
	}
	dir, base := path.Split(file)
	temp := dir + "." + base
	fd, err := unix.Open(temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o666)
	if err == unix.EEXIST { // of a runtime that was killed here
		if err = unix.Unlink(temp); err == nil {
			fd, err = unix.Open(temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o666)
		}
	}
	if err != nil {
		return err
	}
	_, err = unix.Write(fd, []byte(strconv.Itoa(pid)))
	if closeErr := unix.Close(fd); err == nil {
		err = closeErr
	}
	if err == nil {
		err = unix.Rename(temp, file)
	}
	if err != nil {
		_ = unix.Unlink(temp)
	}
	return err
}

// pidfdAnnotation is how crun is asked for what --pidfd-socket is for.
const pidfdAnnotation = "run.oci.pidfd_receiver"

// sendPidfd sends a pidfd of the process to the socket.
func sendPidfd(socket string, pidfd int) error {
	if socket == "" {
		return nil
	}
	fd, err := connect(socket)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendmsg(fd, []byte("pidfd"), unix.UnixRights(pidfd), nil, 0)
}

// sendListener sends the seccomp notification descriptor with the container's state,
// config-linux.md "The Container Process State".
func sendListener(a *plan.SendSeccompFD, p *launch.Process, st *state.State, status Status) error {
	fd, err := connect(a.ListenerPath)
	if err != nil {
		// runc's words; its users look for them.
		return fault.LaunchFailed.Atf("linux.seccomp.listenerPath", "failed to connect with seccomp agent %s: %w", a.ListenerPath, err)
	}
	defer unix.Close(fd)
	msg := processState(p.PID, a.Metadata, st, status)
	if err := unix.Sendmsg(fd, msg, unix.UnixRights(p.Listener), nil, 0); err != nil {
		return &launch.Error{Field: "linux.seccomp.listenerPath", Op: a, Call: "sendmsg", Errno: err}
	}
	return nil
}

// connect connects to a unix stream socket by path.
func connect(socket string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
