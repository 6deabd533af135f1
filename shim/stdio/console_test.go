package stdio

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// pty is what an OCI runtime makes: it sends the master and starts the process on the slave.
func pty(t testing.TB) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no terminals: %v", err)
	}
	master = os.NewFile(uintptr(fd), "master")
	t.Cleanup(func() { master.Close() })
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

func sendFile(t testing.TB, socket string, f *os.File) {
	t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, _, err := conn.WriteMsgUnix([]byte("/dev/ptmx"), unix.UnixRights(int(f.Fd())), nil); err != nil {
		t.Fatal(err)
	}
}

// spawnOnTerminal is the runtime: only the process has the slave then, only the IO the master.
func spawnOnTerminal(t testing.TB, o *IO, script string) *exec.Cmd {
	t.Helper()
	master, slave := pty(t)
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	sendFile(t, o.ConsoleSocket(), master)
	master.Close()
	start(t, o)
	return cmd
}

func TestTerminal(t *testing.T) {
	spec := Spec{Stdin: mkfifo(t, "in"), Stdout: mkfifo(t, "out"), Terminal: true}
	out := openEnd(t, spec.Stdout, os.O_RDONLY)
	dir := t.TempDir()
	o, err := Open(t.Context(), spec, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = o.Close() }()
	if in, out, errs := o.Files(); in != nil || out != nil || errs != nil {
		t.Error("a terminal is not a file")
	}
	if err := o.Resize(10, 20); err != nil {
		t.Errorf("resize before there is a terminal: %v", err)
	}
	if !strings.HasPrefix(o.ConsoleSocket(), dir) {
		t.Errorf("the socket is %s", o.ConsoleSocket())
	}
	cmd := spawnOnTerminal(t, o, "stty -echo; echo ready; read word; stty size; echo got $word")
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("%v is left behind", left)
	}
	readN(t, out, len("ready\r\n"))
	if err := o.Resize(77, 33); err != nil {
		t.Fatal(err)
	}
	if err := o.Resize(77, 1<<16); err == nil {
		t.Error("a terminal of 65536 rows")
	}
	in := openEnd(t, spec.Stdin, os.O_WRONLY)
	if _, err := in.WriteString("hello\n"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	o.Exited()
	if got := readAll(t, out); got != "33 77\r\ngot hello\r\n" {
		t.Errorf("the terminal showed %q", got)
	}
	within(t, "drain and close", func() { o.Drain(time.Minute); err = o.Close() })
	if err != nil {
		t.Error(err)
	}
}

func TestTerminalTargets(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	for name, spec := range map[string]Spec{
		"a file":    {Stdout: "file://" + path},
		"a logger":  {Stdout: "binary://" + script(t, "exec 5>&-; cat <&3 >"+path)},
		"/dev/null": {},
	} {
		t.Run(name, func(t *testing.T) {
			os.Remove(path)
			spec.Terminal = true
			o := open(t, spec)
			cmd := spawnOnTerminal(t, o, "seq 20000; test -t 0 -a -t 1 -a -t 2; echo $?")
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
			within(t, "drain and close", func() { o.Drain(time.Minute); _ = o.Close() })
			waitLoggers(t)
			if spec.Stdout == "" {
				return
			}
			if got := content(t, path); strings.Count(got, "\r\n") != 20001 || !strings.HasSuffix(got, "20000\r\n0\r\n") {
				t.Errorf("%d bytes, at the end %q", len(got), got[max(0, len(got)-20):])
			}
		})
	}
}

// A process may close its terminal and open it again, as systemd does with /dev/console.
func TestTerminalIsOpenedAgain(t *testing.T) {
	spec := Spec{Stdout: mkfifo(t, "out"), Terminal: true}
	out := openEnd(t, spec.Stdout, os.O_RDONLY)
	o := open(t, spec)
	master, slave := pty(t)
	sendFile(t, o.ConsoleSocket(), master)
	start(t, o)
	for range 3 {
		if _, err := slave.WriteString("x"); err != nil {
			t.Fatal(err)
		}
		readN(t, out, 1)
		name := slave.Name()
		slave.Close()
		time.Sleep(20 * time.Millisecond)
		var err error
		if slave, err = os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
			t.Fatal(err)
		}
	}
	slave.Close()
	o.Exited()
	if got := readAll(t, out); got != "" {
		t.Errorf("%q at the end", got)
	}
}

// The end of a terminal's input hangs it up, as containerd's shim does.
func TestTerminalIsHungUp(t *testing.T) {
	spec := Spec{Stdin: mkfifo(t, "in"), Stdout: mkfifo(t, "out"), Terminal: true}
	o := open(t, spec)
	cmd := spawnOnTerminal(t, o, "sleep 60; sleep 60")
	if err := o.CloseStdin(); err != nil {
		t.Fatal(err)
	}
	within(t, "the process after the end of its input", func() { _ = cmd.Wait() })
	if err := o.Close(); err != nil {
		t.Error(err)
	}
}

// An orphan has the terminal open.
func TestTerminalWithOrphan(t *testing.T) {
	spec := Spec{Stdout: mkfifo(t, "out"), Terminal: true}
	out := openEnd(t, spec.Stdout, os.O_RDONLY)
	o := open(t, spec)
	master, slave := pty(t)
	sendFile(t, o.ConsoleSocket(), master)
	start(t, o)
	if _, err := slave.WriteString("words"); err != nil {
		t.Fatal(err)
	}
	within(t, "drain and close", func() { o.Drain(time.Hour); _ = o.Close() })
	if got := readAll(t, out); got != "words" {
		t.Errorf("the reader got %q", got)
	}
}

func TestNoTerminalComes(t *testing.T) {
	for name, send := range map[string]func(t *testing.T, socket string){
		"nobody calls":    func(*testing.T, string) {},
		"nothing is sent": sendNothing,
		"a file comes": func(t *testing.T, socket string) {
			f, err := os.Open("/dev/null")
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			sendFile(t, socket, f)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			fds := descriptors(t)
			o, err := Open(t.Context(), Spec{Stdin: mkfifo(t, "in"), Terminal: true}, dir)
			if err != nil {
				t.Fatal(err)
			}
			send(t, o.ConsoleSocket())
			ctx, cancel := context.WithTimeout(t.Context(), harness.Slow(200*time.Millisecond))
			defer cancel()
			within(t, "start", func() { err = o.Start(ctx) })
			if err == nil || !strings.HasPrefix(err.Error(), "console socket: ") {
				t.Errorf("start says %v", err)
			}
			if err := o.Close(); err != nil {
				t.Error(err)
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("%v is left behind", left)
			}
			if now := descriptors(t); now > fds {
				t.Errorf("%d descriptors are left", now-fds)
			}
		})
	}
}

func sendNothing(t *testing.T, socket string) {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

func TestConsoleSocketOfLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 25))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	o, err := Open(t.Context(), Spec{Terminal: true}, dir)
	if err != nil {
		t.Fatal(err)
	}
	socket := o.ConsoleSocket()
	info, err := os.Stat(filepath.Dir(socket))
	if err != nil || info.Mode().Perm() != 0o700 || len(socket) > 107 {
		t.Errorf("%s in a folder %v: %v", socket, info.Mode(), err)
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
	for _, path := range []string{socket, filepath.Dir(socket)} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("%v is left behind", left)
	}
}
