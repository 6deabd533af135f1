package libcontainer

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestOpenTerminal(t *testing.T) {
	path := t.TempDir() + "/console.sock"
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	const (
		noSocket   = "cannot allocate tty if runc will detach without setting console socket"
		idleSocket = "cannot use console socket if runc will not detach or allocate tty"
	)
	for _, c := range []struct {
		name     string
		terminal bool
		o        LaunchOptions
		want     string // an error, or what comes of it
	}{
		{"no terminal is asked for", false, LaunchOptions{}, "none"},
		{"detached without a terminal", false, LaunchOptions{Detach: true}, "none"},
		{"in the foreground", true, LaunchOptions{}, "ours"},
		{"detached to a console socket", true, LaunchOptions{Detach: true, ConsoleSocket: path}, "socket"},
		{"detached to nobody", true, LaunchOptions{Detach: true}, noSocket},
		{"a console socket in the foreground", true, LaunchOptions{ConsoleSocket: path}, idleSocket},
		{"a console socket without a terminal", false, LaunchOptions{Detach: true, ConsoleSocket: path}, idleSocket},
		{
			"a console socket that is not there", true,
			LaunchOptions{Detach: true, ConsoleSocket: path + "x"},
			"--console-socket: connect " + path + "x: no such file or directory",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			tty, err := openTerminal(&specs.Process{Terminal: c.terminal}, &c.o)
			got := "none"
			switch {
			case err != nil:
				got = err.Error()
			case tty != nil && tty.screen != nil:
				got = "ours"
			case tty != nil:
				got = "socket"
			}
			if got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
			if tty != nil {
				tty.closeSocket()
				tty.closeSocket()
			}
		})
	}
}

func TestAConsoleSocketGetsTheMaster(t *testing.T) {
	path := t.TempDir() + "/console.sock"
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	tty, err := openTerminal(&specs.Process{Terminal: true}, &LaunchOptions{Detach: true, ConsoleSocket: path})
	if err != nil {
		t.Fatal(err)
	}
	defer tty.closeSocket()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := unix.Sendmsg(tty.socket, []byte("/dev/pts/ptmx"), unix.UnixRights(0), nil, 0); err != nil {
		t.Fatal(err)
	}
	oob := make([]byte, 64)
	n, oobn, _, _, err := conn.(*net.UnixConn).ReadMsgUnix(make([]byte, 64), oob)
	if err != nil || n != len("/dev/pts/ptmx") || oobn == 0 {
		t.Errorf("got %d bytes and %d of control data, %v", n, oobn, err)
	}
}

func TestATerminalThatIsNeverShownLeavesNothing(t *testing.T) {
	master, slave, err := openPty()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer slave.Close()
	before := descriptors(t)
	for _, sent := range []bool{false, true} {
		tty, err := openTerminal(&specs.Process{Terminal: true}, &LaunchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if sent {
			if err := unix.Sendmsg(tty.socket, []byte("m"), unix.UnixRights(int(master.Fd())), nil, 0); err != nil {
				t.Fatal(err)
			}
		}
		tty.closeSocket()
		if diff := cmp.Diff(before, descriptors(t)); diff != "" {
			t.Errorf("master sent %v: %s", sent, diff)
		}
	}
}

// descriptors are this process's, without those of Go's poller.
func descriptors(t *testing.T) map[string]string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	open := map[string]string{}
	for _, e := range entries {
		if link, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.Contains(link, "event") {
			open[e.Name()] = link
		}
	}
	return open
}

func TestTerminalOutputIsCompleteAndAsWritten(t *testing.T) {
	for _, c := range []struct {
		name, script, out string
		status, runs      int
	}{
		{name: "a program that ends at once", script: "echo bye; exit 3", out: "bye\n", status: 3, runs: 40},
		{name: "more than a pty holds", script: "head -c 300000 /dev/zero | tr '\\0' x", out: strings.Repeat("x", 300000), runs: 3},
		{
			name:   "a background process keeps writing",
			script: "trap '' HUP; (while echo more; do :; done) & sleep 0.1; exit 4", out: "more\n", status: 4, runs: 2,
		},
		{name: "the end of stdin is not the end", script: "sleep 0.2; echo late; tty >/dev/null", out: "late\n", runs: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range c.runs {
				out, status := statusOfRun(t, foreground(t, "terminal", c.script))
				if status != c.status || !strings.HasPrefix(out, c.out) {
					t.Fatalf("status %d, %d bytes %.60q; want %d, %d bytes %.60q", status, len(out), out, c.status, len(c.out), c.out)
				}
			}
		})
	}
}

func TestABackgroundProcessDoesNotKeepTheRuntime(t *testing.T) {
	out, status := statusOfRun(t, foreground(t, "terminal", "trap '' HUP; sleep 60 & echo $!"))
	if pid, err := strconv.Atoi(strings.TrimSpace(out)); err != nil {
		t.Errorf("output %q", out)
	} else if err := unix.Kill(pid, unix.SIGKILL); err != nil || status != 0 {
		t.Errorf("status %d, its process: %v", status, err)
	}
}

func TestOutputThatStdoutIsNotReadyForIsNotLost(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	full := make([]byte, 1<<16)
	if n, err := w.Write(full); err != nil || n != len(full) {
		t.Fatal(n, err)
	}
	// "one" waits for the pipe, "two" stays in the terminal, and then the program ends.
	cmd := foreground(t, "terminal", "echo one; sleep 0.2; echo two")
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	time.Sleep(400 * time.Millisecond)
	out, err := io.ReadAll(r)
	if err = errors.Join(err, cmd.Wait()); err != nil || string(out[len(full):]) != "one\ntwo\n" {
		t.Errorf("%q, %v", out[min(len(out), len(full)):], err)
	}
}

func TestAFailingStdoutHangsUp(t *testing.T) {
	cmd := foreground(t, "terminal", "trap '' HUP; while echo more; do :; done 2>/dev/null; exit 6")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = stdout.Close()
	late := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 6 {
		t.Errorf("%v, want the status after a write that failed", cmd.ProcessState)
	}
}

func TestStdinIsTypedIntoTheTerminal(t *testing.T) {
	cmd := foreground(t, "terminal", "stty -echo; echo ready; read x; read y; echo $x $y")
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout = strings.NewReader("one\ntwo\n"), &out
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(out.String(), "one two\n") {
		t.Errorf("output %q", out.String())
	}
}

func TestASignalIsPassedOnWithATerminalToo(t *testing.T) {
	// In a session of its own the shell's parent still is the runtime.
	if _, status := statusOfRun(t, foreground(t, "terminal", "kill -TERM $PPID; exec sleep 60")); status != 128+15 {
		t.Errorf("status %d, want 143", status)
	}
}

// user is somebody at a real terminal, in which a foreground process runs.
type user struct {
	master *os.File
	lines  *bufio.Reader
	cmd    *exec.Cmd
}

func atTerminal(t *testing.T, size unix.Winsize, script string) *user {
	t.Helper()
	master, slave, err := openPty()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &size); err != nil {
		t.Fatal(err)
	}
	u := &user{master: master, lines: bufio.NewReader(master), cmd: foreground(t, "terminal", script)}
	u.cmd.Stdin, u.cmd.Stdout, u.cmd.Stderr = slave, slave, slave
	u.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = slave.Close()
	late := time.AfterFunc(20*time.Second, func() { _ = u.cmd.Process.Kill() })
	t.Cleanup(func() {
		late.Stop()
		_ = u.cmd.Process.Kill()
		_ = u.cmd.Wait()
		_ = master.Close()
	})
	return u
}

// sees waits for a line of output.
func (u *user) sees(t *testing.T, want string) {
	t.Helper()
	for {
		line, err := u.lines.ReadString('\n')
		if strings.TrimRight(line, "\r\n") == want {
			if !strings.HasSuffix(line, want+"\r\n") || strings.HasSuffix(line, "\r\r\n") {
				t.Errorf("line %q does not end as a terminal's", line)
			}
			return
		}
		if err != nil {
			t.Fatalf("%v before %q", err, want)
		}
	}
}

func (u *user) mode(t *testing.T) unix.Termios {
	t.Helper()
	mode, err := unix.IoctlGetTermios(int(u.master.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *mode
}

func TestOurTerminalIsRawWhileTheContainersIsShown(t *testing.T) {
	for _, c := range []struct{ name, end string }{
		{"until the program ends", "read x"},
		{"until a signal ends the program", "read x; kill -TERM $PPID; sleep 60"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := atTerminal(t, unix.Winsize{Row: 24, Col: 80}, "stty -echo; echo ready; "+c.end)
			u.sees(t, "ready")
			mode := u.mode(t)
			if mode.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) != 0 || mode.Oflag&unix.OPOST != 0 {
				t.Errorf("not raw: lflag %#o, oflag %#o", mode.Lflag, mode.Oflag)
			}
			if _, err := io.WriteString(u.master, "x\r"); err != nil { // as the Enter key does
				t.Fatal(err)
			}
			_ = u.cmd.Wait()
			mode = u.mode(t)
			if want := unix.ICANON | unix.ECHO | unix.ISIG; mode.Lflag&uint32(want) != uint32(want) || mode.Oflag&unix.OPOST == 0 || mode.Iflag&unix.ICRNL == 0 {
				t.Errorf("still raw: %+v", mode)
			}
		})
	}
}

func TestTheContainersTerminalHasOurSize(t *testing.T) {
	u := atTerminal(t, unix.Winsize{Row: 33, Col: 77}, `
		stty size
		trap 'stty size; exit 5' WINCH
		echo ready
		while :; do sleep 0.01; done`)
	u.sees(t, "33 77") // from the beginning
	u.sees(t, "ready")
	if err := unix.IoctlSetWinsize(int(u.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 44, Col: 88}); err != nil {
		t.Fatal(err)
	}
	u.sees(t, "44 88")
	if _ = u.cmd.Wait(); u.cmd.ProcessState.ExitCode() != 5 {
		t.Errorf("%v", u.cmd.ProcessState)
	}
}

func TestSizeOfTakesTheFirstTerminalThatHasOne(t *testing.T) {
	master, slave, err := openPty()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer slave.Close()
	fd := int(slave.Fd())
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if size := sizeOf(int(file.Fd()), fd); size != nil {
		t.Errorf("a terminal of no size: %+v", size)
	}
	want := unix.Winsize{Row: 5, Col: 6}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &want); err != nil {
		t.Fatal(err)
	}
	if size := sizeOf(int(file.Fd()), fd); size == nil || *size != want {
		t.Errorf("%+v, want %+v", size, want)
	}
}
