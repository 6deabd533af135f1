package stdio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// afterEnd is how long a logger may go on when its input has ended, or cannot end because an orphan has it open.
	afterEnd = 2 * time.Second
	// afterTerm is how long it may then clean up, as containerd gives it.
	afterTerm = 12 * time.Second
	// readyLimit is how long it may take to say that it is ready: whoever creates a container has no limit of his own.
	readyLimit = 10 * time.Second
)

// loggers are those that were closed and have not ended.
var loggers sync.WaitGroup

// WaitLoggers waits for loggers that have their end and are not through: before a shim leaves, for it is their parent.
func WaitLoggers(ctx context.Context) {
	done := make(chan struct{})
	go func() { loggers.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// logger is the program of a binary:// URL: stdout is its descriptor 3, stderr 4, and it closes 5 when it is ready.
type logger struct {
	cmd                 *exec.Cmd
	afterEnd, afterTerm time.Duration
}

// startLogger returns when the logger is ready: it has closed descriptor 5, with binary-v2 after writing a byte. One
// that leaves before, or does not become ready in time, is an error.
func startLogger(ctx context.Context, t target, spec Spec, dir string, in [2]*os.File) (*logger, error) {
	args, err := loggerArgs(t.query)
	if err != nil {
		return nil, fmt.Errorf("logger %s: %w", t.path, err)
	}
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	readyR, readyW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer readyR.Close()
	cmd := exec.Command(t.path, args...)
	l := &logger{cmd, afterEnd, afterTerm}
	l.cmd.Dir = dir
	l.cmd.Env = []string{"CONTAINER_ID=" + spec.ID, "CONTAINER_NAMESPACE=" + spec.Namespace}
	l.cmd.ExtraFiles = []*os.File{in[0], in[1], readyW}
	err = l.cmd.Start()
	readyW.Close()
	if err != nil {
		return nil, fmt.Errorf("logger %s: %w", t.path, err)
	}
	if err := l.awaitReady(ctx, readyR, t.scheme == "binary-v2"); err != nil {
		_ = l.cmd.Process.Kill()
		if waitErr := l.cmd.Wait(); errors.Is(err, errGone) && waitErr != nil {
			err = fmt.Errorf("%w: %w", err, waitErr)
		}
		return nil, fmt.Errorf("logger %s: %w", t.path, err)
	}
	return l, nil
}

// loggerArgs are the query's keys, each with its first value, in the query's order.
func loggerArgs(query string) ([]string, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, err
	}
	var args []string
	for part := range strings.SplitSeq(query, "&") {
		key, _, _ := strings.Cut(part, "=")
		if key, err = url.QueryUnescape(key); err != nil {
			return nil, err
		}
		if v, ok := values[key]; ok {
			args = append(args, key, v[0])
			delete(values, key)
		}
	}
	return args, nil
}

var errGone = errors.New("ended before it was ready")

func (l *logger) awaitReady(ctx context.Context, ready *os.File, wantsByte bool) error {
	defer context.AfterFunc(ctx, func() { _ = ready.SetReadDeadline(time.Now()) })()
	n, err := ready.Read(make([]byte, 1))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("not ready: %w", ctx.Err())
	case err != nil && err != io.EOF:
		return err
	case n == 1:
		return nil
	case l.isLeaving():
		return errGone
	case wantsByte:
		return errors.New("closed descriptor 5 without a byte: not ready")
	}
	return nil
}

// exiting is PF_EXITING of the kernel's include/linux/sched.h: set before a process's descriptors are closed.
const exiting = 0x4

// isLeaving tells the logger that closed descriptor 5 from the one whose exit did, by proc_pid_stat(5).
func (l *logger) isLeaving() bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(l.cmd.Process.Pid) + "/stat")
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(b[strings.LastIndexByte(string(b), ')')+1:]), " ")
	fields := strings.Fields(rest) // from the third on: state, …, flags is the ninth
	if len(fields) < 7 {
		return false
	}
	flags, err := strconv.ParseUint(fields[6], 10, 64)
	return err == nil && flags&exiting != 0
}

// end waits for the logger, whose input has been closed, for a time; then a goroutine does, with signals.
func (l *logger) end(here time.Duration) {
	gone := make(chan struct{})
	go func() { _ = l.cmd.Wait(); close(gone) }()
	loggers.Go(func() { l.press(gone) })
	select {
	case <-gone:
	case <-time.After(here):
	}
}

func (l *logger) press(gone <-chan struct{}) {
	for _, step := range []struct {
		after  time.Duration
		signal syscall.Signal
	}{{l.afterEnd, syscall.SIGTERM}, {l.afterTerm, syscall.SIGKILL}} {
		select {
		case <-gone:
			return
		case <-time.After(step.after):
			_ = l.cmd.Process.Signal(step.signal)
		}
	}
	<-gone
}
