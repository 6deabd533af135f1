package libcontainer

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/state"
)

func TestPrepareNotifyMountsASocketAndNamesIt(t *testing.T) {
	env := []string{"A=1", "NOTIFY_SOCKET=/host", "B=2"}
	spec := &specs.Spec{Mounts: []specs.Mount{{Destination: "/proc"}}, Process: &specs.Process{Env: env}}
	prepareNotify(spec, "/run/runc", "c")
	want := &specs.Spec{
		Mounts: []specs.Mount{{Destination: "/proc"}, {
			Destination: "/run/notify", Source: "/run/runc/c/notify", Options: []string{"bind", "nosuid", "noexec", "nodev", "ro"},
		}},
		Process: &specs.Process{Env: []string{"A=1", "B=2", "NOTIFY_SOCKET=/run/notify/notify.sock"}},
	}
	if diff := cmp.Diff(want, spec); diff != "" {
		t.Error(diff)
	}
	if env[1] != "NOTIFY_SOCKET=/host" {
		t.Error("the caller's environment was changed")
	}
}

// service is a container's directory and a process that stands for its init, below a
// service manager that this test plays.
type service struct {
	dir     *state.Dir
	manager *net.UnixConn
	host    string
	cmd     *exec.Cmd
	pidfd   int
}

func startService(t *testing.T, abstract bool) *service {
	t.Helper()
	s := &service{host: t.TempDir() + "/manager.sock", cmd: exec.Command("sleep", "60")}
	if abstract {
		s.host = "@gantry-notify-test-" + strconv.Itoa(os.Getpid())
	}
	var err error
	if s.manager, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.host, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	// Longer than an address may be.
	if s.dir, err = state.Create(t.TempDir()+"/"+strings.Repeat("long", 40), "c"); err != nil {
		t.Fatal(err)
	}
	umask := unix.Umask(0o077)
	err = makeNotifyDir(s.dir)
	unix.Umask(umask)
	if err != nil {
		t.Fatal(err)
	}
	if err = s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if s.pidfd, err = unix.PidfdOpen(s.cmd.Process.Pid, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.kill()
		_ = unix.Close(s.pidfd)
		_ = s.manager.Close()
		if err := errors.Join(s.dir.Remove(), s.dir.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *service) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// say sends a message as the container does, and as some user of it.
func (s *service) say(message string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	path := "/proc/self/fd/" + strconv.Itoa(s.dir.FD()) + "/notify/notify.sock"
	return unix.Sendto(fd, []byte(message), 0, &unix.SockaddrUnix{Name: path})
}

// hears takes a message as the service manager, with the descriptor in it or -1.
func (s *service) hears(t *testing.T) (string, int) {
	t.Helper()
	buf, oob := make([]byte, 100), make([]byte, 100)
	n, oobn, _, _, err := s.manager.ReadMsgUnix(buf, oob)
	if err != nil {
		t.Fatal(err)
	}
	if oobn == 0 {
		return string(buf[:n]), -1
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		t.Fatal(err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n]), fds[0]
}

func (s *service) listen(t *testing.T) *notifier {
	t.Helper()
	n, err := listenNotify(s.dir, s.host)
	if err != nil || n == nil {
		t.Fatal(n, err)
	}
	return n
}

// hearsReady takes all that is passed on, and answers.
func (s *service) hearsReady(t *testing.T) {
	t.Helper()
	for _, want := range []string{"READY=1\n", "MAINPID=4711\n", "BARRIER=1"} {
		got, fd := s.hears(t)
		if got != want || (fd >= 0) != (want == "BARRIER=1") {
			t.Errorf("heard %q with descriptor %d, want %q", got, fd, want)
		}
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

func TestReadinessIsPassedOn(t *testing.T) {
	for _, c := range []struct {
		name     string
		abstract bool
		messages []string
		dead     bool
	}{
		{"alone", false, []string{"READY=1"}, false},
		{"to an abstract socket", true, []string{"READY=1\n"}, false},
		{"after and among what is not passed on", false, []string{"STATUS=busy", "MAINPID=1\nREADY=1\nFDSTORE=1"}, false},
		{"though the container ended right after", false, []string{"STATUS=x", "READY=1"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := startService(t, c.abstract)
			n := s.listen(t)
			for _, m := range c.messages {
				if err := s.say(m); err != nil {
					t.Fatal(err)
				}
			}
			if c.dead {
				s.kill()
			}
			n.forwardBeside(s.pidfd, 4711)
			s.hearsReady(t)
			if err := n.finish(); err != nil {
				t.Error(err)
			}
			if err := s.say("WATCHDOG=1"); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("a later message: %v, want ECONNREFUSED, not a queue that fills up", err)
			}
		})
	}
}

func TestAContainerThatEndsUnreadyIsNotWaitedFor(t *testing.T) {
	s := startService(t, false)
	n := s.listen(t)
	if err := s.say("STATUS=dying"); err != nil {
		t.Fatal(err)
	}
	n.forwardBeside(s.pidfd, 4711)
	s.kill()
	if err := n.finish(); err != nil {
		t.Error(err)
	}
	// Nothing was sent: this comes first.
	if conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.host, Net: "unixgram"}); err != nil {
		t.Error(err)
	} else if _, err := conn.Write([]byte("end")); err != nil {
		t.Error(err)
	} else {
		_ = conn.Close()
	}
	if got, _ := s.hears(t); got != "end" {
		t.Errorf("passed on: %q", got)
	}
}

func TestAServiceManagerThatIsGoneIsAnError(t *testing.T) {
	s := startService(t, false)
	n := s.listen(t)
	if err := errors.Join(s.say("READY=1"), s.manager.Close(), os.RemoveAll(s.host)); err != nil {
		t.Fatal(err)
	}
	want := "NOTIFY_SOCKET " + s.host + ": connect: no such file or directory"
	if err := n.forward(s.pidfd, 4711); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestTheBarrierWaitsForTheOtherSideToCloseIt(t *testing.T) {
	s := startService(t, false)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	defer unix.Close(pair[0])
	if err := barrier(pair[0], 20); !errors.Is(err, unix.ETIMEDOUT) {
		t.Errorf("%v, want ETIMEDOUT", err)
	}
	done := make(chan error, 1)
	go func() { done <- tellReady(s.host, "READY=1", 4711) }()
	s.hearsReady(t)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestListenNotify(t *testing.T) {
	t.Run("nobody is to be told", func(t *testing.T) {
		s := startService(t, false)
		if n, err := listenNotify(s.dir, ""); n != nil || err != nil {
			t.Error(n, err)
		}
	})
	t.Run("the container was created without", func(t *testing.T) {
		dir, err := state.Create(t.TempDir(), "c")
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		n, err := listenNotify(dir, "/run/systemd/notify")
		if n != nil || err != nil {
			t.Error(n, err)
		}
		n.forwardBeside(-1, 0)
		if err := n.finish(); err != nil {
			t.Error(err)
		}
		n.close()
	})
	t.Run("a start before this one failed", func(t *testing.T) {
		s := startService(t, false)
		s.listen(t).close()
		n := s.listen(t)
		defer n.close()
		if err := s.say("X=1"); err != nil {
			t.Error(err)
		}
	})
	t.Run("any user may write, none may change the directory", func(t *testing.T) {
		s := startService(t, false)
		n := s.listen(t)
		defer n.close()
		for name, want := range map[string]os.FileMode{"notify": 0o755, "notify/notify.sock": 0o777} {
			info, err := os.Stat(s.dir.Path() + "/" + name)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != want {
				t.Errorf("%s: mode %o, want %o", name, info.Mode().Perm(), want)
			}
		}
	})
}
