package shim

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

// Every way to ask and to answer; what a binary understands is found once.
func TestGenerations(t *testing.T) {
	for words, c := range map[string]struct {
		version int
		starts  int // for two containers
	}{
		"new":                    {3, 2},
		"new json":               {3, 2},
		"new only2":              {2, 2}, // as a group's server that is older than the binary
		"new says2":              {2, 2},
		"old plain only2":        {2, 3},
		"old json only2":         {2, 3},
		"old json only3":         {3, 3},
		"new chatty":             {3, 2},
		"new unknown only3 json": {3, 2},
	} {
		t.Run(words, func(t *testing.T) {
			f := newFakes(t, words)
			for _, id := range []string{"a", "b"} {
				s := f.start(id)
				if s.Version() != c.version {
					t.Errorf("version %d, want %d", s.Version(), c.version)
				}
				if want := "unix://" + filepath.Join(f.dir, id); s.Address() != want {
					t.Errorf("address %s, want %s", s.Address(), want)
				}
				checkState(t, s, id, !strings.Contains(words, "unknown"))
				checkNote(t, s, c.version)
			}
			if got := len(f.calls()); got != c.starts {
				t.Errorf("%d starts, want %d", got, c.starts)
			}
			if n := len(f.processes()); n != 2 { // a try has left none
				t.Errorf("%d processes", n)
			}
		})
	}
}

func checkState(t *testing.T, s *Shim, id string, tells bool) {
	t.Helper()
	state, err := s.Tasks().State(t.Context(), &taskv3.StateRequest{ID: id})
	if err != nil || state.ID != id {
		t.Errorf("state %v, %v", state, err)
	}
	if tells && s.PID() != int(state.Pid) {
		t.Errorf("process %d, want %d", s.PID(), state.Pid)
	}
}

// checkNote looks at what is to be found again.
func checkNote(t *testing.T, s *Shim, version int) {
	t.Helper()
	var noted struct {
		Version           int
		Address, Protocol string
	}
	data, err := os.ReadFile(filepath.Join(s.bundle.Path, "bootstrap.json"))
	if err := errors.Join(err, json.Unmarshal(data, &noted)); err != nil {
		t.Error(err)
	}
	if noted.Version != version || noted.Address != s.Address() || noted.Protocol != "ttrpc" {
		t.Errorf("noted is %+v", noted)
	}
}

// A binary that is replaced is tried anew.
func TestAnotherBinary(t *testing.T) {
	f := newFakes(t, "old plain")
	f.start("a")
	program, err := os.ReadFile(f.binary)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(f.binary), os.WriteFile(f.binary, program, 0o755)); err != nil {
		t.Fatal(err)
	}
	f.start("b")
	if diff := cmp.Diff([]string{"start", "start", "start", "start"}, f.calls()); diff != "" {
		t.Error(diff)
	}
}

func TestErrorsAreNative(t *testing.T) {
	for _, words := range []string{"new only3", "old plain only2"} {
		s := newFakes(t, words).start("a")
		if _, err := s.Tasks().Resume(t.Context(), &taskv3.ResumeRequest{ID: "a"}); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("%s: got %v", words, err)
		}
		if _, err := s.Tasks().Kill(t.Context(), &taskv3.KillRequest{ID: "a"}); !errdefs.IsNotImplemented(err) {
			t.Errorf("%s: got %v", words, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if _, err := s.Tasks().Wait(ctx, &taskv3.WaitRequest{ID: "a"}); !errdefs.IsDeadlineExceeded(err) {
			t.Errorf("%s: got %v", words, err)
		}
		cancel()
	}
}

// A shim that misbehaves is told plainly, and nothing of it is left.
func TestHostileStart(t *testing.T) {
	for words, c := range map[string]struct {
		text string
		is   func(error) bool
	}{
		"hostile garbage":  {"its answer is no address", errdefs.IsUnavailable},
		"hostile lines":    {"its answer is no address", errdefs.IsUnavailable},
		"hostile json":     {"its answer: unexpected end", errdefs.IsUnavailable},
		"hostile huge":     {"it writes more than 1048576 bytes", errdefs.IsUnavailable},
		"hostile hang":     {"it has not ended after 1s", errdefs.IsUnavailable},
		"hostile silent":   {"it has ended without an answer", errdefs.IsUnavailable},
		"hostile fails":    {"no space left on device: exit status 1", errdefs.IsUnavailable},
		"hostile long":     {"has 201 bytes, and a socket's may have 106", errdefs.IsInvalidArgument},
		"hostile relative": {"not absolute", errdefs.IsInvalidArgument},
		"hostile vsock":    {"only unix sockets are known", errdefs.IsNotImplemented},
		"hostile version":  {"version 9 of the task service", errdefs.IsNotImplemented},
		"hostile grpc":     {`it speaks "grpc"`, errdefs.IsNotImplemented},
		"hostile mute":     {"does not answer", errdefs.IsUnavailable},
		"nobody":           {"no shim listens at", errdefs.IsUnavailable},
		"only0 nobody new": {"no shim listens at", errdefs.IsUnavailable},
	} {
		t.Run(words, func(t *testing.T) {
			t.Parallel()
			f := newFakes(t, words)
			f.launcher.limits.start, f.launcher.limits.answer = 10*time.Second, 2*time.Second
			if words == "hostile hang" {
				f.launcher.limits.start = time.Second
			}
			b := f.bundle("a")
			_, err := f.launcher.Start(t.Context(), b, f.request())
			if err == nil || !strings.Contains(err.Error(), c.text) || !c.is(err) {
				t.Errorf("got %v, want %s", err, c.text)
			}
			if !strings.HasPrefix(err.Error(), "start of containerd-shim-fake-v2: ") {
				t.Errorf("whose is it? %v", err)
			}
			f.noneLeft()
			if _, err := f.launcher.Load(t.Context(), b); !errdefs.IsNotFound(err) {
				t.Errorf("load: %v", err)
			}
		})
	}
}

// The socket of a server that is killed goes with it.
func TestHostileStartLeavesNoSocket(t *testing.T) {
	f := newFakes(t, "usual hostile fails")
	if _, err := f.launcher.Start(t.Context(), f.bundle("a"), f.request()); !errdefs.IsUnavailable(err) {
		t.Errorf("got %v", err)
	}
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Type() == fs.ModeSocket {
			t.Errorf("left behind: %s", e.Name())
		}
	}
}

// A caller that gives up is not waited for.
func TestStartCancelled(t *testing.T) {
	f := newFakes(t, "hostile hang")
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := f.launcher.Start(ctx, f.bundle("a"), f.request()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	f.noneLeft()
}

// A server that keeps the output of start open does not hold it up.
func TestServerHoldsOutput(t *testing.T) {
	f := newFakes(t, "holds new")
	f.start("a")
}

func TestNoBinary(t *testing.T) {
	f := newFakes(t, "new")
	for runtime, is := range map[string]func(error) bool{
		"io.containerd.nobody.v2":  errdefs.IsNotFound,
		"/nowhere/containerd-shim": errdefs.IsNotFound,
		"/":                        errdefs.IsNotFound,
		"bin/containerd-shim":      errdefs.IsInvalidArgument,
		"runc":                     errdefs.IsInvalidArgument,
		"":                         errdefs.IsInvalidArgument,
		".v2":                      errdefs.IsInvalidArgument,
		"io..v2":                   errdefs.IsInvalidArgument,
		"../x.v2":                  errdefs.IsInvalidArgument,
	} {
		_, err := f.launcher.Start(t.Context(), f.store.Get("test", "none"), Request{Runtime: runtime})
		if err == nil || !is(err) {
			t.Errorf("%q: got %v", runtime, err)
		}
	}
}
