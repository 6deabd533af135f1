//go:build amd64 || arm64 || riscv64

package sigcatch

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func start(t testing.TB) *Catcher {
	t.Helper()
	c, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// send sends a signal to this process and waits for it.
func send(t *testing.T, c *Catcher, sig unix.Signal) {
	t.Helper()
	if err := unix.Kill(unix.Getpid(), sig); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 8)
	n, err := c.Read(buf)
	if err != nil || n != 1 || unix.Signal(buf[0]) != sig {
		t.Errorf("read %v, %v, want signal %d", buf[:max(n, 0)], err, int(sig))
	}
}

func TestEverySignalThatIsPassedOnArrives(t *testing.T) {
	c := start(t)
	defer c.Stop()
	caught := all()
	for _, sig := range caught {
		send(t, c, sig)
	}
	// 64 signals without 6 faults and 2 that can't be caught, without those of Go, of the
	// terminal, of the C library, SIGPIPE and SIGCHLD.
	if want := 64 - 6 - 2 - 2 - 2 - 2 - 1 - 1; len(caught) != want {
		t.Errorf("%d signals caught, want %d: %v", len(caught), want, caught)
	}
	if err := c.Add(unix.SIGCHLD); err != nil {
		t.Fatal(err)
	}
	send(t, c, unix.SIGCHLD)
}

func TestOnlyTheNamedSignalsAreCaught(t *testing.T) {
	before := dispositions(t)
	c, err := Start(unix.SIGCHLD, unix.SIGUSR1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	for sig, handler := range dispositions(t) {
		named := unix.Signal(sig) == unix.SIGCHLD || unix.Signal(sig) == unix.SIGUSR1
		if (handler != before[sig]) != named {
			t.Errorf("signal %d: handler %#x, before %#x", sig, handler, before[sig])
		}
	}
	send(t, c, unix.SIGCHLD)
}

func TestStopPutsBackWhatSignalsDid(t *testing.T) {
	before := dispositions(t)
	c := start(t)
	if err := c.Add(unix.SIGCHLD); err != nil {
		t.Fatal(err)
	}
	during := dispositions(t)
	if cmp.Equal(before, during) {
		t.Error("nothing was caught")
	}
	if _, err := Start(); !errors.Is(err, unix.EBUSY) {
		t.Errorf("second Start: %v, want EBUSY", err)
	}
	c.Stop()
	if diff := cmp.Diff(before, dispositions(t)); diff != "" {
		t.Error(diff)
	}
	again := start(t)
	defer again.Stop()
	send(t, again, unix.SIGUSR1)
}

// dispositions are the handlers of all signals, as the kernel has them.
func dispositions(t *testing.T) (handlers [last + 1]uintptr) {
	t.Helper()
	for sig := unix.Signal(1); sig <= last; sig++ {
		var a action
		if err := setAction(sig, nil, &a); err != nil {
			t.Fatal(err)
		}
		handlers[sig] = a.handler
	}
	return handlers
}

// SIGUSR1 because Go itself unblocks those that end a program.
func TestSignalsThatTheCallerBlockedArrive(t *testing.T) {
	const child = "GANTRY_SIGCATCH_CHILD"
	if os.Getenv(child) != "" {
		c := start(t)
		defer c.Stop()
		send(t, c, unix.SIGUSR1)
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var block, old unix.Sigset_t
	block.Val[0] = bit(unix.SIGUSR1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &block, &old); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=10s")
	cmd.Env = append(os.Environ(), child+"=1")
	out, err := cmd.CombinedOutput()
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestFaultsStillReachGo(t *testing.T) {
	c := start(t)
	defer c.Stop()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	*nowhere() = 1 // SIGSEGV
}

//go:noinline
func nowhere() *int { return nil }

func BenchmarkStartStop(b *testing.B) {
	for b.Loop() {
		c := start(b)
		c.Stop()
	}
}
