package root_test

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// console takes terminals from runtimes.
type console struct {
	t    *testing.T
	path string
	l    *net.UnixListener
}

func newConsole(t *testing.T) *console {
	t.Helper()
	path := filepath.Join(t.TempDir(), "console")
	l := listenUnix(t, path)
	if err := l.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &console{t, path, l}
}

// take receives the master of one terminal.
func (c *console) take() *os.File {
	c.t.Helper()
	f := os.NewFile(uintptr(takeDescriptor(c.t, c.l)), "master")
	c.t.Cleanup(func() { _ = f.Close() })
	return f
}

// readAll reads what a terminal shows until nobody has it open any more.
func readAll(t *testing.T, master *os.File) string {
	t.Helper()
	b, err := io.ReadAll(master)
	if err != nil && !strings.Contains(err.Error(), "input/output error") {
		t.Fatal(err)
	}
	return strings.TrimSpace(strings.ReplaceAll(string(b), "\r\n", "\n"))
}

func withTerminal(edit change) change {
	return func(s *specs.Spec) {
		s.Process.Terminal = true
		s.Process.ConsoleSize = &specs.Box{Height: 33, Width: 77}
		if edit != nil {
			edit(s)
		}
	}
}

const describeTerminal = `tty; stty size; stat -c '%u %F' /dev/console; echo $(cut -d' ' -f7 /proc/self/stat | grep -c '^0$'); (echo via the controlling terminal >/dev/tty)`

func TestTerminal(t *testing.T) {
	for name, tc := range map[string]struct {
		edit  change
		owner string
	}{
		"of root":             {nil, "0"},
		"of a user":           {func(s *specs.Spec) { s.Process.User.UID = 1000 }, "1000"},
		"in a user namespace": {mapped, "0"},
	} {
		t.Run(name, func(t *testing.T) {
			e := harness.New(t)
			con := newConsole(t)
			id := e.ID("c")
			e.MustRun("create", "--console-socket", con.path, "-b", e.Bundle(describeTerminal, withTerminal(tc.edit)), id)
			master := con.take()
			e.MustRun("start", id)
			equal(t, "screen", "/dev/pts/0\n33 77\n"+tc.owner+" character special file\n0\nvia the controlling terminal", readAll(t, master))
			e.WaitStatus(id, specs.StateStopped)
			e.MustRun("delete", id)
		})
	}
}

func TestTerminalCarriesInputAndSignals(t *testing.T) {
	e := harness.New(t)
	con := newConsole(t)
	id := e.ID("c")
	e.MustRun("run", "-d", "--console-socket", con.path, "-b", e.Bundle("trap 'echo interrupted; exit' INT; read x; echo got $x; read y", withTerminal(nil)), id)
	master := con.take()
	if _, err := master.WriteString("typed\n"); err != nil {
		t.Fatal(err)
	}
	var screen strings.Builder
	b := make([]byte, 1000)
	for !strings.Contains(screen.String(), "got typed") {
		n, err := master.Read(b)
		if err != nil {
			t.Fatalf("%v after %q", err, screen.String())
		}
		screen.Write(b[:n])
	}
	if _, err := master.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, master); !strings.Contains(got, "interrupted") {
		t.Errorf("after ^C: %q", got)
	}
}

func TestExecTerminal(t *testing.T) {
	harness.NeedRoot(t)
	for name, edit := range map[string]change{"plain": nil, "in a user namespace": mapped} {
		t.Run(name, func(t *testing.T) {
			c := start(t, edit)
			con := newConsole(t)
			c.MustRun("exec", "-d", "-t", "--console-socket", con.path, c.id, "sh", "-c", "tty; id -u; (echo yes >/dev/tty)")
			equal(t, "screen", "/dev/pts/0\n0\nyes", readAll(t, con.take()))
		})
	}
}

// TestTerminalOwner: the user owns its terminal, whose group and mode are those that the
// devpts gives, as in runc.
func TestTerminalOwner(t *testing.T) {
	harness.NeedRoot(t)
	const stat = "for f in $(tty) /dev/console; do stat -c '%u:%g %a' $f; done; echo again >$(tty)"
	user := func(s *specs.Spec) { s.Process.User = specs.User{UID: 1000, GID: 1001} }
	for name, tc := range map[string]struct {
		edit change
		want string
	}{
		"of root":   {nil, "0:5 620"},
		"of a user": {user, "1000:5 620"},
		"of a user, another devpts": {func(s *specs.Spec) {
			user(s)
			for i, m := range s.Mounts {
				if m.Type == "devpts" {
					s.Mounts[i].Options = []string{"newinstance", "ptmxmode=0666", "mode=0600", "gid=7"}
				}
			}
		}, "1000:7 600"},
		"in a user namespace":           {mapped, "0:5 620"},
		"of a user in a user namespace": {func(s *specs.Spec) { mapped(s); user(s) }, "1000:5 620"},
	} {
		t.Run(name, func(t *testing.T) {
			e := harness.New(t)
			con := newConsole(t)
			id := e.ID("c")
			e.MustRun("run", "-d", "--console-socket", con.path, "-b", e.Bundle(stat, withTerminal(tc.edit)), id)
			equal(t, "terminal and console", tc.want+"\n"+tc.want+"\nagain", readAll(t, con.take()))
		})
	}
	t.Run("of exec", func(t *testing.T) {
		c := start(t, nil)
		con := newConsole(t)
		c.MustRun("exec", "-d", "-t", "-u", "1000:1001", "--console-socket", con.path, c.id, "sh", "-c", "stat -c '%u:%g %a' $(tty); echo again >$(tty)")
		equal(t, "terminal", "1000:5 620\nagain", readAll(t, con.take()))
	})
}

func TestConsoleSize(t *testing.T) {
	harness.NeedRoot(t)
	t.Run("of a container", func(t *testing.T) {
		e := harness.New(t)
		con := newConsole(t)
		e.MustRun("run", "-d", "--console-socket", con.path, "-b", e.Bundle("stty size", func(s *specs.Spec) {
			s.Process.Terminal, s.Process.ConsoleSize = true, &specs.Box{Height: 12, Width: 345}
		}), e.ID("c"))
		equal(t, "size", "12 345", readAll(t, con.take()))
	})
	t.Run("not said", func(t *testing.T) {
		e := harness.New(t)
		con := newConsole(t)
		e.MustRun("run", "-d", "--console-socket", con.path, "-b", e.Bundle(sleeper, func(s *specs.Spec) { s.Process.Terminal = true }), e.ID("c"))
		size, err := unix.IoctlGetWinsize(int(con.take().Fd()), unix.TIOCGWINSZ)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "size", unix.Winsize{}, *size)
	})
	t.Run("of exec with a process file", func(t *testing.T) {
		c := start(t, nil)
		con := newConsole(t)
		file := filepath.Join(t.TempDir(), "process.json")
		write(t, file, `{"terminal": true, "consoleSize": {"height": 23, "width": 45}, "cwd": "/", "user": {"uid": 0, "gid": 0}, "args": ["/bin/stty", "size"]}`)
		c.MustRun("exec", "-d", "--console-socket", con.path, "-p", file, c.id)
		equal(t, "size", "23 45", readAll(t, con.take()))
	})
	t.Run("without a terminal", func(t *testing.T) { // ignored, config.md "consoleSize"
		expect(t, "stty size 2>/dev/null || echo no terminal", "no terminal", func(s *specs.Spec) {
			s.Process.Terminal, s.Process.ConsoleSize = false, &specs.Box{Height: 1, Width: 2}
		})
	})
}

func TestTerminalInTheForeground(t *testing.T) {
	e := harness.New(t)
	// Its stdin is no terminal here, so what the container's terminal shows goes to stdout.
	r := e.Run("run", "-b", e.Bundle("tty; echo hello >/dev/console", withTerminal(nil)), e.ID("c"))
	equal(t, "screen", "/dev/pts/0\nhello\n", strings.ReplaceAll(r.Stdout, "\r\n", "\n"))
}

func TestTerminalWithoutSocketOrSocketWithout(t *testing.T) {
	e := harness.New(t)
	con := newConsole(t)
	wantFailure(t, e.Run("create", "-b", e.Bundle("true", withTerminal(nil)), e.ID("none")),
		"cannot allocate tty if runc will detach without setting console socket")
	wantFailure(t, e.Run("create", "--console-socket", con.path, "-b", e.Bundle("true", nil), e.ID("spare")),
		"cannot use console socket if runc will not detach or allocate tty")
	wantFailure(t, e.Run("create", "--console-socket", "/none/socket", "-b", e.Bundle("true", withTerminal(nil)), e.ID("gone")),
		"no such file or directory")
}
