package store

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/pkg/gc"
	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/manager/config"
)

// garbage is what the collector needs of the metadata database.
type garbage interface {
	RegisterMutationCallback(func(dirty bool))
	GarbageCollect(context.Context) (gc.Stats, error)
}

// freeingGarbage is a database whose collections may use the space that is kept for deletions. What is left after one is
// worth a copy, now and then.
type freeingGarbage struct {
	garbage
	t      *transactor
	copies *copies
}

// GarbageCollect removes what nothing refers to.
func (g freeingGarbage) GarbageCollect(ctx context.Context) (stats gc.Stats, err error) {
	err = g.t.free(func() error {
		stats, err = g.garbage.GarbageCollect(ctx)
		return err
	})
	if err == nil {
		g.copies.renew()
	}
	return stats, err
}

// collector decides when garbage is collected: after deletions and after many changes, but so seldom that writers wait
// for a small part of their time only; and at once for those who ask.
type collector struct {
	c         config.GC
	db        garbage
	mutations atomic.Int64
	deletions atomic.Int64
	changed   chan struct{} // one value: there is something to look at
	asked     chan struct{} // one value: somebody waits
	ctx       context.Context
	cancel    context.CancelFunc
	done      chan struct{}

	mu      sync.Mutex
	waiting []chan result
}

type result struct {
	pause time.Duration
	err   error
}

// minimalPause is reckoned for a collection that took less, so that the next isn't at once.
const minimalPause = 5 * time.Millisecond

// longestRest is how long the next collection waits, at most, because the last one has worked for long.
const longestRest = 2 * time.Second

func startCollector(c config.GC, db garbage) *collector {
	c.PauseThreshold = min(max(c.PauseThreshold, 0), 0.5)
	k := &collector{c: c, db: db, changed: make(chan struct{}, 1), asked: make(chan struct{}, 1), done: make(chan struct{})}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	db.RegisterMutationCallback(k.mutated)
	go k.run()
	return k
}

func (k *collector) mutated(dirty bool) {
	k.mutations.Add(1)
	if dirty {
		k.deletions.Add(1)
	}
	signal(k.changed)
}

// signal leaves a value in a channel of one, unless there is one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// collect waits for a collection that began after the call, and says for how long it kept writers out.
func (k *collector) collect(ctx context.Context) (time.Duration, error) {
	got := make(chan result, 1)
	k.mu.Lock()
	k.waiting = append(k.waiting, got)
	k.mu.Unlock()
	signal(k.asked)
	select {
	case r := <-got:
		return r.pause, r.err
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-k.done:
		return 0, errdefs.ErrUnavailable.WithMessage("store: closed")
	}
}

// stop waits for a collection that is under way.
func (k *collector) stop() {
	k.cancel()
	<-k.done
}

func (k *collector) run() {
	defer close(k.done)
	var timer *time.Timer
	var due <-chan time.Time
	at := func(d time.Duration) {
		if timer != nil {
			timer.Stop()
		}
		timer = time.NewTimer(d)
		due = timer.C
	}
	if k.c.StartupDelay > 0 {
		at(k.c.StartupDelay)
	}
	var last, soonest time.Time // of the last collection, and when its cost allows the next
	for {
		select {
		case <-k.ctx.Done():
			return
		case <-k.asked:
		case <-k.changed:
			if delay, ok := k.wanted(last, soonest); ok && due == nil {
				at(delay)
			}
			continue
		case <-due:
		}
		due = nil
		began := time.Now()
		pause, ok := k.once()
		last = time.Now()
		soonest = last.Add(time.Second)
		if ok && k.c.PauseThreshold > 0 {
			soonest = last.Add(k.rest(pause, last.Sub(began)))
		}
		if delay, again := k.wanted(last, soonest); again {
			at(delay)
		}
	}
}

// rest is how long to wait after a collection, so that pauses are as small a part of the time as was asked for. So is the
// work, which two processors feel with a thousand containers, but deletions that take minutes don't hold up the next.
func (k *collector) rest(pause, work time.Duration) time.Duration {
	after := func(d time.Duration) time.Duration {
		return time.Duration(float64(d)/k.c.PauseThreshold) - d
	}
	return max(after(max(pause, minimalPause)), min(after(work), longestRest))
}

// wanted says whether what changed since the last collection calls for one, and in how long.
func (k *collector) wanted(last, soonest time.Time) (time.Duration, bool) {
	deletions, mutations := k.deletions.Load(), k.mutations.Load()
	if limit := int64(k.c.DeletionThreshold); limit > 0 && deletions >= limit {
		return k.c.ScheduleDelay, true
	}
	if deletions == 0 && (k.c.MutationThreshold == 0 || mutations < int64(k.c.MutationThreshold)) {
		return 0, false
	}
	if last.IsZero() {
		return k.c.ScheduleDelay, true
	}
	return max(time.Until(soonest), k.c.ScheduleDelay), true
}

// once collects, and tells those who waited when it began.
func (k *collector) once() (time.Duration, bool) {
	k.mu.Lock()
	waiting := k.waiting
	k.waiting = nil
	k.mu.Unlock()
	k.deletions.Store(0)
	k.mutations.Store(0)

	var r result
	stats, err := k.db.GarbageCollect(k.ctx)
	if err == nil {
		r.pause = stats.Elapsed()
	} else {
		r.err = err
		k.deletions.Add(1) // so that it is tried again
		slog.Error("garbage collection failed", "error", err)
	}
	for _, w := range waiting {
		w <- r
	}
	return r.pause, err == nil
}
