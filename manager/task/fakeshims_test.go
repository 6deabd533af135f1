package task

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/events"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/gantry-containers/gantry/manager/bundle"
	"github.com/gantry-containers/gantry/manager/shim"
)

// fault is what a call of a shim is to do before it does its work: nil is nothing. An error of it is the call's.
type fault func(s *fakeShim) error

// fakeShims are shims in this process, each with a process of its own whose death is the shim's. They outlive a manager.
type fakeShims struct {
	t        *testing.T
	dir      string
	launcher *shim.Launcher
	release  chan struct{} // closed at the end: what hangs goes on

	mu      sync.Mutex
	forward func(context.Context, *events.Envelope) error
	shims   map[string]*fakeShim // by bundle
	faults  map[string][]fault   // by method, in the order of calls
	calls   []string
	pids    uint32
	silent  bool // no events

	features *anypb.Any // of the runtime
}

func newFakeShims(t *testing.T) *fakeShims {
	return &fakeShims{
		t: t, dir: t.TempDir(), launcher: shim.New(shim.Config{}),
		release: make(chan struct{}), shims: map[string]*fakeShim{}, faults: map[string][]fault{}, pids: 1 << 22,
	}
}

// end kills them all, and has what hangs go on.
func (f *fakeShims) end() {
	f.mu.Lock()
	close(f.release)
	all := slices.Collect(maps.Values(f.shims))
	f.mu.Unlock()
	for _, s := range all {
		s.die()
	}
}

// on adds a fault to the next call of the method that has none yet.
func (f *fakeShims) on(method string, faults ...fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[method] = append(f.faults[method], faults...)
}

// meet counts the call, and has its fault happen.
func (f *fakeShims) meet(method string, s *fakeShim) error {
	f.mu.Lock()
	f.calls = append(f.calls, method)
	var now fault
	if all := f.faults[method]; len(all) > 0 {
		now, f.faults[method] = all[0], all[1:]
	}
	f.mu.Unlock()
	if now == nil {
		return nil
	}
	return now(s)
}

// called counts the calls since the last time.
func (f *fakeShims) called() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls = nil
	return calls
}

var errBroken = errors.New("broken")

func fails(*fakeShim) error { return errBroken }

// crashes kills the shim instead of an answer.
func crashes(s *fakeShim) error {
	s.die()
	<-s.f.release // no answer
	return errBroken
}

// hangs gives no answer until the test has ended.
func hangs(f *fakeShims) fault {
	return func(*fakeShim) error {
		<-f.release
		return errBroken
	}
}

func (f *fakeShims) Start(ctx context.Context, b *bundle.Bundle, _ shim.Request) (*shim.Shim, error) {
	if err := f.meet("start", nil); err != nil {
		return nil, err
	}
	s := &fakeShim{f: f, id: b.ID, namespace: b.Namespace, bundle: b.Path, address: filepath.Join(f.dir, b.ID+".sock")}
	if err := s.serve(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.shims[b.Path] = s
	f.mu.Unlock()
	return f.launcher.Attach(ctx, b, "unix://"+s.address, 3)
}

func (f *fakeShims) Attach(ctx context.Context, b *bundle.Bundle, address string, version int) (*shim.Shim, error) {
	return f.launcher.Attach(ctx, b, address, version)
}

func (f *fakeShims) Load(ctx context.Context, b *bundle.Bundle) (*shim.Shim, error) {
	if err := f.meet("load", nil); err != nil {
		return nil, err
	}
	return f.launcher.Load(ctx, b)
}

// Delete is the delete action: it knows of an exit what is in the bundle.
func (f *fakeShims) Delete(ctx context.Context, b *bundle.Bundle) (*taskv3.DeleteResponse, error) {
	f.mu.Lock()
	s := f.shims[b.Path]
	f.mu.Unlock()
	done := make(chan error, 1)
	go func() { done <- f.meet("delete", s) }()
	select {
	case err := <-done:
		if err != nil {
			return nil, err
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	answer := &taskv3.DeleteResponse{ExitStatus: killed, ExitedAt: timestamppb.Now()}
	if s == nil {
		return answer, nil
	}
	if e, ok := bundleExit(b.Path); ok {
		return &taskv3.DeleteResponse{Pid: e.Pid, ExitStatus: e.Status, ExitedAt: e.time()}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	answer.Pid = s.process("").Pid
	s.removed = true
	return answer, nil
}

func (f *fakeShims) Info(context.Context, shim.Request) (*types.RuntimeInfo, error) {
	return &types.RuntimeInfo{Features: f.features}, f.meet("info", nil)
}

// of is the shim of a task that is, or was.
func (f *fakeShims) of(id string) *fakeShim {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.shims {
		if s.id == id {
			return s
		}
	}
	f.t.Fatalf("no shim was started for %s", id)
	return nil
}

// alive are the tasks whose shims have not ended.
func (f *fakeShims) alive() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var ids []string
	for _, s := range f.shims {
		if !s.dead() {
			ids = append(ids, s.id)
		}
	}
	slices.Sort(ids)
	return ids
}
