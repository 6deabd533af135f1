package shim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/gantry-containers/gantry/manager/bundle"
)

// Our own shim can be started without its start action, which is a process and some milliseconds less: by the action
// serve, with its socket for file 3 and its log for file 2. What start would have to find out is not to be found out for
// a task of its own. Where it is, or anything goes wrong, start is run.

// activates tells whether a shim can be started so.
func (l *Launcher) activates(binary string, b *bundle.Bundle, r Request) bool {
	if binary != l.own || l.binaries.refuses(binary) {
		return false
	}
	if _, ok := os.LookupEnv("SCHED_CORE"); ok {
		return false
	}
	config, err := os.ReadFile(filepath.Join(b.Path, "config.json"))
	if err != nil { // a sandbox
		return false
	}
	for _, name := range groupAnnotations {
		if bytes.Contains(config, []byte(name)) {
			return false
		}
	}
	return plainOptions(r.Options)
}

// plainOptions tells that the options have nothing for start.
func plainOptions(a *anypb.Any) bool {
	if a == nil {
		return true
	}
	var o runcoptions.Options
	return a.UnmarshalTo(&o) == nil && o.ShimCgroup == ""
}

// activate starts the server and connects to it. What fails is undone.
func (l *Launcher) activate(ctx context.Context, b *bundle.Bundle, binary string) (_ *server, err error) {
	answer := &bootapi.BootstrapResult{
		Version: 3, Protocol: transport, Address: addressIn(l.socketDir(b), l.config.Address, b.Namespace, b.ID),
	}
	path, err := socketName(answer.Address)
	if err != nil {
		return nil, err
	}
	listener, err := listen(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, removeIfThere(path)) // while nobody else can have the name
		}
		listener.Close()
	}()
	// It is noted before there is a process: who is killed in between finds it.
	if err := writeFile(b, addressFile, []byte(answer.Address), 0o600); err != nil {
		return nil, err
	}
	pid, err := l.serve(b, binary, path, listener)
	if err != nil {
		return nil, err
	}
	child, err := adopt(pid)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, l.limits.answer)
	defer cancel()
	stop := context.AfterFunc(child.ended, cancel) // our copy of the socket keeps the connection open
	defer stop()
	server, err := l.connect(ctx, b, answer, child)
	if err == nil {
		if err = save(b, answer); err != nil {
			l.release(server)
		}
	}
	if err != nil {
		if child.gone() {
			err = errEnded
		}
		return nil, errors.Join(err, child.end())
	}
	return server, nil
}

// errEnded is a server that has ended before it answered.
var errEnded = errors.New("it has ended without an answer")

// listen makes a socket for root alone. The directory is locked as shims lock it: without, one that comes between bind(2)
// and listen(2) takes the socket for a dead one's.
func listen(path string) (*net.UnixListener, error) {
	dir := filepath.Dir(path)
	lock, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(dir), 0o711); err != nil {
			return nil, err
		}
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		lock, err = os.Open(dir)
	}
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	for {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX)
		if err == nil {
			break
		} else if err != unix.EINTR {
			return nil, &os.PathError{Op: "flock", Path: dir, Err: err}
		}
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		// The file that bind makes has the mode of the socket's inode, less the umask.
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }), err)
	}}
	l, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	u := l.(*net.UnixListener)
	u.SetUnlinkOnClose(false) // the server listens on
	return u, nil
}

// serve starts the process.
func (l *Launcher) serve(b *bundle.Bundle, binary, path string, listener *net.UnixListener) (pid int, err error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	// Its own opening of the fifo, which never makes it wait, nor kills it when this process goes.
	log, err := unix.Open(filepath.Join(b.Path, logName), unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, &os.PathError{Op: "open", Path: filepath.Join(b.Path, logName), Err: err}
	}
	defer unix.Close(log)
	args := []string{binary, "-namespace", b.Namespace, "-id", b.ID, "-address", l.config.Address, "-bundle", b.Path, "-socket", path}
	if l.config.Debug {
		args = append(args, "-debug")
	}
	raw, err := listener.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Control(func(socket uintptr) {
		pid, failed = syscall.ForkExec(binary, append(args, "serve"), &syscall.ProcAttr{
			Dir:   "/",
			Env:   l.serverEnvironment(b),
			Files: []uintptr{null.Fd(), null.Fd(), uintptr(log), socket},
			Sys:   &syscall.SysProcAttr{Setsid: true},
		})
	})
	if err := errors.Join(err, failed); err != nil {
		return 0, fmt.Errorf("%s: %w", binary, err)
	}
	return pid, nil
}

// serverEnvironment is environment for a server: one thread at a time runs Go code there, as each has caches of its own.
func (l *Launcher) serverEnvironment(b *bundle.Bundle) []string {
	const procs = "GOMAXPROCS="
	env := []string{procs + "1"}
	for _, e := range l.environment(b) {
		if !strings.HasPrefix(e, procs) {
			env = append(env, e)
		}
	}
	return env
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
