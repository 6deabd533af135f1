package faults_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/gantry-containers/gantry/shim/api/tasktypes"
	"github.com/gantry-containers/gantry/tests/harness"
)

// TestDaemonKilledAnywhere kills the daemon at random moments of what four clients do, and starts it again. Each task
// that there is then can be asked for and deleted; nothing else is left.
// (1.6 itself keeps a shim for ever that it started and did not come to ask for a container: containerd #6860.)
func TestDaemonKilledAnywhere(t *testing.T) {
	t.Parallel()
	s := start(t, newest)
	const rounds = 8
	for round := range rounds {
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 4 {
			wg.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					s.life(ctx, fmt.Sprintf("any-%d-%d-%d", round, i, n))
				}
			})
		}
		time.Sleep(harness.Slow(time.Duration(50+rand.IntN(800)) * time.Millisecond))
		s.daemon.Kill()
		cancel()
		wg.Wait()
		s.daemon.Start()
		s.clear(t)
	}
	for _, id := range s.ids {
		s.nothingOf(t, id)
		_ = s.DeleteContainer(limited(t), id) // its record may be there
	}
	// What a shim has not told yet it tells before it ends.
	if !harness.Until(told, func() bool { return len(s.shims()) == 0 }) {
		t.Errorf("left behind: %v", s.shims())
	}
}

// life is all that can be done with a container; it ends when the daemon does.
func (s *service) life(ctx context.Context, id string) {
	code := rand.IntN(100)
	if _, err := s.create(ctx, container{id: id, script: fmt.Sprintf("sleep 0.1; exit %d", code)}); err != nil {
		return
	}
	if _, err := s.Start(ctx, id, ""); err != nil {
		return
	}
	_ = s.exec(ctx, id, "e", "exit 1") // the container may be faster
	exit, err := s.Wait(ctx, id, "")
	if err != nil {
		return
	}
	if exit.Code != uint32(code) {
		s.t.Errorf("%s: code %d; want %d", id, exit.Code, code)
	}
	_, _ = s.Delete(ctx, id, "")
}

// clear deletes all tasks that the daemon knows.
func (s *service) clear(t *testing.T) {
	t.Helper()
	list, err := s.List(limited(t))
	if err != nil {
		t.Error(err)
	}
	for _, p := range list {
		if p.Status == tasktypes.Status_UNKNOWN {
			t.Errorf("%s: no state", p.Id)
		}
		_ = s.Kill(limited(t), p.Id, "", 9) // it may have ended
		if p.Status != tasktypes.Status_CREATED {
			if _, err := s.Wait(limited(t), p.Id, ""); err != nil {
				t.Errorf("wait for %s, which was %v: %v", p.Id, p.Status, err)
			}
		}
		if !harness.Until(10*time.Second, func() bool { _, err = s.Delete(limited(t), p.Id, ""); return err == nil }) {
			t.Errorf("delete %s, which was %v: %v", p.Id, p.Status, err)
		}
	}
}
