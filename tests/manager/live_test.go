package manager_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/gantry-containers/gantry/shim/api/tasktypes"
	"github.com/gantry-containers/gantry/tests/compat"
)

// TestLive restarts the manager under many running containers. Its first answer has them all. GANTRY_LIVE is how many.
func TestLive(t *testing.T) {
	l := newLive(t, compat.Gantry, number("GANTRY_LIVE", 50))
	l.daemon.Kill()
	began := time.Now()
	l.daemon.Start()
	list, err := l.List(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d containers: the first answer has come %v after the start", len(l.pids), time.Since(began).Round(time.Millisecond))
	l.check(t, list)
	l.end(t)
}

// BenchmarkLive is the time from the start of the manager to its first complete answer about so many running containers,
// and the same of containerd.
func BenchmarkLive(b *testing.B) {
	for name, g := range map[string]compat.Generation{"manager": compat.Gantry, "containerd": compat.Containerd24} {
		b.Run(name, func(b *testing.B) {
			l := newLive(b, g, number("GANTRY_LIVE", 50))
			for b.Loop() {
				b.StopTimer()
				l.daemon.Kill()
				b.StartTimer()
				// What else starting does, asking for the version, is part of it for both.
				l.daemon.Start()
				list, err := l.List(limited(b))
				b.StopTimer()
				if err != nil {
					b.Fatal(err)
				}
				l.check(b, list)
				b.StartTimer()
			}
			b.StopTimer()
			l.end(b)
		})
	}
}

// live is a manager with many running containers.
type live struct {
	*subject
	pids map[string]uint32
}

func newLive(t testing.TB, g compat.Generation, n int) *live {
	t.Helper()
	l := &live{subject: startOf(t, g), pids: map[string]uint32{}}
	each(n, func(i int) {
		id := fmt.Sprintf("live-%d", i)
		pid, err := l.create(limited(t), container{id: id, script: "exec sleep 100000"})
		if err == nil {
			_, err = l.Start(limited(t), id, "")
		}
		if err != nil {
			t.Errorf("%s: %v", id, err)
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.pids[id] = pid
	})
	if t.Failed() {
		t.FailNow()
	}
	return l
}

// each calls for every number, some at the same time.
func each(n int, do func(i int)) {
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := worker; i < n; i += 4 {
				do(i)
			}
		})
	}
	wg.Wait()
}

func (l *live) check(t testing.TB, list []*tasktypes.Process) {
	t.Helper()
	if len(list) != len(l.pids) {
		t.Errorf("%d tasks; want %d", len(list), len(l.pids))
	}
	for _, p := range list {
		if p.Status != tasktypes.Status_RUNNING || p.Pid != l.pids[p.Id] {
			t.Errorf("%s: %v, pid %d; want RUNNING, %d", p.Id, p.Status, p.Pid, l.pids[p.Id])
		}
	}
}

// end removes them.
func (l *live) end(t testing.TB) {
	t.Helper()
	each(len(l.pids), func(i int) {
		id := fmt.Sprintf("live-%d", i)
		l.stop(t, id)
	})
}
