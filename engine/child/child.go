package child

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// startPatience is how long a daemon may take until it answers: it reads all that it has.
	startPatience = 60 * time.Second
	// stopPatience is how long it may take to end by itself.
	stopPatience = 10 * time.Second
	poll         = 10 * time.Millisecond
)

// Daemon is what can be started.
type Daemon struct {
	// Name is what it is called in messages, and by its files in Dir: NAME.pid and NAME.log.
	Name, Dir string
	// Program and Args are run. Args name the socket.
	Program string
	Args    []string
	// Env is the whole environment, but for PATH, in which the folder of Program is the first.
	Env []string
	// Socket is where it takes connections when it is ready.
	Socket string
}

// Process is a daemon that runs.
type Process struct {
	Pid    int
	daemon Daemon
	ended  <-chan struct{}
}

// Ended is closed when it has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Adopt finds the process that another engine left; nil when there is none that answers.
func (d Daemon) Adopt(ctx context.Context) (*Process, error) {
	b, err := os.ReadFile(d.pidfile())
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b))) // Half a file after a crash is no process.
	if pid < 2 || !serves(pid, d.Socket) {
		return nil, nil
	}
	p := &Process{Pid: pid, daemon: d, ended: waiter(pid)}
	if err := d.answers(ctx, p.ended); err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		slog.Warn("the "+d.Name+" that is there does not answer: it is replaced", "pid", pid, "error", err)
		_ = syscall.Kill(pid, syscall.SIGKILL)
		<-p.ended
		return nil, nil
	}
	slog.Info("the "+d.Name+" of before is still there", "pid", pid, "address", d.Socket)
	return p, nil
}

// Launch starts a process in a session of its own, so that what ends this engine does not end it, and returns when it
// answers.
func (d Daemon) Launch(ctx context.Context) (*Process, error) {
	log, err := d.openLog()
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(d.Program, d.Args...)
	cmd.Dir = "/"
	cmd.Env = withPath(d.Env, filepath.Dir(d.Program))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	p := &Process{Pid: cmd.Process.Pid, daemon: d, ended: ended}
	go func() {
		err := cmd.Wait()
		slog.Debug("the "+d.Name+" ended", "pid", p.Pid, "how", err)
		close(ended)
	}()
	err = d.writePid(p.Pid)
	if err == nil {
		err = d.answers(ctx, p.ended)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		<-p.ended
		return nil, fmt.Errorf("start %s: %w (its log is %s)", d.Program, err, log.Name())
	}
	slog.Info(d.Name+" started", "pid", p.Pid, "address", d.Socket)
	return p, nil
}

// Stop ends the process, and waits until it has.
func (p *Process) Stop() error {
	if !serves(p.Pid, p.daemon.Socket) {
		return nil
	}
	if err := syscall.Kill(p.Pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	select {
	case <-p.ended:
	case <-time.After(stopPatience):
		slog.Warn("the "+p.daemon.Name+" does not end: it is killed", "pid", p.Pid)
		_ = syscall.Kill(p.Pid, syscall.SIGKILL)
		<-p.ended
	}
	if err := os.Remove(p.daemon.pidfile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d Daemon) pidfile() string { return filepath.Join(d.Dir, d.Name+".pid") }

// maxLog is how long the log may be when a daemon starts, in bytes.
const maxLog = 10 << 20

// openLog keeps the log of one daemon before. A pipe to this engine would break when it dies.
func (d Daemon) openLog() (*os.File, error) {
	path := filepath.Join(d.Dir, d.Name+".log")
	if st, err := os.Stat(path); err == nil && st.Size() > maxLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

func (d Daemon) writePid(pid int) error {
	path := d.pidfile()
	if err := os.WriteFile(path+".new", []byte(strconv.Itoa(pid)), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// answers waits until somebody takes connections at the socket.
func (d Daemon) answers(ctx context.Context, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "unix", d.Socket)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ended:
			return errors.New("it ended at once")
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w", err)
		case <-time.After(poll):
		}
	}
}

// withPath puts a folder in front of PATH.
func withPath(env []string, dir string) []string {
	out := make([]string, 0, len(env)+1)
	path := []string{dir}
	for _, e := range env {
		if old, ok := strings.CutPrefix(e, "PATH="); ok {
			path = append(path, old)
			continue
		}
		if !strings.HasPrefix(e, "NOTIFY_SOCKET=") && !strings.HasPrefix(e, "LISTEN_") {
			out = append(out, e)
		}
	}
	return append(out, "PATH="+strings.Join(path, string(os.PathListSeparator)))
}
