package events

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gantry-containers/gantry/shim/api/events"
	"github.com/gantry-containers/gantry/shim/api/forward"
	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/types"
	"github.com/gantry-containers/gantry/shim/ttrpc"
	"github.com/gantry-containers/gantry/tests/harness"
)

// daemon is what the publisher speaks to: our ttrpc server. It can be away.
type daemon struct {
	t    *testing.T
	path string
	stop func()

	mu     sync.Mutex
	got    []*types.Envelope
	answer func(*types.Envelope) error // before it is taken
	calls  int
}

func newDaemon(t *testing.T) *daemon {
	return &daemon{t: t, path: filepath.Join(t.TempDir(), "d.ttrpc"), stop: func() {}}
}

func (d *daemon) start() {
	d.t.Helper()
	os.Remove(d.path)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: d.path, Net: "unix"})
	if err != nil {
		d.t.Fatal(err)
	}
	l.SetUnlinkOnClose(false) // by then it may be the next daemon's
	s := ttrpc.NewServer()
	s.Register(service, map[string]ttrpc.Method{method: ttrpc.Unary(d.forward)})
	go s.Serve(l) //nolint:errcheck // nil after Close
	d.stop = s.Close
	d.t.Cleanup(s.Close)
}

func (d *daemon) forward(_ context.Context, r *forward.ForwardRequest) (*known.Empty, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls++
	if d.answer != nil {
		if err := d.answer(r.Envelope); err != nil {
			return nil, err
		}
	}
	d.got = append(d.got, r.Envelope)
	return &known.Empty{}, nil
}

// names are the containers' names of the exits that were taken, in their order.
func (d *daemon) names() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return names(d.t, d.got)
}

func names(t testing.TB, envelopes []*types.Envelope) []string {
	t.Helper()
	var all []string
	for _, e := range envelopes {
		exit := &events.TaskExit{}
		if err := exit.UnmarshalVT(e.Event.Value); err != nil {
			t.Fatal(err)
		}
		all = append(all, exit.ContainerId)
	}
	return all
}

func exit(name string) Event {
	return Event{Topic: "/tasks/exit", Type: "containerd.events.TaskExit", Message: &events.TaskExit{ContainerId: name}}
}

// publisher is one that does not wait.
func (d *daemon) publisher() *Publisher {
	p := NewPublisher(d.path, "ns")
	p.times = times{
		retry: time.Millisecond, retryMax: 10 * time.Millisecond, answer: time.Hour, idle: 10 * time.Millisecond,
		settle: time.Millisecond,
	}
	return p
}

func open(t testing.TB, p *Publisher, bundle string) *Log {
	t.Helper()
	l, err := p.Open(bundle)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// appendAll appends exits of the names.
func appendAll(t testing.TB, l *Log, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := l.Append(exit(name)); err != nil {
			t.Fatal(err)
		}
	}
}

func drain(t testing.TB, p *Publisher) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.Limit(time.Minute))
	defer cancel()
	if err := p.Drain(ctx); err != nil {
		t.Fatal(err)
	}
}

// kill makes a log's file free, as the end of the process would: what was not written is lost.
func kill(l *Log) { l.spool.file.Close() }

func numbered(n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprint(i))
	}
	return all
}
