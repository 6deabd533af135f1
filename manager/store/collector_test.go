package store

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/containerd/v2/pkg/gc"
	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/manager/config"
)

// fakeGarbage notes when it was collected.
type fakeGarbage struct {
	mu      sync.Mutex
	begin   time.Time
	pause   time.Duration // of each collection
	work    time.Duration // beside it
	err     error
	runs    []time.Duration // since begin
	changed func(bool)
}

func (f *fakeGarbage) RegisterMutationCallback(fn func(bool)) { f.changed = fn }

type fakeStats time.Duration

func (s fakeStats) Elapsed() time.Duration { return time.Duration(s) }

func (f *fakeGarbage) GarbageCollect(context.Context) (gc.Stats, error) {
	f.mu.Lock()
	f.runs = append(f.runs, time.Since(f.begin))
	err := f.err
	f.mu.Unlock()
	time.Sleep(f.pause + f.work) // in the test's own time
	return fakeStats(f.pause), err
}

func (f *fakeGarbage) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.runs)
}

func TestCollectorSchedule(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name  string
		c     config.GC
		pause time.Duration
		work  time.Duration
		do    func(f *fakeGarbage)
		after time.Duration
		want  []time.Duration
	}{
		{name: "at the start, after the delay", c: config.GC{StartupDelay: 100 * ms, MutationThreshold: 100}, do: func(*fakeGarbage) {}, after: time.Hour, want: []time.Duration{100 * ms}},
		{name: "not at the start without one", c: config.GC{MutationThreshold: 100}, do: func(*fakeGarbage) {}, after: time.Hour},
		{name: "a deletion", c: config.GC{MutationThreshold: 100}, do: func(f *fakeGarbage) { f.changed(true) }, after: time.Hour, want: []time.Duration{0}},
		{name: "a deletion, later", c: config.GC{ScheduleDelay: 30 * ms}, do: func(f *fakeGarbage) { f.changed(true) }, after: time.Hour, want: []time.Duration{30 * ms}},
		{name: "few changes", c: config.GC{MutationThreshold: 100}, do: func(f *fakeGarbage) {
			for range 99 {
				f.changed(false)
			}
		}, after: time.Hour},
		{name: "many changes", c: config.GC{MutationThreshold: 100}, do: func(f *fakeGarbage) {
			for range 100 {
				f.changed(false)
			}
		}, after: time.Hour, want: []time.Duration{0}},
		{name: "the pauses are two percent of the time", c: config.GC{PauseThreshold: 0.02, StartupDelay: 100 * ms}, pause: 20 * ms, do: func(f *fakeGarbage) {
			time.Sleep(500 * ms)
			f.changed(true) // the collection ended at 120 ms; the next may begin 980 ms later
		}, after: time.Hour, want: []time.Duration{100 * ms, 1100 * ms}},
		{name: "so is the work", c: config.GC{PauseThreshold: 0.02, StartupDelay: 100 * ms}, pause: 5 * ms, work: 35 * ms, do: func(f *fakeGarbage) {
			time.Sleep(500 * ms)
			f.changed(true) // the collection ended at 140 ms; the next may begin 1960 ms later
		}, after: time.Hour, want: []time.Duration{100 * ms, 2100 * ms}},
		{name: "long work does not hold up the next", c: config.GC{PauseThreshold: 0.02, StartupDelay: 100 * ms}, pause: 5 * ms, work: time.Minute, do: func(f *fakeGarbage) {
			time.Sleep(500 * ms)
			f.changed(true)
		}, after: time.Hour, want: []time.Duration{100 * ms, 62105 * ms}},
		{name: "half of the time at the most", c: config.GC{PauseThreshold: 7, StartupDelay: 100 * ms}, pause: 20 * ms, do: func(f *fakeGarbage) {
			time.Sleep(121 * ms)
			f.changed(true)
		}, after: time.Hour, want: []time.Duration{100 * ms, 140 * ms}},
		{name: "a threshold of deletions doesn't wait for the pauses", c: config.GC{PauseThreshold: 0.02, StartupDelay: 100 * ms, DeletionThreshold: 3}, pause: 20 * ms, do: func(f *fakeGarbage) {
			time.Sleep(500 * ms)
			for range 3 {
				f.changed(true)
			}
		}, after: time.Hour, want: []time.Duration{100 * ms, 500 * ms}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeGarbage{begin: time.Now(), pause: test.pause, work: test.work}
				k := startCollector(test.c, f)
				test.do(f)
				time.Sleep(test.after)
				k.stop()
				if len(f.runs) != len(test.want) {
					t.Fatalf("collected at %v, want %v", f.runs, test.want)
				}
				for i, at := range f.runs {
					if at != test.want[i] {
						t.Errorf("collected at %v, want %v", f.runs, test.want)
					}
				}
			})
		})
	}
}

func TestCollectorAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeGarbage{begin: time.Now(), pause: time.Second}
		k := startCollector(config.GC{PauseThreshold: 0.02}, f)
		var all sync.WaitGroup
		ask := func() {
			all.Go(func() {
				before := f.count()
				if pause, err := k.collect(t.Context()); err != nil || pause != time.Second {
					t.Error(pause, err)
				}
				if f.count() == before {
					t.Error("answered by a collection that had begun before")
				}
			})
		}
		ask()
		time.Sleep(500 * time.Millisecond) // the first is under way
		for range 5 {
			ask()
		}
		all.Wait()
		if n := f.count(); n != 2 {
			t.Errorf("%d collections for those who asked during one: one more would do", n)
		}

		f.mu.Lock()
		f.err = errors.New("no")
		f.mu.Unlock()
		if _, err := k.collect(t.Context()); err == nil || err.Error() != "no" {
			t.Error(err)
		}
		f.mu.Lock()
		f.err = nil
		f.mu.Unlock()
		n := f.count()
		time.Sleep(time.Hour)
		if f.count() != n+1 {
			t.Errorf("a collection that failed was tried again %d times", f.count()-n)
		}

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := k.collect(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		k.stop()
		if _, err := k.collect(t.Context()); !errdefs.IsUnavailable(err) {
			t.Error(err)
		}
	})
}

func TestKeyLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newKeyLock()
		if err := l.Lock(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if err := l.Lock(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		gaveUp := make(chan error)
		go func() { gaveUp <- l.Lock(ctx, "a") }()
		var inside, most int
		var mu sync.Mutex
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if err := l.Lock(t.Context(), "a"); err != nil {
					t.Error(err)
				}
				mu.Lock()
				inside++
				most = max(most, inside)
				mu.Unlock()
				time.Sleep(time.Second)
				mu.Lock()
				inside--
				mu.Unlock()
				l.Unlock("a")
			})
		}
		synctest.Wait()
		cancel()
		if err := <-gaveUp; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if most != 0 {
			t.Error("a held key was given away")
		}
		l.Unlock("a")
		all.Wait()
		if most != 1 {
			t.Errorf("%d held the key at once", most)
		}
		l.Unlock("b")
		l.Unlock("b") // nobody has it
		if len(l.keys) != 0 {
			t.Errorf("%d keys are remembered for nobody", len(l.keys))
		}
	})
}
