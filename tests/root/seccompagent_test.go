package root_test

import (
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// TestSeccompNotifyOfExec: a process of exec has a filter and a listener of its own, and the
// agent learns which process it is.
func TestSeccompNotifyOfExec(t *testing.T) {
	harness.NeedRoot(t)
	for name, nnp := range map[string]bool{"with noNewPrivileges": true, "without it": false} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "s")
			agent := listenUnix(t, socket)
			first := accept(agent)
			c := start(t, func(s *specs.Spec) {
				filter(mkdirRule(specs.ActNotify))(s)
				s.Process.NoNewPrivileges = nnp
				s.Linux.Seccomp.ListenerPath, s.Linux.Seccomp.ListenerMetadata = socket, "of both"
			})
			if n := <-first; n.err != nil || n.state.Pid != c.pid {
				t.Fatalf("%+v is not of process %d", n, c.pid)
			}
			second := make(chan received, 1)
			go func() {
				n := takeListener(agent)
				if n.err == nil {
					n.err = answerCall(n.fd, unix.ENOTEMPTY)
				}
				second <- n
			}()
			equal(t, "exec", "mkdir: can't create directory '/new': Directory not empty", c.exec("mkdir /new 2>&1; true"))
			n := <-second
			if n.err != nil {
				t.Fatal(n.err)
			}
			equal(t, "metadata", "of both", n.state.Metadata)
			equal(t, "container", []any{c.id, specs.StateRunning, c.pid}, []any{n.state.State.ID, n.state.State.Status, n.state.State.Pid})
			if n.state.Pid == c.pid || n.state.Pid <= 0 {
				t.Errorf("pid %d, that of the container is %d", n.state.Pid, c.pid)
			}
		})
	}
}

// received is a listener that an agent was sent.
type received struct {
	state specs.ContainerProcessState
	fd    int
	err   error
}

// accept takes one listener in the background.
func accept(agent *net.UnixListener) <-chan received {
	got := make(chan received, 1)
	go func() { got <- takeListener(agent) }()
	return got
}

// TestSeccompWaitKillableRecv: with the flag a signal that does not kill waits until the
// agent, which has the call already, has answered; without it the call is interrupted.
func TestSeccompWaitKillableRecv(t *testing.T) {
	harness.NeedRoot(t)
	for name, tc := range map[string]struct {
		flags []specs.LinuxSeccompFlag
		valid bool
	}{
		"with it":    {[]specs.LinuxSeccompFlag{specs.LinuxSeccompFlagWaitKillableRecv}, true},
		"without it": {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "s")
			agent := listenUnix(t, socket)
			first := accept(agent)
			e := harness.New(t)
			c := startIn(t, e, e.Bundle("trap : USR1; cd /tmp; "+sleeper, func(s *specs.Spec) {
				filter(specs.LinuxSyscall{Names: []string{"chdir"}, Action: specs.ActNotify})(s)
				s.Linux.Seccomp.ListenerPath, s.Linux.Seccomp.Flags = socket, tc.flags
			}))
			n := <-first
			if n.err != nil {
				t.Fatal(n.err)
			}
			t.Cleanup(func() { unix.Close(n.fd) })
			id, err := receiveCall(n.fd)
			if err != nil {
				t.Fatal(err)
			}
			if err := unix.Kill(c.pid, unix.SIGUSR1); err != nil {
				t.Fatal(err)
			}
			time.Sleep(200 * time.Millisecond) // for the signal to do what it may
			equal(t, "the call still waits", tc.valid, callWaits(n.fd, id))
			err = refuseCall(n.fd, id, unix.ENOENT)
			if err != nil && !errors.Is(err, unix.ENOENT) {
				t.Fatal(err)
			}
		})
	}
}

// callWaits asks whether a call that was received still waits for its answer.
func callWaits(fd int, id uint64) bool {
	const ioctlIDValid = 0x40082102 // SECCOMP_IOCTL_NOTIF_ID_VALID
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlIDValid, uintptr(unsafe.Pointer(&id)))
	return errno == 0
}
