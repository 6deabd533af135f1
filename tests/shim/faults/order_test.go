package faults_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
	"github.com/gantry-containers/gantry/tests/shim/client"
)

// tally counts what a subscriber must not see.
type tally struct {
	reordered, lost, duplicated, wrong int
	examples                           []string
}

// check compares the events of a container, or of a process made by exec, with the topics that it must have.
func (c *tally) check(events []client.Event, want []string, code uint32) {
	at := map[string]int{} // the place of the topic's first event
	bad := false
	for i, e := range events {
		if _, twice := at[e.Topic]; twice {
			c.duplicated++
			bad = true
			continue
		}
		at[e.Topic] = i
		if (e.Topic == "exit" || e.Topic == "delete") && e.Code != code {
			c.wrong++
			bad = true
		}
	}
	last, ordered := -1, true
	for _, topic := range want {
		i, ok := at[topic]
		if !ok {
			c.lost++
			bad = true
			continue
		}
		ordered = ordered && i > last
		last = max(i, last)
	}
	if !ordered {
		c.reordered++
	}
	if (bad || !ordered) && len(c.examples) < 3 {
		c.examples = append(c.examples, strings.Join(texts(events), "; "))
	}
}

func texts(events []client.Event) []string {
	var list []string
	for _, e := range events {
		list = append(list, e.String())
	}
	return list
}

// report fails the test when there is anything to count.
func (c *tally) report(t *testing.T, n int, what string) {
	t.Helper()
	t.Logf("%d %s: %d reordered, %d events lost, %d duplicated, %d with a wrong code", n, what, c.reordered, c.lost, c.duplicated, c.wrong)
	if c.reordered+c.lost+c.duplicated+c.wrong > 0 {
		t.Errorf("events are not as they were:\n%s", strings.Join(c.examples, "\n"))
	}
}

// load keeps two processors busy until the test ends.
func load(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
			}
		})
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
}

// each calls do with 0 … n-1, from several goroutines at once, and fails the test with the first error.
func each(t *testing.T, clients, n int, do func(ctx context.Context, i int) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), harness.Limit(5*time.Minute))
	defer cancel()
	var wg sync.WaitGroup
	next := make(chan int)
	errs := make(chan error, clients)
	for range clients {
		wg.Go(func() {
			for i := range next {
				if err := do(ctx, i); err != nil {
					errs <- err
					cancel()
					return
				}
			}
		})
	}
loop:
	for i := range n {
		select {
		case next <- i:
		case <-ctx.Done():
			break loop
		}
	}
	close(next)
	wg.Wait()
	select {
	case err := <-errs:
		t.Fatal(err)
	default:
	}
}

// TestOrder has four clients run containers that end at once, on a busy machine. A subscriber sees of each exactly
// create, start, exit and delete, in this order, and the code.
func TestOrder(t *testing.T) {
	t.Parallel()
	for r, n := range map[compat.Generation]int{newest: 500, debian: 100} {
		t.Run(string(r), func(t *testing.T) {
			s := start(t, r)
			load(t)
			sub := s.Subscribe(t.Context())
			began := time.Now()
			each(t, 4, n, func(ctx context.Context, i int) error {
				id := fmt.Sprintf("order-%d", i)
				if _, err := s.create(ctx, container{id: id, script: fmt.Sprintf("exit %d", i%250)}); err != nil {
					return fmt.Errorf("create %s: %w", id, err)
				}
				if _, err := s.Start(ctx, id, ""); err != nil {
					return fmt.Errorf("start %s: %w", id, err)
				}
				exit, err := s.Wait(ctx, id, "")
				if err != nil || exit.Code != uint32(i%250) {
					return fmt.Errorf("wait for %s: code %d, %w", id, exit.Code, err)
				}
				if exit, err = s.Delete(ctx, id, ""); err != nil || exit.Code != uint32(i%250) {
					return fmt.Errorf("delete %s: code %d, %w", id, exit.Code, err)
				}
				return s.DeleteContainer(ctx, id)
			})
			t.Logf("%d containers in %v", n, time.Since(began).Round(time.Millisecond))
			harness.Until(10*time.Second, func() bool { return len(sub.Events()) >= 4*n })
			var c tally
			for i := range n {
				c.check(sub.Of(fmt.Sprintf("order-%d", i), ""), []string{"create", "start", "exit", "delete"}, uint32(i%250))
			}
			c.report(t, n, "containers")
		})
	}
}

// TestOrderOfExecs is the same with processes in one container.
func TestOrderOfExecs(t *testing.T) {
	t.Parallel()
	for _, r := range []compat.Generation{newest, debian} {
		t.Run(string(r), func(t *testing.T) {
			s := start(t, r)
			load(t)
			const n = 200
			sub := s.Subscribe(t.Context())
			s.run(t, container{id: "execs", script: "sleep 1000"})
			began := time.Now()
			each(t, 4, n, func(ctx context.Context, i int) error {
				exec := fmt.Sprintf("e%d", i)
				if err := s.exec(ctx, "execs", exec, fmt.Sprintf("exit %d", i)); err != nil {
					return fmt.Errorf("exec %s: %w", exec, err)
				}
				if exit, err := s.Wait(ctx, "execs", exec); err != nil || exit.Code != uint32(i) {
					return fmt.Errorf("wait for %s: code %d, %w", exec, exit.Code, err)
				}
				exit, err := s.Delete(ctx, "execs", exec)
				if err != nil || exit.Code != uint32(i) {
					return fmt.Errorf("delete %s: code %d, %w", exec, exit.Code, err)
				}
				return nil
			})
			t.Logf("%d processes in %v", n, time.Since(began).Round(time.Millisecond))
			s.stop(t, "execs")
			harness.Until(10*time.Second, func() bool { return len(sub.Events()) >= 3*n+4 })
			var c tally
			for i := range n {
				c.check(sub.Of("execs", fmt.Sprintf("e%d", i)), []string{"exec-added", "exec-started", "exit"}, uint32(i))
			}
			c.report(t, n, "processes")
		})
	}
}

// stop kills a container that is made to be killed.
func (s *service) stop(t *testing.T, id string) {
	t.Helper()
	if err := s.Kill(limited(t), id, "", 9); err != nil {
		t.Errorf("kill %s: %v", id, err)
	}
	if exit, err := s.Wait(limited(t), id, ""); err != nil || exit.Code != 137 {
		t.Errorf("wait for %s: code %d, %v; want 137", id, exit.Code, err)
	}
	s.remove(t, id, 137)
}
