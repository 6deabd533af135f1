package root_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// listenUnix listens until the test's end.
func listenUnix(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// takeDescriptor accepts a connection and takes the one descriptor that it brings.
func takeDescriptor(t *testing.T, l *net.UnixListener) int {
	t.Helper()
	conn, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	data, oob := make([]byte, 100), make([]byte, 100)
	_, n, _, _, err := conn.ReadMsgUnix(data, oob)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := onlyDescriptor(oob[:n])
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// onlyDescriptor is the one descriptor of a control message, unix(7) SCM_RIGHTS.
func onlyDescriptor(oob []byte) (int, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(messages) != 1 {
		return -1, fmt.Errorf("%d control messages, %w", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, fmt.Errorf("%d descriptors, %w", len(fds), err)
	}
	return fds[0], nil
}

// activated makes the runtime a process that a service manager passes one socket, and more
// files behind it, sd_listen_fds(3).
func activated(t *testing.T, more ...*os.File) func(*exec.Cmd) {
	t.Helper()
	socket, err := listenUnix(t, filepath.Join(t.TempDir(), "s")).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	return func(cmd *exec.Cmd) {
		cmd.ExtraFiles = append([]*os.File{socket}, more...)
		// The sockets are meant for one process.
		cmd.Args = append([]string{"sh", "-c", `LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"`, "sh", cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/sh"
	}
}

const tellSockets = "echo $LISTEN_FDS $LISTEN_PID; readlink /proc/$$/fd/3 | cut -d: -f1; ls /proc/$$/fd; (cat <&4) 2>/dev/null; true"

func TestListenFDs(t *testing.T) {
	harness.NeedRoot(t)
	t.Run("of run", func(t *testing.T) {
		e := harness.New(t)
		r := e.RunWith(activated(t), "run", "-b", e.Bundle(tellSockets, nil), e.ID("c"))
		equal(t, "output", "1 1\nsocket\n0\n1\n2\n3\n", r.Stdout)
	})
	t.Run("with --preserve-fds", func(t *testing.T) {
		e := harness.New(t)
		r := e.RunWith(activated(t, openFile(t, "after the sockets\n")), "run", "--preserve-fds", "1", "-b", e.Bundle(tellSockets, nil), e.ID("c"))
		equal(t, "output", "1 1\nsocket\n0\n1\n2\n3\n4\nafter the sockets\n", r.Stdout)
	})
	t.Run("of create", func(t *testing.T) {
		e := harness.New(t)
		id := e.ID("c")
		dir := source(t)
		bundle := e.Bundle("("+tellSockets+") >/out/file", withMounts(bind(dir, "/out")))
		if r := e.RunWith(activated(t, openFile(t, "after the sockets\n")), "create", "--preserve-fds", "1", "-b", bundle, id); r.Code != 0 {
			t.Fatal(r.Stderr)
		}
		e.MustRun("start", id)
		e.WaitStatus(id, specs.StateStopped)
		equal(t, "output", "1 1\nsocket\n0\n1\n2\n3\n4\nafter the sockets", read(t, filepath.Join(dir, "file")))
	})
	t.Run("that are another process's", func(t *testing.T) {
		e := harness.New(t)
		r := e.RunWith(func(cmd *exec.Cmd) {
			activated(t)(cmd)
			cmd.Args[2] = strings.Replace(cmd.Args[2], "$$", "1", 1)
		}, "run", "-b", e.Bundle("echo x$LISTEN_FDS; ls /proc/$$/fd; true", nil), e.ID("c"))
		equal(t, "output", "x\n0\n1\n2\n", r.Stdout)
	})
	// As in runc: LISTEN_PID would have to be a pid that nobody knows yet.
	t.Run("not of exec", func(t *testing.T) {
		c := start(t, nil)
		r := c.RunWith(activated(t), "exec", c.id, "sh", "-c", "echo x$LISTEN_FDS; ls /proc/$$/fd; true")
		equal(t, "output", "x\n0\n1\n2\n", r.Stdout)
		r = c.RunWith(activated(t, openFile(t, "the fourth\n")), "exec", "--preserve-fds", "2", c.id, "sh", "-c", "readlink /proc/$$/fd/3 | cut -d: -f1; cat <&4")
		equal(t, "output with --preserve-fds", "socket\nthe fourth\n", r.Stdout)
	})
}
