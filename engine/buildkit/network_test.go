package buildkit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	controlapi "github.com/moby/buildkit/api/services/control"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/networks"
)

// places are those of steps on the bridge of a test.
type places struct {
	mu    sync.Mutex
	taken map[string]bool
	times int
	fail  map[string]error
}

func (p *places) JoinStep(_ context.Context, step, _, device string) (*networks.Place, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.fail[step]; err != nil {
		return nil, err
	}
	if p.taken == nil {
		p.taken = map[string]bool{}
	}
	p.taken[step+" "+device] = true
	p.times++
	return &networks.Place{}, nil
}

func (p *places) LeaveSteps(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.taken)
	return nil
}

func (p *places) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Sprint(slices.Sorted(maps.Keys(p.taken)))
}

// keep makes files as a daemon does for namespaces.
func keep(t *testing.T, s *Service, names ...string) {
	t.Helper()
	dir := filepath.Join(s.o.Root, "net", "cni")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if err := os.WriteFile(filepath.Join(dir, n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// The namespaces that the daemon keeps have networks as long as something is built.
func TestPlugged(t *testing.T) {
	p := &places{}
	s, _ := start(t, func(o *Options) { o.Steps = p })
	wants := func(what, want string) {
		t.Helper()
		if p.String() != want {
			t.Errorf("%s: %s, want %s", what, p, want)
		}
	}
	plug := func() (unplug func()) {
		t.Helper()
		unplug, err := s.plug(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return unplug
	}
	first := plug()
	wants("before there was a step", "[]")
	keep(t, s, "one", "two")
	second := plug()
	wants("two builds", "[one eth0 two eth0]")
	first()
	first() // counts once
	wants("one of them has ended", "[one eth0 two eth0]")
	second()
	wants("none is there", "[]")
	// One that is gone meanwhile is no fault, and another fault is the build's.
	p.fail = map[string]error{"one": fault.Errorf(errdefs.ErrInvalidArgument, "it is no network namespace")}
	third := plug()
	wants("one namespace is gone", "[two eth0]")
	third()
	p.fail["two"] = errors.New("no address")
	if _, err := s.plug(t.Context()); !errors.Is(err, p.fail["two"]) || s.plugged != 0 {
		t.Error(err, s.plugged)
	}
	if _, err := s.solve(t.Context(), nil, &controlapi.SolveRequest{}); err == nil {
		t.Error("it is built without a network")
	}
}

// What is built has its network before, and nothing has one afterwards.
func TestSolvePlugs(t *testing.T) {
	p := &places{}
	s, _ := start(t, func(o *Options) { o.Steps = p })
	conn, release, err := s.Use(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	keep(t, s, "one")
	if _, err := s.solve(t.Context(), conn, &controlapi.SolveRequest{}); err != nil {
		t.Fatal(err)
	}
	if p.times != 1 || p.String() != "[]" {
		t.Errorf("%d times, %s", p.times, p)
	}
}

// Nothing is left of what was built for an engine that was killed, nor of a daemon.
func TestNetworksOfBefore(t *testing.T) {
	p := &places{}
	s, _ := start(t, func(o *Options) { o.Steps = p })
	step := func() {
		t.Helper()
		if _, err := p.JoinStep(t.Context(), "left", "/ns", stepDevice); err != nil {
			t.Fatal(err)
		}
	}
	wants := func(what string) {
		t.Helper()
		if p.String() != "[]" {
			t.Errorf("%s: %s", what, p)
		}
	}
	step()
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	wants("an engine without a daemon")
	step()
	use(t, s)()
	wants("a daemon that was started")
	step()
	next := New(s.o)
	if err := next.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	wants("an engine that goes on with a daemon")
	step()
	if err := next.Close(); err != nil {
		t.Error(err)
	}
	wants("after the daemon")
}
