package manager_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/api/tasktypes"
	"github.com/gantry-containers/gantry/tests/harness"
)

// TestKilledAnywhere kills the manager at random moments of what clients do: create, start, exec, kill and delete tasks;
// pull and remove an image; write content, commit snapshots. After each of its restarts what was acknowledged is there, and
// the first answer about each task is right. At the end nothing is left. GANTRY_KILLS is how often, GANTRY_SEED makes the
// same moments again.
func TestKilledAnywhere(t *testing.T) {
	rounds, seed := number("GANTRY_KILLS", 10), number("GANTRY_SEED", int(time.Now().UnixNano()))
	t.Logf("GANTRY_SEED=%d", seed)
	k := &killed{subject: start(t), t: t, random: rand.New(rand.NewPCG(uint64(seed), 0))}
	k.image = k.pushed(t)
	for round := range rounds {
		k.round(round)
	}
	t.Logf("%d kills; the manager answered about %d tasks, %v after its start at the latest", rounds, k.answered, k.slowest.Round(time.Millisecond))
	k.nothing()
}

// number is an environment variable's, or the other.
func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// pushed is the name of an image of three layers in a registry, and nowhere else.
func (s *subject) pushed(t testing.TB) string {
	t.Helper()
	name := startRegistry(t) + "/layered:1"
	s.ctr.Ctr("images", "import", layered(t).archive(t.TempDir()))
	s.ctr.Ctr("images", "push", "--plain-http", name, "docker.io/library/layered:1")
	s.ctr.Ctr("images", "rm", "--sync", "docker.io/library/layered:1")
	return name
}

// killed is a manager that is killed again and again.
type killed struct {
	*subject
	t        *testing.T
	random   *rand.Rand
	image    string
	answered int
	slowest  time.Duration
}

// round lets clients work, kills the manager, and looks at what the next one knows.
func (k *killed) round(n int) {
	k.t.Helper()
	ctx, cancel := context.WithCancel(k.t.Context())
	var wg sync.WaitGroup
	var workers []*worker
	for i := range 5 {
		w := &worker{killed: k, name: fmt.Sprintf("any-%d-%d", n, i), random: rand.New(rand.NewPCG(k.random.Uint64(), 0)), failed: make(chan error, 1)}
		w.client, _ = k.api()
		workers = append(workers, w)
		work := w.tasks
		switch i {
		case 3:
			work = w.pulls
		case 4:
			work = w.commits
		}
		wg.Go(func() {
			for m := 0; ctx.Err() == nil; m++ {
				if err := work(ctx, fmt.Sprintf("%s-%d", w.name, m)); err != nil {
					w.failed <- err
					return
				}
			}
		})
	}
	time.Sleep(harness.Slow(time.Duration(20+k.random.IntN(980)) * time.Millisecond))
	for _, w := range workers {
		select {
		case err := <-w.failed:
			k.t.Errorf("%s: before the kill: %v", w.name, err)
		default:
		}
	}
	k.daemon.Kill()
	cancel()
	wg.Wait()
	began := time.Now()
	k.daemon.Start()
	k.first(workers, began)
	for _, w := range workers {
		w.acknowledged()
		_ = w.client.Close() // its manager is dead
	}
	k.clear()
}

// first wants the first answer to have every task that was acknowledged, as it is.
func (k *killed) first(workers []*worker, began time.Time) {
	k.t.Helper()
	list, err := k.List(limited(k.t))
	if err != nil {
		k.t.Fatal(err)
	}
	k.slowest = max(k.slowest, time.Since(began))
	k.answered += len(list)
	found := map[string]*tasktypes.Process{}
	for _, p := range list {
		found[p.Id] = p
		if p.Status == tasktypes.Status_UNKNOWN {
			k.t.Errorf("%s: its state is unknown", p.Id)
		}
	}
	for _, w := range workers {
		for _, l := range w.lives {
			if err := l.check(found[l.id]); err != nil {
				k.t.Errorf("%s: %v", l.id, err)
			}
		}
	}
}

// clear removes the tasks and containers that are there, as a client would who finds them.
func (k *killed) clear() {
	k.t.Helper()
	list, err := k.List(limited(k.t))
	if err != nil {
		k.t.Error(err)
	}
	for _, p := range list {
		_ = k.Kill(limited(k.t), p.Id, "", int(unix.SIGKILL)) // it may have ended
		if p.Status != tasktypes.Status_CREATED {
			exit, err := k.Wait(limited(k.t), p.Id, "")
			if err != nil || p.Status == tasktypes.Status_STOPPED && exit.Code != p.ExitStatus {
				k.t.Errorf("wait for %s: code %d, %v; it was %v with %d", p.Id, exit.Code, err, p.Status, p.ExitStatus)
			}
		}
		if !harness.Until(10*time.Second, func() bool { _, err = k.Delete(limited(k.t), p.Id, ""); return err == nil }) {
			k.t.Errorf("delete %s, which was %v: %v", p.Id, p.Status, err)
		}
	}
	c, ctx := k.api()
	defer hangUp(c)
	records, err := c.ContainerService().List(ctx)
	if err != nil {
		k.t.Error(err)
	}
	for _, r := range records {
		if err := c.ContainerService().Delete(ctx, r.ID); err != nil {
			k.t.Errorf("delete the record of %s: %v", r.ID, err)
		}
	}
	if err := c.ImageService().Delete(ctx, k.image, images.SynchronousDelete()); err != nil && !notFound(err) {
		k.t.Error(err)
	}
}

// life is what a client knows of one task.
type life struct {
	id                              string
	code                            uint32 // of the program, if it is not killed
	created, started                bool   // acknowledged
	startAsked, killAsked, endAsked bool
	deleted                         bool // acknowledged
}

// check compares it with what the manager says.
func (l *life) check(p *tasktypes.Process) error {
	switch {
	case l.deleted && p != nil:
		return fmt.Errorf("it is there, %v, though it was deleted", p.Status)
	case l.created && !l.endAsked && p == nil:
		return fmt.Errorf("there is no such task, though it was created (started: %v)", l.started)
	case p == nil:
		return nil
	}
	switch p.Status {
	case tasktypes.Status_CREATED:
		if l.started {
			return fmt.Errorf("CREATED, though it was started")
		}
	case tasktypes.Status_RUNNING, tasktypes.Status_STOPPED:
		if !l.startAsked && !l.killAsked && !l.endAsked && l.created {
			return fmt.Errorf("%v, though nobody started it", p.Status)
		}
	default:
		return fmt.Errorf("%v", p.Status)
	}
	if p.Status == tasktypes.Status_STOPPED && l.startAsked && p.ExitStatus != l.code && (!l.killAsked || p.ExitStatus != 137) {
		return fmt.Errorf("code %d; want %d (killed: %v)", p.ExitStatus, l.code, l.killAsked)
	}
	return nil
}
