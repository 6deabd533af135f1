package root_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// pidfdSocket receives pidfds from runtimes.
func pidfdSocket(t *testing.T) (path string, take func() int) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "pidfd")
	l := listenUnix(t, path)
	return path, func() int {
		t.Helper()
		if err := l.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		fd := takeDescriptor(t, l)
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
}

// pidOf is the process that a pidfd stands for, proc_pid_fdinfo(5).
func pidOf(t *testing.T, fd int) int {
	t.Helper()
	for line := range strings.Lines(read(t, fmt.Sprintf("/proc/self/fdinfo/%d", fd))) {
		if value, ok := strings.CutPrefix(line, "Pid:"); ok {
			return int(atoi(t, value))
		}
	}
	t.Fatal("not a pidfd")
	return 0
}

// ended says whether the process of a pidfd has ended.
func ended(t *testing.T, fd int) bool {
	t.Helper()
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return n == 1
}

func TestPidfdSocket(t *testing.T) {
	harness.NeedRoot(t)
	t.Run("of create", func(t *testing.T) {
		e := harness.New(t)
		socket, take := pidfdSocket(t)
		id := e.ID("c")
		e.MustRun("create", "--pidfd-socket", socket, "-b", e.Bundle(sleeper, nil), id)
		fd := take()
		equal(t, "process", e.State(id).Pid, pidOf(t, fd))
		e.MustRun("start", id)
		equal(t, "ended", false, ended(t, fd))
		if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
			t.Fatal(err)
		}
		e.WaitStatus(id, specs.StateStopped)
		equal(t, "ended", true, ended(t, fd))
	})
	t.Run("of run", func(t *testing.T) {
		e := harness.New(t)
		socket, take := pidfdSocket(t)
		c := startIn(t, e, e.Bundle(sleeper, nil), "--pidfd-socket", socket)
		equal(t, "process", c.pid, pidOf(t, take()))
	})
	t.Run("of exec", func(t *testing.T) {
		c := start(t, nil)
		socket, take := pidfdSocket(t)
		file := filepath.Join(t.TempDir(), "pid")
		c.MustRun("exec", "-d", "--pid-file", file, "--pidfd-socket", socket, c.id, "sleep", "1000")
		equal(t, "process", read(t, file), fmt.Sprint(pidOf(t, take())))
	})
}

// TestPidfdReceiver is crun's annotation for the same.
func TestPidfdReceiver(t *testing.T) {
	harness.NeedRoot(t)
	to := func(socket string) change {
		return func(s *specs.Spec) { s.Annotations = map[string]string{"run.oci.pidfd_receiver": socket} }
	}
	t.Run("of create", func(t *testing.T) {
		e := harness.New(t)
		socket, take := pidfdSocket(t)
		id := e.ID("c")
		e.MustRun("create", "-b", e.Bundle(sleeper, to(socket)), id)
		equal(t, "process", e.State(id).Pid, pidOf(t, take()))
	})
	t.Run("beside the flag", func(t *testing.T) {
		e := harness.New(t)
		one, takeOne := pidfdSocket(t)
		other, takeOther := pidfdSocket(t)
		c := startIn(t, e, e.Bundle(sleeper, to(one)), "--pidfd-socket", other)
		equal(t, "processes", []int{c.pid, c.pid}, []int{pidOf(t, takeOne()), pidOf(t, takeOther())})
	})
	t.Run("that is missing", func(t *testing.T) {
		e := harness.New(t)
		r := e.Run("create", "-b", e.Bundle("true", to(filepath.Join(t.TempDir(), "none"))), e.ID("c"))
		wantFailure(t, r, `annotations[\"run.oci.pidfd_receiver\"]`, "no such file or directory")
	})
}
