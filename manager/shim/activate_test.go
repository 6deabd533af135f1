package shim

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/gantry-containers/gantry/tests/harness"
)

// newOwnFakes makes a fake that is taken for our own shim.
func newOwnFakes(t *testing.T, words string) *fakes {
	t.Helper()
	f := newFakes(t, words)
	f.launcher.own = f.binary
	return f
}

func runcOptions(t *testing.T, o *runcoptions.Options) *anypb.Any {
	t.Helper()
	a, err := anypb.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Our own shim is started without its start action, ends as others do, and is waited for.
func TestActivate(t *testing.T) {
	f := newOwnFakes(t, "new serves")
	b := f.bundle("a")
	s, err := f.launcher.Start(t.Context(), b, Request{Runtime: f.binary, Options: runcOptions(t, &runcoptions.Options{BinaryName: "/x"})})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // it never fails
	checkState(t, s, "a", true)
	if got, want := s.Address(), addressIn(f.dir, f.config.Address, "test", "a"); got != want || s.Version() != 3 {
		t.Errorf("version %d at %s, want 3 at %s", s.Version(), got, want)
	}
	if info, err := os.Stat(s.Address()[len("unix://"):]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("its socket: %v, %v", info, err)
	}
	if parent := parentOf(t, s.PID()); parent != os.Getpid() {
		t.Errorf("its parent is process %d", parent)
	}
	if calls := f.calls(); !slices.Equal(calls, []string{"serve"}) {
		t.Errorf("calls %q", calls)
	}
	// Another manager finds it.
	other := New(f.config)
	loaded, err := other.Load(t.Context(), b)
	if err != nil || loaded.PID() != s.PID() {
		t.Errorf("loaded %v, %v", loaded, err)
	} else if err := loaded.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	dies(t, s)
	// A process that nobody has waited for is there still, without an environment.
	if !harness.Until(10*time.Second, func() bool { return unix.Kill(s.PID(), 0) == unix.ESRCH }) {
		t.Error("nobody has waited for it")
	}
}

// What start has to find out, or to do, is left to it.
func TestNotActivated(t *testing.T) {
	for name, c := range map[string]struct {
		spec    string
		options *anypb.Any
		env     string
	}{
		"a group":               {spec: `{"annotations":{"io.containerd.runc.v2.group":"g"}}`},
		"a pod":                 {spec: `{"annotations":{"io.kubernetes.cri.sandbox-id":"g"}}`},
		"a sandbox":             {},
		"a cgroup for the shim": {spec: "{}", options: runcOptions(t, &runcoptions.Options{ShimCgroup: "/x"})},
		"options of another":    {spec: "{}", options: &anypb.Any{TypeUrl: "test/Options"}},
		"options that are no":   {spec: "{}", options: &anypb.Any{TypeUrl: "containerd.runc.v1.Options", Value: []byte{0xff}}},
		"scheduling of its own": {spec: "{}", env: "1"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newOwnFakes(t, "new serves")
			if c.env != "" {
				t.Setenv("SCHED_CORE", c.env)
			}
			var spec []byte
			if c.spec != "" {
				spec = []byte(c.spec)
			}
			b, err := f.store.Create(t.Context(), "test", "a", spec)
			if err != nil {
				t.Fatal(err)
			}
			s, err := f.launcher.Start(t.Context(), b, Request{Runtime: f.binary, Options: c.options})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close() //nolint:errcheck // it never fails
			if calls := f.calls(); !slices.Equal(calls, []string{"start"}) {
				t.Errorf("calls %q", calls)
			}
		})
	}
}

// A binary that does not know the action is asked once; the start action does instead, and of the attempt nothing is left.
func TestActivateRefused(t *testing.T) {
	f := newOwnFakes(t, "new")
	for _, id := range []string{"a", "b"} {
		s, err := f.launcher.Start(t.Context(), f.bundle(id), Request{Runtime: f.binary})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close() //nolint:errcheck // it never fails
		checkState(t, s, id, true)
		socket := addressIn(f.dir, f.config.Address, "test", id)[len("unix://"):]
		if _, err := os.Stat(socket); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket of the attempt: %v", err)
		}
	}
	if calls := f.calls(); !slices.Equal(calls, []string{"serve", "start", "start"}) {
		t.Errorf("calls %q", calls)
	}
}

// A server that does not answer is killed, and one whose socket's name is taken is left to start.
func TestActivateFails(t *testing.T) {
	f := newOwnFakes(t, "new serves mute")
	f.launcher.limits.answer = 2 * time.Second
	if s, err := f.launcher.Start(t.Context(), f.bundle("a"), Request{Runtime: f.binary}); err == nil {
		t.Errorf("got %v", s)
	}
	f.noneLeft()
	if calls := f.calls(); !slices.Equal(calls, []string{"serve", "start"}) {
		t.Errorf("calls %q", calls)
	}

	f = newOwnFakes(t, "new serves")
	path := filepath.Clean(addressIn(f.dir, f.config.Address, "test", "a")[len("unix://"):])
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := f.launcher.Start(t.Context(), f.bundle("a"), Request{Runtime: f.binary})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // it never fails
	if _, err := os.Stat(path); err != nil {
		t.Errorf("what had the name: %v", err)
	}
	if calls := f.calls(); !slices.Equal(calls, []string{"start"}) {
		t.Errorf("calls %q", calls)
	}
}
