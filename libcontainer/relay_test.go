package libcontainer

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/launch"
)

// foregroundEnv makes a copy of the test binary a runtime that runs a shell script in the
// foreground: with a "terminal" or "plain".
const foregroundEnv = "GANTRY_FOREGROUND"

// foregroundChild is that copy. Instead of a launch it does with the pty what a
// launch's child does.
func foregroundChild(mode, script string) error {
	relay, err := newRelay(true)
	if err != nil {
		return err
	}
	tty, err := openTerminal(&specs.Process{Terminal: mode == "terminal"}, &LaunchOptions{})
	if err != nil {
		return err
	}
	if early := os.Getenv(foregroundEnv + "_EARLY"); early != "" {
		sig, err := strconv.Atoi(early)
		if err != nil {
			return err
		}
		if err := unix.Kill(unix.Getpid(), unix.Signal(sig)); err != nil {
			return err
		}
	}
	p, err := spawnShell(tty, script)
	if err != nil {
		return err
	}
	status, err := relay.wait(p, tty)
	if err != nil {
		return err
	}
	if tty != nil {
		tty.closeSocket()
	}
	relay.stop()
	os.Exit(status)
	return nil
}

func spawnShell(tty *terminal, script string) (*launch.Process, error) {
	attr := &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Env: os.Environ(), Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}}
	if tty != nil {
		master, slave, err := openPty()
		if err != nil {
			return nil, err
		}
		defer slave.Close()
		defer master.Close()
		if err := unix.Sendmsg(tty.socket, []byte("/dev/pts/ptmx"), unix.UnixRights(int(master.Fd())), nil, 0); err != nil {
			return nil, err
		}
		if n, err := unix.Read(tty.socket, make([]byte, 1)); n != 1 {
			return nil, fmt.Errorf("no answer to the master: %w", err)
		}
		attr.Files = []*os.File{slave, slave, slave}
		attr.Sys.Setsid, attr.Sys.Setctty = true, true
	}
	proc, err := os.StartProcess("/bin/sh", []string{"sh", "-c", script}, attr)
	if err != nil {
		return nil, err
	}
	pidfd, err := unix.PidfdOpen(proc.Pid, 0)
	return &launch.Process{PID: proc.Pid, PIDFD: pidfd}, err
}

func openPty() (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	master = os.NewFile(uintptr(fd), "master")
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, err
	}
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return nil, nil, errno
	}
	return master, os.NewFile(n, "slave"), nil
}

// foreground prepares such a copy.
func foreground(t *testing.T, mode, script string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestForeground$", "--", script)
	cmd.Env = append(os.Environ(), foregroundEnv+"="+mode)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// statusOfRun runs it to the end and returns its output and exit status.
func statusOfRun(t *testing.T, cmd *exec.Cmd) (string, int) {
	t.Helper()
	late := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	out, err := cmd.Output()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestForeground(t *testing.T) {
	if mode := os.Getenv(foregroundEnv); mode != "" {
		if err := foregroundChild(mode, os.Args[len(os.Args)-1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(255)
		}
	}
	// Signals are sent by the program itself, to its runtime.
	const idle = "; while :; do sleep 0.01; done"
	for _, c := range []struct {
		name, script string
		status       int
		out          string
	}{
		{name: "the exit status is the program's", script: "exit 7", status: 7},
		{name: "death by a signal is 128 and its number", script: "kill -KILL $$", status: 137},
		{name: "output is the program's own business", script: "echo hello", out: "hello\n"},
		{name: "an orphan is adopted and reaped", script: orphan, status: 9},
		{name: "a broken pipe of ours is not the program's", script: "trap 'exit 1' PIPE; trap 'exit 41' USR1; kill -PIPE $PPID; kill -USR1 $PPID" + idle, status: 41},
		{
			name:   "a window change is not passed on without a terminal",
			script: "trap 'exit 1' WINCH; trap 'exit 41' USR1; kill -WINCH $PPID; kill -USR1 $PPID" + idle, status: 41,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, status := statusOfRun(t, foreground(t, "plain", c.script))
			if out != c.out || status != c.status {
				t.Errorf("status %d, output %q; want %d, %q", status, out, c.status, c.out)
			}
		})
	}
	for _, sig := range []int{1, 2, 3, 6, 10, 12, 14, 15, 16, 18, 20, 24, 25, 26, 29, 30, 34, 37, 64} {
		t.Run("passed on: signal "+strconv.Itoa(sig), func(t *testing.T) {
			number := strconv.Itoa(sig)
			cmd := foreground(t, "plain", "trap 'exit 41' "+number+"; kill -"+number+" $PPID"+idle)
			if _, status := statusOfRun(t, cmd); status != 41 {
				t.Errorf("status %d, want the trap's 41", status)
			}
		})
	}
	t.Run("a signal that came during the launch is passed on", func(t *testing.T) {
		cmd := foreground(t, "plain", "exec sleep 60", foregroundEnv+"_EARLY=15")
		if _, status := statusOfRun(t, cmd); status != 128+15 {
			t.Errorf("status %d, want 143", status)
		}
	})
}

// orphan leaves a process whose parent has ended, sees it become the runtime's child,
// and then disappear.
const orphan = `
o=$(sh -c 'sleep 0.3 >/dev/null & echo $!')
parent() { while read -r key value; do [ "$key" = PPid: ] && echo $value; done </proc/$o/status; }
[ "$(parent)" = $PPID ] || exit 1
while [ -d /proc/$o ]; do sleep 0.01; done
exit 9`
