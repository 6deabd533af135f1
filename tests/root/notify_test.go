package root_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// manager is a service manager: the end of NOTIFY_SOCKET that reads.
type manager struct {
	t    *testing.T
	path string
	conn *net.UnixConn
}

func newManager(t *testing.T) *manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "manager.sock")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &manager{t, path, conn}
}

// socket names the manager to a command.
func (m *manager) socket(c *exec.Cmd) { c.Env = append(os.Environ(), "NOTIFY_SOCKET="+m.path) }

// wantReady takes the three messages by which a container of a main process is ready.
func (m *manager) wantReady(mainPID int) {
	m.t.Helper()
	for _, want := range []string{"READY=1", "MAINPID=" + strconv.Itoa(mainPID), "BARRIER=1"} {
		equal(m.t, "message", want, strings.TrimSpace(receive(m.t, m.conn)))
	}
}

// eventuallyReady says that the container is ready as soon as it has its socket.
func eventuallyReady(t *testing.T, e *harness.Env, id string) {
	t.Helper()
	socket := filepath.Join(e.Root, id, "notify", "notify.sock")
	eventually(t, "the container has a socket", func() bool {
		_, err := os.Stat(socket)
		return err == nil && e.Run("state", id).Code == 0 && e.State(id).Status == specs.StateRunning
	})
	sayReady(t, socket)
}

const wantsSocket = `test "$NOTIFY_SOCKET" = /run/notify/notify.sock && test -S $NOTIFY_SOCKET || exit 1; ` + sleeper

// background runs a command that names the manager.
func background(e *harness.Env, with func(*exec.Cmd), args ...string) <-chan harness.Result {
	done := make(chan harness.Result, 1)
	go func() { done <- e.RunWith(with, args...) }()
	return done
}

// stillRuns fails the test if a command has returned.
func stillRuns(t *testing.T, done <-chan harness.Result) {
	t.Helper()
	time.Sleep(300 * time.Millisecond)
	select {
	case r := <-done:
		t.Fatalf("it returned before the container was ready: %+v", r)
	default:
	}
}

// TestStartWaitsUntilTheContainerIsReady plays service manager and container: what the
// container writes to its notify socket reaches NOTIFY_SOCKET, with the pid of the init
// process, and start returns only then.
func TestStartWaitsUntilTheContainerIsReady(t *testing.T) {
	e := harness.New(t)
	m := newManager(t)
	id := e.ID("ready")
	if r := e.RunWith(m.socket, "create", "-b", e.Bundle(wantsSocket, nil), id); r.Code != 0 {
		t.Fatal(r.Stderr)
	}
	started := background(e, m.socket, "start", id)
	stillRuns(t, started)
	sayReady(t, filepath.Join(e.Root, id, "notify", "notify.sock"))
	m.wantReady(e.State(id).Pid)
	if r := <-started; r.Code != 0 {
		t.Errorf("start: %+v", r)
	}
}

func TestDetachedRunWaitsUntilTheContainerIsReady(t *testing.T) {
	e := harness.New(t)
	m := newManager(t)
	id := e.ID("ready")
	ran := background(e, m.socket, "run", "-d", "-b", e.Bundle(wantsSocket, nil), id)
	stillRuns(t, ran)
	eventuallyReady(t, e, id)
	m.wantReady(e.State(id).Pid)
	if r := <-ran; r.Code != 0 || r.Stderr != "" {
		t.Errorf("run -d: %+v", r)
	}
	equal(t, "status", specs.StateRunning, e.State(id).Status)
}

// TestReadyOfAForegroundRun: the service's process is the runtime, which stays.
func TestReadyOfAForegroundRun(t *testing.T) {
	e := harness.New(t)
	m := newManager(t)
	id := e.ID("ready")
	runtime := 0
	file := filepath.Join(t.TempDir(), "pid")
	ran := background(e, func(c *exec.Cmd) {
		m.socket(c)
		c.Args = append([]string{"sh", "-c", `echo $$ >` + file + `; exec "$@"`, "sh", c.Path}, c.Args[1:]...)
		c.Path = "/bin/sh"
	}, "run", "-b", e.Bundle(wantsSocket, nil), id)
	eventuallyReady(t, e, id)
	runtime = int(atoi(t, read(t, file)))
	m.wantReady(runtime)
	stillRuns(t, ran)
	e.MustRun("kill", id, "TERM")
	if r := <-ran; r.Code != 0 || r.Stderr != "" {
		t.Errorf("run: %+v", r)
	}
}

// TestReadyWithoutAManager: a manager that has gone is worth a warning; the container runs.
func TestReadyWithoutAManager(t *testing.T) {
	e := harness.New(t)
	gone := func(c *exec.Cmd) { c.Env = append(os.Environ(), "NOTIFY_SOCKET="+filepath.Join(t.TempDir(), "gone")) }
	id := e.ID("ready")
	ran := background(e, gone, "run", "-d", "-b", e.Bundle(wantsSocket, nil), id)
	eventuallyReady(t, e, id)
	if r := <-ran; r.Code != 0 || !strings.Contains(r.Stderr, "level=warning") || !strings.Contains(r.Stderr, "NOTIFY_SOCKET") {
		t.Errorf("run -d: %+v", r)
	}
	equal(t, "status", specs.StateRunning, e.State(id).Status)
}

// TestContainerThatEndsUnready: nobody waits for what will not come.
func TestContainerThatEndsUnready(t *testing.T) {
	e := harness.New(t)
	m := newManager(t)
	for _, command := range [][]string{{"run"}, {"run", "-d"}} {
		r := e.RunWith(m.socket, append(command, "-b", e.Bundle("true", nil), e.ID("ready"+strconv.Itoa(len(command))))...)
		if r.Code != 0 || r.Stderr != "" {
			t.Errorf("%v: %+v", command, r)
		}
	}
}

// TestExecIsNoService: the socket is for the container that was started with it.
func TestExecIsNoService(t *testing.T) {
	c := start(t, nil)
	m := newManager(t)
	r := c.RunWith(m.socket, "exec", c.id, "sh", "-c", "echo x$NOTIFY_SOCKET; ls /run/notify 2>/dev/null; true")
	equal(t, "exec", harness.Result{Stdout: "x\n"}, r)
}

func sayReady(t *testing.T, socket string) {
	t.Helper()
	container, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := container.Write([]byte("STATUS=warming up\nREADY=1\n")); err != nil {
		t.Fatal(err)
	}
	if err := container.Close(); err != nil {
		t.Fatal(err)
	}
}

// receive reads a message and answers a barrier by closing its descriptor.
func receive(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf, oob := make([]byte, 4096), make([]byte, 256)
	n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		t.Fatal(err)
	}
	messages, _ := unix.ParseSocketControlMessage(oob[:oobn])
	for i := range messages {
		fds, _ := unix.ParseUnixRights(&messages[i])
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
	return string(buf[:n])
}
