package shim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/manager/bundle"
)

// What is taken of a shim's output, in bytes: of stdout all or nothing, of stderr the beginning.
const (
	maxStdout = 1 << 20
	maxStderr = 8 << 10 // it may become an error's text, which travels in a header
)

// outputGrace is how long output is waited for when the process has ended: some child may have it open.
const outputGrace = time.Second

// run is one run of a shim's binary.
type run struct {
	binary string
	args   []string
	dir    string
	env    []string
	stdin  []byte
	limit  time.Duration
}

// exitError is a run that ended by itself, and not well.
type exitError struct {
	words string // the shim's own
	err   error
}

func (e *exitError) Error() string {
	if e.words == "" {
		return e.err.Error()
	}
	return e.words + ": " + e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// do runs it, in a process group of its own, of which nothing is left when it has failed. The answer is what it wrote to
// stdout; words are what it wrote to stderr.
func (r run) do(ctx context.Context) (answer []byte, words string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.limit, fmt.Errorf("it has not ended after %v", r.limit))
	defer cancel()
	stopped, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	cmd := exec.CommandContext(stopped, r.binary, r.args...)
	cmd.Dir, cmd.Env = r.dir, r.env
	if r.stdin != nil {
		cmd.Stdin = bytes.NewReader(r.stdin)
	}
	stdout := &limited{max: maxStdout, over: func() { stop(fmt.Errorf("it writes more than %d bytes", maxStdout)) }}
	stderr := &limited{max: maxStderr}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return killGroup(cmd.Process.Pid) }
	cmd.WaitDelay = outputGrace
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	err = cmd.Wait()
	words = strings.TrimSpace(string(stderr.data))
	if errors.Is(err, exec.ErrWaitDelay) && cmd.ProcessState.Success() && stopped.Err() == nil {
		err = nil // it has answered
	}
	if err == nil {
		return stdout.data, words, nil
	}
	if stopped.Err() != nil {
		err = fmt.Errorf("%w: %w", context.Cause(stopped), err)
	} else {
		err = &exitError{words: words, err: err}
	}
	// Its leader is reaped, but the kernel gives no new process the number of a group that has members.
	if killErr := killGroup(cmd.Process.Pid); killErr != nil && !errors.Is(killErr, os.ErrProcessDone) {
		err = errors.Join(err, killErr)
	}
	return nil, words, err
}

func killGroup(pid int) error {
	err := unix.Kill(-pid, unix.SIGKILL)
	if err == unix.ESRCH {
		return os.ErrProcessDone
	}
	return err
}

// limited keeps the first bytes of what is written to it.
type limited struct {
	data []byte
	max  int
	over func() // called when there is more; may be nil
}

func (l *limited) Write(p []byte) (int, error) {
	left := l.max - len(l.data)
	l.data = append(l.data, p[:min(left, len(p))]...)
	if len(p) > left && l.over != nil {
		l.over()
	}
	return len(p), nil
}

// command is the command line of an action, as containerd's.
func (l *Launcher) command(b *bundle.Bundle, action string) ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"-namespace", b.Namespace, "-address", l.config.Address, "-publish-binary", self, "-id", b.ID}
	if action == "delete" {
		args = append(args, "-bundle", b.Path)
	}
	if l.config.Debug {
		args = append(args, "-debug")
	}
	return append(args, action), nil
}

// environment is that of all actions, as containerd's.
func (l *Launcher) environment(b *bundle.Bundle) []string {
	env := append(os.Environ(),
		"GOMAXPROCS=2",
		"MAX_SHIM_VERSION=2", // which is what containerd says to this day
		"TTRPC_ADDRESS="+l.config.TTRPCAddress,
		"GRPC_ADDRESS="+l.config.Address,
		"NAMESPACE="+b.Namespace,
	)
	return append(env, l.config.Env...)
}
