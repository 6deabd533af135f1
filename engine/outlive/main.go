package outlive

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"
)

// Process is what serves a state folder.
type Process struct {
	// Dir is the state folder.
	Dir string
	// TakeOver says that another process serves the folder, whose place this one takes.
	TakeOver bool
	// Ready tells who started this process that it can be asked.
	Ready func()
}

// Main runs a hidden mode: serve is called with what the arguments say (--state, --take-over). The file descriptor 3 is
// closed when engines can connect. It returns the exit status.
func Main(mode string, args []string, serve func(Process) error) int {
	if err := run(mode, args, serve); err != nil {
		slog.Error(mode, "error", err)
		return 1
	}
	return 0
}

func run(mode string, args []string, serve func(Process) error) error {
	flags := flag.NewFlagSet(mode, flag.ContinueOnError)
	dir := flags.String("state", "", "folder of the socket and what else is kept")
	takeOver := flags.Bool("take-over", false, "take over from the process that runs")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if !filepath.IsAbs(*dir) {
		return errors.New("--state has to be an absolute path")
	}
	// This process lives for months and does little: it trades a few more collections for memory.
	debug.SetGCPercent(25)
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE)
	syscall.Umask(0o027)
	if err := os.Chdir("/"); err != nil {
		return err
	}
	return serve(Process{Dir: *dir, TakeOver: *takeOver, Ready: func() {
		if ready := os.NewFile(3, "ready"); ready != nil {
			ready.Close()
		}
	}})
}

// Socket is where a mode's process listens, in its state folder.
func Socket(dir, mode string) string { return filepath.Join(dir, mode+".sock") }

// Listen makes a socket for this user only. A socket that nobody serves is replaced.
func Listen(path string) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // Who takes over listens there.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Build names the build of this program: a process of another build is replaced.
func Build() string {
	info, err := os.Stat("/proc/self/exe")
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d-%d", info.Size(), info.ModTime().UnixNano())
}

// Trusted lets root and this user in.
func Trusted(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var e error
	err = raw.Control(func(fd uintptr) { cred, e = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(err, e); err != nil {
		return err
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return fmt.Errorf("process %d of user %d", cred.Pid, cred.Uid)
	}
	return nil
}
