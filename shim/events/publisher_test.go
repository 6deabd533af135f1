package events

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-containers/gantry/shim/api/types"
	"github.com/gantry-containers/gantry/shim/ttrpc"
	"github.com/gantry-containers/gantry/tests/harness"
)

func TestAnEventArrivesAsItWas(t *testing.T) {
	d := newDaemon(t)
	d.start()
	p := d.publisher()
	before := time.Now()
	appendAll(t, open(t, p, t.TempDir()), "c")
	drain(t, p)
	e := d.got[0]
	if e.Namespace != "ns" || e.Topic != "/tasks/exit" || e.Event.TypeUrl != "containerd.events.TaskExit" {
		t.Errorf("got %v", e)
	}
	if at := e.Timestamp.AsTime(); at.Before(before) || at.After(time.Now()) {
		t.Errorf("its time is %v, now it is %v", at, time.Now())
	}
	if diff := cmp.Diff([]string{"c"}, d.names()); diff != "" {
		t.Error(diff)
	}
}

// Each of the appenders has a log of its own or shares one; what any of them appends after another must arrive after.
func TestOrderUnderConcurrentAppenders(t *testing.T) {
	d := newDaemon(t)
	d.start()
	p := d.publisher()
	const appenders, events = 8, 200
	logs := []*Log{open(t, p, t.TempDir()), open(t, p, t.TempDir()), open(t, p, t.TempDir())}
	var order struct {
		sync.Mutex
		want []string
	}
	var wg sync.WaitGroup
	for a := range appenders {
		wg.Go(func() {
			for i := range events {
				name := fmt.Sprintf("%d/%d", a, i)
				order.Lock()
				if err := logs[a%len(logs)].Append(exit(name)); err != nil {
					t.Error(err)
				}
				order.want = append(order.want, name)
				order.Unlock()
			}
		})
	}
	wg.Wait()
	drain(t, p)
	if diff := cmp.Diff(order.want, d.names()); diff != "" {
		t.Error(diff)
	}
}

// Without a lock between them, the events of each appender are in order.
func TestOrderOfEachAppender(t *testing.T) {
	d := newDaemon(t)
	d.start()
	p := d.publisher()
	const appenders, events = 8, 200
	l := open(t, p, t.TempDir())
	var wg sync.WaitGroup
	for a := range appenders {
		wg.Go(func() {
			for i := range events {
				if err := l.Append(exit(fmt.Sprintf("%d %d", a, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	drain(t, p)
	next := map[int]int{}
	for _, name := range d.names() {
		var a, i int
		fmt.Sscan(name, &a, &i) //nolint:errcheck // what it does not set is wrong below
		if i != next[a] {
			t.Fatalf("appender %d: %d came, %d was next", a, i, next[a])
		}
		next[a]++
	}
	if len(next) != appenders || next[0] != events {
		t.Errorf("got %v", next)
	}
	at := time.Time{}
	for _, e := range d.got {
		if now := e.Timestamp.AsTime(); now.Before(at) {
			t.Fatalf("%v comes after %v", now, at)
		} else {
			at = now
		}
	}
}

func TestADaemonThatIsAwayGetsAllWhenItIsBack(t *testing.T) {
	d := newDaemon(t)
	p := d.publisher()
	l := open(t, p, t.TempDir())
	want := numbered(100)
	appendAll(t, l, want[:20]...) // before it was ever there
	d.start()
	appendAll(t, l, want[20:40]...)
	drain(t, p)
	d.stop()
	appendAll(t, l, want[40:60]...)
	d.start()
	appendAll(t, l, want[60:80]...)
	d.stop()
	d.start()
	appendAll(t, l, want[80:]...)
	drain(t, p)
	if diff := cmp.Diff(want, d.names()); diff != "" {
		t.Error(diff)
	}
}

func TestDrainGivesUpWithItsContext(t *testing.T) {
	p := newDaemon(t).publisher()
	appendAll(t, open(t, p, t.TempDir()), "a", "b")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := p.Drain(ctx); err == nil || !strings.Contains(err.Error(), "2 events are undelivered") {
		t.Errorf("got %v", err)
	}
}

func TestASlowAnswerMakesNoDuplicate(t *testing.T) {
	d := newDaemon(t)
	d.answer = func(*types.Envelope) error { time.Sleep(100 * time.Millisecond); return nil }
	d.start()
	p := d.publisher()
	want := numbered(10)
	appendAll(t, open(t, p, t.TempDir()), want...)
	drain(t, p)
	if diff := cmp.Diff(want, d.names()); diff != "" || d.calls != len(want) {
		t.Errorf("%d calls: %s", d.calls, diff)
	}
}

func TestADaemonThatHangsIsLeft(t *testing.T) {
	d := newDaemon(t)
	hang := make(chan struct{})
	d.answer = func(*types.Envelope) error {
		if d.calls == 1 {
			d.mu.Unlock()
			<-hang
			d.mu.Lock()
			return ttrpc.Errorf(ttrpc.Unavailable, "too late")
		}
		return nil
	}
	d.start()
	defer close(hang)
	p := d.publisher()
	p.times.answer = 50 * time.Millisecond
	appendAll(t, open(t, p, t.TempDir()), "a", "b")
	drain(t, p)
	if diff := cmp.Diff([]string{"a", "b"}, d.names()); diff != "" {
		t.Error(diff)
	}
}

func TestErrorsOfTheDaemon(t *testing.T) {
	cases := map[string]struct {
		code  ttrpc.Code
		want  []string
		calls int
	}{
		"refused, and left out": {ttrpc.InvalidArgument, []string{"a", "c"}, 3},
		"sent again":            {ttrpc.Unavailable, []string{"a", "b", "c"}, 5},
		"unknown":               {ttrpc.Unknown, []string{"a", "b", "c"}, 5},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			d := newDaemon(t)
			failures := 0
			d.answer = func(e *types.Envelope) error {
				if names(t, []*types.Envelope{e})[0] == "b" && failures < 2 {
					failures++
					return ttrpc.Errorf(c.code, "no")
				}
				return nil
			}
			d.start()
			p := d.publisher()
			appendAll(t, open(t, p, t.TempDir()), "a", "b", "c")
			drain(t, p)
			if diff := cmp.Diff(c.want, d.names()); diff != "" || d.calls != c.calls {
				t.Errorf("%d calls, want %d: %s", d.calls, c.calls, diff)
			}
		})
	}
}

func TestAnIdlePublisherHoldsNothing(t *testing.T) {
	d := newDaemon(t)
	d.start()
	p := d.publisher()
	goroutines := runtime.NumGoroutine() + 1 // which watches the daemon
	l := open(t, p, t.TempDir())
	for range 3 {
		appendAll(t, l, "a")
		drain(t, p)
		if !harness.Until(10*time.Second, func() bool {
			return runtime.NumGoroutine() <= goroutines && connections(t, d.path) == 0
		}) {
			t.Fatalf("%d goroutines, %d before; %d connections", runtime.NumGoroutine(), goroutines, connections(t, d.path))
		}
	}
}

// 100,000 events that cannot be delivered are on disk, not in memory: 10 bytes for each would be the limit here.
func TestMemoryOfUndeliveredEvents(t *testing.T) {
	d := newDaemon(t)
	p := d.publisher()
	l := open(t, p, t.TempDir())
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	appendAll(t, l, "first")
	before := heap()
	const count, room = 20_000, 500_000 // the events themselves are megabytes
	for range count {
		appendAll(t, l, "a name of some length, as containers have, 64 digits in all")
	}
	if after := heap(); after > before+room {
		t.Errorf("%d bytes of heap, %d before", after, before)
	}
	d.start()
	drain(t, p)
	if n := len(d.got); n != count+1 {
		t.Errorf("%d events arrived", n)
	}
}

func TestTheBundleMayBeRemoved(t *testing.T) {
	d := newDaemon(t)
	p := d.publisher()
	bundle := filepath.Join(t.TempDir(), "b")
	if err := os.Mkdir(bundle, 0o700); err != nil {
		t.Fatal(err)
	}
	l := open(t, p, bundle)
	appendAll(t, l, "a", "b")
	if err := os.RemoveAll(bundle); err != nil {
		t.Fatal(err)
	}
	appendAll(t, l, "c")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(exit("d")); err == nil {
		t.Error("a closed log takes an event")
	}
	d.start()
	drain(t, p)
	if diff := cmp.Diff([]string{"a", "b", "c"}, d.names()); diff != "" {
		t.Error(diff)
	}
	if err := l.spool.file.Close(); err == nil {
		t.Error("the file of a log that is closed and delivered is open")
	}
}
