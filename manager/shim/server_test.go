package shim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// The containers of a group share a process and a connection, until the last of them gives it up.
func TestGroup(t *testing.T) {
	f := newFakes(t, "new group only2")
	a := f.start("a")
	b := f.start("b")
	if a.PID() != b.PID() || a.server != b.server || len(f.processes()) != 1 {
		t.Errorf("processes %d and %d of %v", a.PID(), b.PID(), f.processes())
	}
	if a.Version() != 2 || b.Version() != 2 {
		t.Errorf("versions %d and %d", a.Version(), b.Version())
	}
	for range 2 { // it can be repeated
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := b.Tasks().State(t.Context(), &taskv3.StateRequest{ID: "b"}); err != nil {
		t.Error(err)
	}
	b.Close() //nolint:errcheck // as above
	if _, err := b.Tasks().State(t.Context(), &taskv3.StateRequest{ID: "b"}); !errdefs.IsUnavailable(err) {
		t.Errorf("after the last: %v", err)
	}
	if len(f.launcher.servers) != 0 || len(f.processes()) != 1 {
		t.Errorf("%d servers, processes %v", len(f.launcher.servers), f.processes())
	}
}

// A connection that breaks is made again; who only asked does not notice.
func TestBrokenConnection(t *testing.T) {
	f := newFakes(t, "new")
	s := f.start("a")
	var waited sync.WaitGroup
	waited.Go(func() {
		r, err := s.Tasks().Wait(t.Context(), &taskv3.WaitRequest{ID: "a"})
		if err != nil || r.ExitStatus != 9 {
			t.Errorf("wait: %v, %v", r, err)
		}
	})
	for i := range 5 {
		// One that does something is not repeated: nobody knows whether it was done.
		if _, err := s.Tasks().Pause(t.Context(), &taskv3.PauseRequest{ID: "a"}); !errdefs.IsUnavailable(err) {
			t.Errorf("pause %d: %v", i, err)
		}
		state, err := s.Tasks().State(t.Context(), &taskv3.StateRequest{ID: "a"})
		if err != nil || int(state.Pid) != s.PID() {
			t.Errorf("state %d: %v, %v", i, state, err)
		}
	}
	waited.Wait()
	select {
	case <-s.Gone():
		t.Error("it is taken for dead")
	default:
	}
}

func TestDeadServer(t *testing.T) {
	f := newFakes(t, "new")
	s := f.start("a")
	if err := unix.Kill(s.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	dies(t, s)
	if _, err := s.Tasks().State(t.Context(), &taskv3.StateRequest{ID: "a"}); !errdefs.IsUnavailable(err) {
		t.Errorf("got %v", err)
	}
	if _, err := f.launcher.Load(t.Context(), s.bundle); !errdefs.IsNotFound(err) {
		t.Errorf("load: %v", err)
	}
}

// The next server of an address is not taken for the one that has died, nor the other way round.
func TestNextServer(t *testing.T) {
	f := newFakes(t, "new group")
	s := f.start("a")
	if err := unix.Kill(s.PID(), unix.SIGSTOP); err != nil { // it keeps its connection, as one that leaves
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(f.dir, "group")); err != nil {
		t.Fatal(err)
	}
	next := f.start("b")
	if next.PID() == s.PID() || next.server == s.server {
		t.Fatal("they are taken for one")
	}
	if err := unix.Kill(s.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	dies(t, s)
	s.Close() //nolint:errcheck // it is dead
	if _, err := next.Tasks().State(t.Context(), &taskv3.StateRequest{ID: "b"}); err != nil {
		t.Error(err)
	}
	if f.launcher.servers[next.Address()] != next.server {
		t.Error("the next one is forgotten")
	}
}

func TestShutdown(t *testing.T) {
	for words, c := range map[string]struct {
		is    func(error) bool
		lives bool
	}{
		"new":         {func(err error) bool { return err == nil }, false},
		"new stays":   {func(err error) bool { return err == nil }, false},
		"new hangs":   {func(err error) bool { return err == nil }, false},
		"new refuses": {errdefs.IsFailedPrecondition, true},
		"liar hangs":  {errdefs.IsFailedPrecondition, true}, // its pid is another's, which must live
	} {
		t.Run(words, func(t *testing.T) {
			t.Parallel()
			f := newFakes(t, words)
			f.launcher.limits.shutdown = 500 * time.Millisecond
			s := f.start("a")
			if err := s.Shutdown(t.Context()); !c.is(err) {
				t.Errorf("got %v", err)
			}
			select {
			case <-s.Gone():
				if c.lives {
					t.Error("it is taken for dead")
				}
			default:
				if !c.lives {
					t.Error("it is dead, and nobody is told")
				}
			}
			if c.lives != (len(f.processes()) > 0) && !harness.Until(10*time.Second, func() bool { return c.lives == (len(f.processes()) > 0) }) {
				t.Errorf("processes %v, want some: %v", f.processes(), c.lives)
			}
		})
	}
}

// A server that hangs is not killed while another task is its: loaded, or known by its bundle alone.
func TestShutdownOfAGroup(t *testing.T) {
	f := newFakes(t, "new group hangs")
	f.launcher.limits.shutdown = 500 * time.Millisecond
	a, b := f.start("a"), f.start("b")
	if err := a.Shutdown(t.Context()); err == nil {
		t.Error("one that hangs has answered")
	}
	a.Close() //nolint:errcheck // b has the connection
	if _, err := b.Tasks().State(t.Context(), &taskv3.StateRequest{ID: "b"}); err != nil {
		t.Error(err)
	}
	if err := b.Shutdown(t.Context()); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("a's bundle is there: got %v", err)
	}
	if len(f.processes()) != 1 {
		t.Error("it was killed")
	}
	b.Close() //nolint:errcheck // nothing is left to give up
	if err := a.bundle.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	again, err := f.launcher.Load(t.Context(), b.bundle)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close() //nolint:errcheck // as above
	if err := again.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	f.noneLeft()
}

// What many shims have cost the manager, in descriptors and goroutines, is given back.
func TestCycles(t *testing.T) {
	f := newFakes(t, "new")
	cycle := func(i int) {
		b := f.bundle(fmt.Sprint("c", i))
		s, err := f.launcher.Start(t.Context(), b, f.request())
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			err = s.Shutdown(t.Context())
		} else {
			err = unix.Kill(s.PID(), unix.SIGKILL)
			dies(t, s)
		}
		if err := errors.Join(err, s.Close(), b.Remove(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	cycle(0) // what is made once
	files, routines := openFiles(t), runtime.NumGoroutine()
	for i := range 20 {
		cycle(i + 1)
	}
	if !harness.Until(10*time.Second, func() bool { return openFiles(t) <= files && runtime.NumGoroutine() <= routines }) {
		t.Errorf("%d files, and before %d; %d goroutines, and before %d", openFiles(t), files, runtime.NumGoroutine(), routines)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
