package root_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// filter allows everything but the rules.
func filter(rules ...specs.LinuxSyscall) change {
	return func(s *specs.Spec) {
		s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: rules}
	}
}

func mkdirRule(action specs.LinuxSeccompAction) specs.LinuxSyscall {
	return specs.LinuxSyscall{Names: []string{"mkdir", "mkdirat"}, Action: action}
}

func withoutNNP(edit change) change {
	return func(s *specs.Spec) {
		s.Process.NoNewPrivileges = false
		edit(s)
	}
}

func TestSeccompErrno(t *testing.T) {
	rule := mkdirRule(specs.ActErrno)
	rule.ErrnoRet = new(uint(unix.ENOSPC))
	for name, edit := range map[string]change{"with noNewPrivileges": filter(rule), "without it": withoutNNP(filter(rule))} {
		t.Run(name, func(t *testing.T) {
			for _, run := range []string{"compiled", "cached"} {
				t.Run(run, func(t *testing.T) {
					expect(t, "mkdir /new 2>&1; grep -E 'Seccomp:|NoNew|CapPrm' /proc/self/status", fmt.Sprintf(
						"mkdir: can't create directory '/new': No space left on device\nCapPrm:\t0000000020000420\nNoNewPrivs:\t%d\nSeccomp:\t2",
						map[bool]int{true: 1}[name == "with noNewPrivileges"]), edit)
				})
			}
		})
	}
}

func TestSeccompDefaultErrno(t *testing.T) {
	expect(t, "mkdir /new 2>&1 || true", "mkdir: can't create directory '/new': Operation not permitted", filter(mkdirRule(specs.ActErrno)))
}

func TestSeccompKill(t *testing.T) {
	for _, action := range []specs.LinuxSeccompAction{specs.ActKill, specs.ActKillThread, specs.ActKillProcess, specs.ActTrap} {
		t.Run(string(action), func(t *testing.T) {
			expect(t, "mkdir /new 2>/dev/null; echo $?", "159", filter(mkdirRule(action))) // 128 + SIGSYS
		})
	}
}

func TestSeccompLogAndAllow(t *testing.T) {
	for _, action := range []specs.LinuxSeccompAction{specs.ActLog, specs.ActAllow} {
		t.Run(string(action), func(t *testing.T) {
			expect(t, "mkdir /new && echo made", "made", filter(mkdirRule(action)))
		})
	}
}

func TestSeccompArguments(t *testing.T) {
	// kill(pid, SIGUSR1) is refused, others are not.
	expect(t, "kill -USR1 $$ 2>&1; kill -0 $$ && echo ok", "sh: can't kill pid 1: Operation not permitted\nok", filter(specs.LinuxSyscall{
		Names: []string{"kill"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Index: 1, Value: uint64(unix.SIGUSR1), Op: specs.OpEqualTo}},
	}))
}

// dockerProfile is Docker's filter.
func dockerProfile(t *testing.T) change {
	return func(s *specs.Spec) {
		b, err := os.ReadFile(filepath.Join(harness.Top(), "tests", "bench", "testdata", "seccomp-docker.json"))
		if err == nil {
			s.Linux.Seccomp = new(specs.LinuxSeccomp)
			err = json.Unmarshal(b, s.Linux.Seccomp)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestSeccompOfDocker(t *testing.T) {
	expect(t, "unshare -U true 2>&1; mkdir /new && echo made", "unshare: unshare(0x10000000): Operation not permitted\nmade", dockerProfile(t))
}

func TestSeccompHoldsForExec(t *testing.T) {
	harness.NeedRoot(t)
	c := start(t, filter(mkdirRule(specs.ActErrno)))
	equal(t, "exec", "mkdir: can't create directory '/new': Operation not permitted", c.exec("mkdir /new 2>&1 || true"))
}

func TestBadSeccompProfile(t *testing.T) {
	refuse(t, filter(specs.LinuxSyscall{Names: []string{"mkdir"}, Action: "SCMP_ACT_NONSENSE"}), "linux.seccomp.syscalls[0].action", "SCMP_ACT_NONSENSE")
}

// notified is what the listener of a filter was told.
type notified struct {
	state  specs.ContainerProcessState
	answer error
}

// listener takes the descriptor of a filter and answers one system call with an errno.
func listener(t *testing.T, socket string, errno unix.Errno) <-chan notified {
	t.Helper()
	l := listenUnix(t, socket)
	got := make(chan notified, 1)
	go func() {
		var n notified
		n.state, n.answer = answer(l, errno)
		got <- n
	}()
	return got
}

func answer(l *net.UnixListener, errno unix.Errno) (state specs.ContainerProcessState, err error) {
	r := takeListener(l)
	if r.err != nil {
		return r.state, r.err
	}
	defer unix.Close(r.fd)
	return r.state, answerCall(r.fd, errno)
}

// takeListener takes the descriptor of one filter.
func takeListener(l *net.UnixListener) (r received) {
	conn, err := l.AcceptUnix()
	if err != nil {
		return received{err: err}
	}
	defer func() { _ = conn.Close() }()
	buf, oob := make([]byte, 1<<16), make([]byte, 1024)
	n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err == nil {
		err = json.Unmarshal(buf[:n], &r.state)
	}
	if err == nil {
		r.fd, err = onlyDescriptor(oob[:oobn])
	}
	r.err = err
	return r
}

func TestSeccompNotify(t *testing.T) {
	harness.NeedRoot(t)
	for name, nnp := range map[string]bool{"with noNewPrivileges": true, "without it": false} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "s")
			got := listener(t, socket, unix.ENOTEMPTY)
			e := harness.New(t)
			id := e.ID("c")
			bundle := e.Bundle("mkdir /new 2>&1; true", func(s *specs.Spec) {
				filter(mkdirRule(specs.ActNotify))(s)
				s.Process.NoNewPrivileges = nnp
				s.Annotations = map[string]string{"colour": "blue"}
				s.Linux.Seccomp.ListenerPath, s.Linux.Seccomp.ListenerMetadata = socket, "about it"
			})
			equal(t, "what the program saw", "mkdir: can't create directory '/new': Directory not empty\n", e.MustRun("run", "-b", bundle, id))
			n := <-got
			if n.answer != nil {
				t.Fatal(n.answer)
			}
			st := n.state
			equal(t, "descriptors", []string{specs.SeccompFdName}, st.Fds)
			equal(t, "metadata", "about it", st.Metadata)
			equal(t, "state", []any{id, specs.StateCreating, bundle, map[string]string{"colour": "blue"}},
				[]any{st.State.ID, st.State.Status, st.State.Bundle, st.State.Annotations})
			if st.Pid <= 0 || st.Pid != st.State.Pid {
				t.Errorf("pid %d, pid of the container %d", st.Pid, st.State.Pid)
			}
		})
	}
}

// TestSeccompNotifyOfACreatedContainer: create hands the listener over, for it alone can; the
// program that start lets go on is then at the agent's mercy.
func TestSeccompNotifyOfACreatedContainer(t *testing.T) {
	harness.NeedRoot(t)
	for name, nnp := range map[string]bool{"with noNewPrivileges": true, "without it": false} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "s")
			got := listener(t, socket, unix.ENOTEMPTY)
			e := harness.New(t)
			id := e.ID("c")
			bundle := e.Bundle("mkdir /new; true", func(s *specs.Spec) {
				filter(mkdirRule(specs.ActNotify))(s)
				s.Process.NoNewPrivileges = nnp
				s.Linux.Seccomp.ListenerPath = socket
			})
			e.MustRun("create", "-b", bundle, id)
			e.MustRun("start", id)
			n := <-got
			if n.answer != nil {
				t.Fatal(n.answer)
			}
			equal(t, "state", []any{id, specs.StateCreating}, []any{n.state.State.ID, n.state.State.Status})
			if n.state.Pid <= 0 || n.state.Pid != n.state.State.Pid {
				t.Errorf("pid %d, pid of the container %d", n.state.Pid, n.state.State.Pid)
			}
			e.WaitStatus(id, specs.StateStopped)
		})
	}
}

func TestSeccompListenerIsMissing(t *testing.T) {
	refuse(t, func(s *specs.Spec) {
		filter(mkdirRule(specs.ActNotify))(s)
		s.Linux.Seccomp.ListenerPath = "/none/socket"
	}, "linux.seccomp.listenerPath", "no such file or directory")
}

// answerCall waits for one system call and makes it fail.
func answerCall(fd int, errno unix.Errno) error {
	for {
		id, err := receiveCall(fd)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		return refuseCall(fd, id, errno)
	}
}
