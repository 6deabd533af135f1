package events

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	theirs "github.com/containerd/ttrpc"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/gantry-containers/gantry/shim/api/forward"
	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/types"
	"github.com/gantry-containers/gantry/shim/ttrpc"
	"github.com/gantry-containers/gantry/tests/harness"
)

func waitIdle(t *testing.T, p *Publisher) {
	t.Helper()
	if !harness.Until(10*time.Second, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return !p.sending
	}) {
		t.Fatal("the sender does not end")
	}
}

// The daemon tells events to those only that have subscribed again.
func TestPause(t *testing.T) {
	back := time.Now()
	for _, c := range []struct {
		away    time.Duration
		refused bool
		want    time.Duration
	}{
		{0, true, 1200 * time.Millisecond},
		{10 * time.Second, true, 10200 * time.Millisecond},
		{10 * time.Second, false, 0},
		{time.Hour, true, 72 * time.Second},
		{-time.Hour, true, 1200 * time.Millisecond}, // the clock was set
	} {
		if got := usual.pause(absence{since: back.Add(-c.away), refused: c.refused}, back); got != c.want {
			t.Errorf("away for %v, refused %v: got %v, want %v", c.away, c.refused, got, c.want)
		}
	}
}

// The worst that gRPC's back-off can do is within the pause, wherever in it the daemon comes back.
func TestPauseIsLongEnoughForGRPC(t *testing.T) {
	for range 1000 {
		pause, at := 1.0, 0.0
		for pause < 60 {
			jittered := pause * (0.8 + 0.4*rand.Float64())
			start := time.Unix(0, 0)
			back := start.Add(time.Duration(at * 1e9)) // just after the attempt that failed
			if got := usual.pause(absence{since: start, refused: true}, back); got.Seconds() < jittered {
				t.Fatalf("away for %v: the client is back after %.1f s, the pause is %v", back.Sub(start), jittered, got)
			}
			at += jittered
			pause *= 1.6
		}
	}
}

// After an outage an event waits, whether there was an attempt to send it during the outage or not.
func TestAfterAnOutageEventsWait(t *testing.T) {
	for name, noticed := range map[string]bool{"noticed": true, "while idle": false} {
		t.Run(name, func(t *testing.T) {
			d := newDaemon(t)
			d.start()
			p := d.publisher()
			l := open(t, p, t.TempDir())
			appendAll(t, l, "before")
			drain(t, p)
			waitIdle(t, p)
			p.times.settle = time.Hour
			d.stop()
			if noticed {
				appendAll(t, l, "during")
			}
			d.start()
			appendAll(t, l, "after")
			time.Sleep(200 * time.Millisecond)
			if diff := cmp.Diff([]string{"before"}, d.names()); diff != "" {
				t.Errorf("an event was sent to nobody: %s", diff)
			}
		})
	}
}

// A process that begins in an outage does not take the daemon that comes for the one that went; Hurry ends its wait.
func TestAwayAndHurry(t *testing.T) {
	d := newDaemon(t)
	d.start()
	p := d.publisher()
	p.times.settle = time.Hour
	p.Away(time.Now())
	appendAll(t, open(t, p, t.TempDir()), "rest")
	time.Sleep(200 * time.Millisecond)
	if got := d.names(); len(got) != 0 {
		t.Errorf("%v was sent to nobody", got)
	}
	p.Hurry()
	drain(t, p)
	if diff := cmp.Diff([]string{"rest"}, d.names()); diff != "" {
		t.Error(diff)
	}
}

// A daemon that remembers events for its clients gets them at once, whenever it says so; the next one has to say it, too.
func TestDaemonThatReplays(t *testing.T) {
	for name, say := range map[string]struct{ before, during bool }{
		"before it takes events": {before: true},
		"while it is waited for": {during: true},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDaemon(t)
			d.start()
			p := d.publisher()
			p.times.settle = time.Hour
			l := open(t, p, t.TempDir())
			appendAll(t, l, "before")
			drain(t, p)
			waitIdle(t, p)
			d.stop()
			appendAll(t, l, "during")
			if say.before {
				p.Replays(true)
			}
			d.start()
			if say.during {
				if !harness.Until(10*time.Second, func() bool { return connections(t, d.path) > 0 }) {
					t.Fatal("the daemon is not found")
				}
				p.Replays(true)
			}
			drain(t, p)
			if diff := cmp.Diff([]string{"before", "during"}, d.names()); diff != "" {
				t.Error(diff)
			}
			waitIdle(t, p)
			d.stop()
			p.Replays(false)
			d.start()
			appendAll(t, l, "early")
			time.Sleep(200 * time.Millisecond)
			if diff := cmp.Diff([]string{"before", "during"}, d.names()); diff != "" {
				t.Errorf("an event was sent to nobody: %s", diff)
			}
		})
	}
}

func TestWithoutAnOutageNothingIsWaitedFor(t *testing.T) {
	d := newDaemon(t)
	d.start()
	p := d.publisher()
	p.times.settle, p.times.firstPause = time.Hour, time.Hour
	l := open(t, p, t.TempDir())
	for range 3 {
		appendAll(t, l, "a")
		drain(t, p)
		waitIdle(t, p)
	}
}

// A daemon that ends while nothing is to be sent is noticed, and how it ended is seen by its socket.
func TestTheEndOfAnotherProcessIsNoticed(t *testing.T) {
	for name, killed := range map[string]bool{"killed": true, "stopped": false} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "d.ttrpc")
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = []string{"EVENTS_TEST_DAEMON=" + path}
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			p := (&daemon{t: t, path: path}).publisher()
			appendAll(t, open(t, p, t.TempDir()), "a")
			drain(t, p)
			waitIdle(t, p)
			before := time.Now()
			if killed {
				cmd.Process.Kill() //nolint:errcheck // Wait says it
			}
			in.Close()
			cmd.Wait() //nolint:errcheck // it was killed
			away := func() *absence {
				p.mu.Lock()
				defer p.mu.Unlock()
				return p.sender.away
			}
			if !harness.Until(10*time.Second, func() bool { return away() != nil }) {
				t.Fatal("the end of the daemon is not noticed")
			}
			if a := away(); a.refused != killed || a.since.Before(before) {
				t.Errorf("got %+v", a)
			}
		})
	}
}

// TestMain is, in another process, a daemon until its stdin ends.
func TestMain(m *testing.M) {
	path := os.Getenv("EVENTS_TEST_DAEMON")
	if path == "" {
		os.Exit(m.Run())
	}
	s := ttrpc.NewServer()
	s.Register(service, map[string]ttrpc.Method{method: func(context.Context, []byte) (ttrpc.Message, error) {
		return &known.Empty{}, nil
	}})
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		panic(err)
	}
	go func() {
		io.Copy(io.Discard, os.Stdin) //nolint:errcheck // any end is one
		s.Close()
	}()
	if err := s.Serve(l); err != nil {
		panic(err)
	}
}

// connections counts those that were made to a socket: /proc/net/unix shows them with its path, in state 03.
func connections(t *testing.T, path string) int {
	t.Helper()
	b, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 8 && f[5] == "03" && f[7] == path {
			count++
		}
	}
	return count
}

// The official server (github.com/containerd/ttrpc) takes our events, and is away in between.
func TestTheirServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.ttrpc")
	var mu sync.Mutex
	var got []string
	serve := func() *theirs.Server {
		s, err := theirs.NewServer()
		if err != nil {
			t.Fatal(err)
		}
		s.RegisterService(service, &theirs.ServiceDesc{Methods: map[string]theirs.Method{
			method: func(_ context.Context, unmarshal func(any) error) (any, error) {
				r := &emptypb.Empty{} // which keeps the fields that it does not know
				if err := unmarshal(r); err != nil {
					return nil, err
				}
				ours := &forward.ForwardRequest{}
				if err := ours.UnmarshalVT(r.ProtoReflect().GetUnknown()); err != nil {
					return nil, err
				}
				mu.Lock()
				defer mu.Unlock()
				got = append(got, names(t, []*types.Envelope{ours.Envelope})...)
				return &emptypb.Empty{}, nil
			},
		}})
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		go s.Serve(context.Background(), l) //nolint:errcheck // it ends with Close
		return s
	}
	d := &daemon{t: t, path: path}
	p := d.publisher()
	l := open(t, p, t.TempDir())
	want := numbered(30)
	appendAll(t, l, want[:10]...)
	s := serve()
	drain(t, p)
	s.Close() //nolint:errcheck // its listener is gone in any case
	appendAll(t, l, want[10:20]...)
	s = serve()
	defer s.Close() //nolint:errcheck // as above
	appendAll(t, l, want[20:]...)
	drain(t, p)
	mu.Lock()
	defer mu.Unlock()
	// One whose answer the server's end has cut off is sent again: nobody can know that it was taken.
	if diff := cmp.Diff(want, slices.Compact(got)); diff != "" {
		t.Error(diff)
	}
}
