package outlive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxLog is the size in bytes from which a process's own log is begun anew when it starts.
const maxLog = 1 << 20

// ErrLost says that the process went away before it answered.
var ErrLost = errors.New("the process has gone")

// Starter starts the process of a mode.
type Starter struct {
	// Dir is the state folder.
	Dir string
	// Mode is the first argument, and what socket, lock and log are called after.
	Mode string
	// Program that has the mode, with arguments that come before it; this program when empty.
	Program []string
	// Build is what a process has to be; one of another build is replaced. Empty for any.
	Build string
}

// Connect finds the process, starts it, or lets a new one take over. It is asked for its build with hello, which may be
// called again for the next one.
func (s Starter) Connect(ctx context.Context, hello func(*Wire) (build string, err error)) error {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	w, build, err := s.dial(ctx, hello)
	switch {
	case err != nil:
		err = s.start(ctx, false)
	case s.Build == "" || s.Build == build:
		return nil
	default:
		if err := s.start(ctx, true); err != nil {
			slog.Error("a process of another build stays", "mode", s.Mode, "error", err)
			return nil
		}
		w.Close()
	}
	if err != nil {
		return err
	}
	_, _, err = s.dial(ctx, hello)
	return err
}

// lock keeps two engines from starting two processes.
func (s Starter) lock() (func(), error) {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(s.Dir, s.Mode+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { f.Close() }, nil
}

func (s Starter) dial(ctx context.Context, hello func(*Wire) (string, error)) (*Wire, string, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", Socket(s.Dir, s.Mode))
	if err != nil {
		return nil, "", err
	}
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, "", errors.Join(errors.New("not a unix socket"), conn.Close())
	}
	w := NewWire(unix)
	// A process that is stopped must not hang the engine for ever.
	_ = unix.SetDeadline(time.Now().Add(10 * time.Second))
	build, err := hello(w)
	if err != nil {
		return nil, "", errors.Join(err, conn.Close())
	}
	_ = unix.SetDeadline(time.Time{})
	return w, build, nil
}

// start runs a process in a session of its own, and waits until it can be asked.
func (s Starter) start(ctx context.Context, takeOver bool) error {
	program := s.Program
	if len(program) == 0 {
		program = []string{"/proc/self/exe"}
	}
	args := append(program[1:len(program):len(program)], s.Mode, "--state", s.Dir)
	if takeOver {
		args = append(args, "--take-over")
	}
	log, err := s.log()
	if err != nil {
		return err
	}
	defer log.Close()
	ready, report, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	cmd := exec.Command(program[0], args...)
	cmd.Args[0] = "gantry-engine"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{report}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	report.Close()
	if err != nil {
		return err
	}
	died := make(chan error, 1)
	go func() { died <- cmd.Wait() }() // It is this process's child as long as this one lives.
	answered := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, ready)
		close(answered)
	}()
	select {
	case <-answered:
	case <-ctx.Done():
		_ = cmd.Process.Kill()
		return ctx.Err()
	}
	select {
	case err := <-died:
		return fmt.Errorf("the %s ended at once (see %s): %w", s.Mode, log.Name(), errors.Join(err, ErrLost))
	default:
		return nil
	}
}

func (s Starter) log() (*os.File, error) {
	path := filepath.Join(s.Dir, s.Mode+".log")
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		os.Remove(path)
	}
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}
