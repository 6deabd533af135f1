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

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// TestStartWaitsUntilTheContainerIsReady plays service manager and container: what the
// container writes to its notify socket reaches NOTIFY_SOCKET, with the pid of the init
// process, and start returns only then.
func TestStartWaitsUntilTheContainerIsReady(t *testing.T) {
	e := harness.New(t)
	manager := filepath.Join(t.TempDir(), "manager.sock")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: manager, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	withSocket := func(c *exec.Cmd) { c.Env = append(os.Environ(), "NOTIFY_SOCKET="+manager) }
	id := e.ID("ready")
	script := `test "$NOTIFY_SOCKET" = /run/notify/notify.sock && test -S $NOTIFY_SOCKET || exit 1; sleep 60`
	if r := e.RunWith(withSocket, "create", "-b", e.Bundle(script, nil), id); r.Code != 0 {
		t.Fatal(r.Stderr)
	}
	started := make(chan harness.Result)
	go func() { started <- e.RunWith(withSocket, "start", id) }()
	time.Sleep(300 * time.Millisecond)
	select {
	case r := <-started:
		t.Fatalf("start returned before the container was ready: %+v", r)
	default:
	}
	sayReady(t, filepath.Join(e.Root, id, "notify", "notify.sock"))
	var got []string
	for range 3 {
		got = append(got, receive(t, conn))
	}
	want := []string{"READY=1", "MAINPID=" + strconv.Itoa(e.State(id).Pid), "BARRIER=1"}
	for i := range want {
		if strings.TrimSpace(got[i]) != want[i] {
			t.Errorf("message %d is %q, not %q", i, got[i], want[i])
		}
	}
	if r := <-started; r.Code != 0 {
		t.Errorf("start: %+v", r)
	}
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
