package pid1

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"
)

// Exit codes of a program that could not be started, as shells have them.
const (
	notExecutable = 126
	notFound      = 127
	// bySignal is added to the number of the signal that ended the program.
	bySignal = 128
)

// Main runs the command after "--" and returns its exit code. Arguments are those after the program's own name.
func Main(args []string, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(stderr, "usage: docker-init -- program [argument ...]")
		return 1
	}
	// One of us is in every container that wants an init: memory is better spent elsewhere.
	debug.SetGCPercent(20)
	// Before the program is there: a signal in between would be lost.
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	pid, err := start(args)
	if err != nil {
		fmt.Fprintf(stderr, "docker-init: %s: %v\n", args[0], err)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
			return notFound
		}
		return notExecutable
	}
	for s := range signals {
		switch s {
		case unix.SIGCHLD:
			if code, ended := reap(pid); ended {
				return code
			}
		case unix.SIGURG, unix.SIGTTIN, unix.SIGTTOU, unix.SIGPIPE:
			// Go's own business, and that of who reads a terminal in the background.
		default:
			_ = unix.Kill(pid, s.(syscall.Signal)) // It may have ended: then SIGCHLD says so.
		}
	}
	return 1 // The channel is never closed.
}

// start starts the program in a process group of its own, to which the terminal belongs if there is one: what is typed
// (ctrl-c) goes there, and not to us as well.
func start(args []string) (int, error) {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return 0, err
	}
	attr := &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setpgid: true}}
	if _, err := unix.IoctlGetTermios(0, unix.TCGETS); err == nil {
		attr.Sys.Foreground, attr.Sys.Ctty = true, 0
	}
	pid, err := syscall.ForkExec(path, args, attr) //nolint:forbidigo // inside a container: the runtime's work is done
	if attr.Sys.Foreground && errors.Is(err, unix.ENOTTY) {
		// A terminal, but not the one that we are the session of.
		attr.Sys.Foreground = false
		pid, err = syscall.ForkExec(path, args, attr) //nolint:forbidigo // as above
	}
	return pid, err
}

// reap takes in all that have ended, and says how the program did if it is among them.
func reap(program int) (code int, ended bool) {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid == 0 {
			return code, ended
		}
		if pid != program {
			continue
		}
		ended = true
		if code = status.ExitStatus(); status.Signaled() {
			code = bySignal + int(status.Signal())
		}
	}
}
