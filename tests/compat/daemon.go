package compat

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// Daemon is a client's daemon, run by a test. It can be stopped and started again.
type Daemon struct {
	t         testing.TB
	command   func() *exec.Cmd
	ready     func() error
	log       string // a file
	process   *os.Process
	ended     chan struct{}
	arguments []string
}

// Start starts a daemon and waits until ready returns nil. At the test's end it is stopped,
// and its log shown if the test failed. The command is made anew for each start.
func Start(t testing.TB, command func() *exec.Cmd, ready func() error) *Daemon {
	t.Helper()
	d := &Daemon{t: t, command: command, ready: ready, log: filepath.Join(t.TempDir(), "log")}
	t.Cleanup(func() {
		d.Stop()
		d.showLog()
	})
	d.Start()
	return d
}

// Start starts a daemon that was stopped.
func (d *Daemon) Start() {
	d.t.Helper()
	if err := d.Restart(); err != nil {
		d.t.Fatal(err)
	}
}

// Restart is Start for a script, which must not end the test that started the daemon.
func (d *Daemon) Restart() error {
	if err := d.Launch(); err != nil {
		return err
	}
	var last error
	if !harness.Until(60*time.Second, func() bool {
		last = d.ready()
		return last == nil || d.gone()
	}) || last != nil {
		return fmt.Errorf("%v does not get ready: %w", d.arguments, last)
	}
	return nil
}

// Launch is Restart without waiting until the daemon is ready.
func (d *Daemon) Launch() error {
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := d.command()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	d.process, d.ended, d.arguments = cmd.Process, make(chan struct{}), cmd.Args
	go func(ended chan struct{}) {
		_ = cmd.Wait() // how it ends is what the tests see of it
		close(ended)
	}(d.ended)
	return nil
}

// PID is the daemon's process, of the command that was to start it.
func (d *Daemon) PID() int { return d.process.Pid }

// Stop ends the daemon as an administrator does, and by force if that takes long.
func (d *Daemon) Stop() { d.end(unix.SIGTERM) }

// Kill ends it at once.
func (d *Daemon) Kill() { d.end(unix.SIGKILL) }

func (d *Daemon) end(signal unix.Signal) {
	d.t.Helper()
	if d.process == nil {
		return
	}
	_ = d.process.Signal(signal) // it may have ended
	if !harness.Until(30*time.Second, d.gone) {
		d.t.Errorf("process %d survives signal %d", d.process.Pid, signal)
		_ = d.process.Kill()
		<-d.ended
	}
	d.process = nil
}

func (d *Daemon) gone() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

// Control is a command of scripts: kill, stop or start the daemon.
func (d *Daemon) Control(ts *testscript.TestScript, neg bool, args []string) {
	do := map[string]func(){"kill": d.Kill, "stop": d.Stop, "start": func() { ts.Check(d.Restart()) }}
	if neg || len(args) != 1 || do[args[0]] == nil {
		ts.Fatalf("usage: DAEMON kill|stop|start")
	}
	do[args[0]]()
}

// Log is all that the daemon has said, and what it repeats of its shims.
func (d *Daemon) Log() string {
	b, err := os.ReadFile(d.log)
	if err != nil {
		d.t.Error(err)
	}
	return string(b)
}

// showLog shows the end of the log, where the reason of a failure is.
func (d *Daemon) showLog() {
	if !d.t.Failed() {
		return
	}
	b, err := os.ReadFile(d.log)
	if err != nil {
		d.t.Log(err)
		return
	}
	lines := strings.Split(string(bytes.TrimSpace(b)), "\n")
	d.t.Logf("end of the daemon's log:\n%s", strings.Join(lines[max(0, len(lines)-60):], "\n"))
}
