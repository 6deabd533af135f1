package task

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/manager/bundle"
	"github.com/gantry-containers/gantry/manager/shim"
)

// killed is how a process ended of which nobody knows more than that it is gone.
const killed = 128 + uint32(unix.SIGKILL)

// watch waits for the death of the shim.
func (t *task) watch(s *shim.Shim) {
	select {
	case <-s.Gone():
	case <-t.over: // deleted: then nobody hears of the shim's end
		return
	case <-t.m.closed:
		return
	}
	t.turn <- struct{}{} // whoever has it is bounded
	defer t.release()
	if t.m.isClosed() { // the next manager may be at work
		return
	}
	t.mu.Lock()
	done := t.gone || t.rec.Stage == ended
	t.mu.Unlock()
	if done {
		return
	}
	slog.Info("task: its shim is gone", "namespace", t.namespace, "id", t.id)
	t.entomb(context.Background())
	t.mu.Lock()
	forgotten := t.forgotten
	t.mu.Unlock()
	if forgotten {
		t.dropUnlessWanted(context.Background())
	}
}

// entomb makes a tombstone of a task whose shim is dead: what it left is removed, and its end told if that has not been done.
// What fails is tried again in the background. The caller has the turn.
func (t *task) entomb(ctx context.Context) {
	t.mu.Lock()
	b, stage := t.bundle, t.rec.Stage
	t.mu.Unlock()
	var failed error
	if b != nil {
		if e, ok := bundleExit(b.Path); ok {
			t.noteExit(e)
		}
		if stage != deleted {
			failed = t.runDelete(ctx, b)
		}
	}
	t.noteExit(exit{Pid: t.snapshot().Pid, Status: killed, At: time.Now()})
	failed = errors.Join(failed, t.tellEnd(ctx))
	if b != nil && failed == nil {
		// A task without a bundle would be another manager's business.
		t.warn("the ledger", t.note(func(r *record) { r.Stage = deleted }))
		failed = t.removeRest(ctx, b)
	}
	t.mu.Lock()
	if t.shim != nil {
		t.shim.Close() //nolint:errcheck // it is dead
		t.shim = nil
	}
	t.warn("the ledger", t.noteLocked(func(r *record) { r.Stage = ended }))
	close(t.over)
	t.mu.Unlock()
	if failed != nil {
		t.warn("what its shim left", failed)
		go t.finishLater()
	}
}

// runDelete runs the delete action of the dead shim, which kills the container, and knows the exit if nobody else does.
func (t *task) runDelete(ctx context.Context, b *bundle.Bundle) error {
	limited, cancel := context.WithTimeout(ctx, t.m.limits.cleanup)
	defer cancel()
	answer, err := t.m.cfg.Shims.Delete(limited, b)
	if errdefs.IsNotFound(err) {
		return t.killInit() // no shim was started, or its program is gone: nobody can do more
	}
	if err != nil {
		return errors.Join(fmt.Errorf("delete action: %w", within(limited, err)), t.killInit())
	}
	e := exit{Pid: answer.Pid, Status: answer.ExitStatus, At: at(answer.ExitedAt)}
	if e.Pid == 0 {
		e.Pid = t.snapshot().Pid
	}
	t.noteExit(e)
	return nil
}

// killInit kills the first process of the container, and with it most often all others, where the shim's program does not.
func (t *task) killInit() error {
	r := t.snapshot()
	return killProcess(r.Pid, r.Born, t.m.limits.state)
}

func (t *task) removeRest(ctx context.Context, b *bundle.Bundle) error {
	limited, cancel := context.WithTimeout(ctx, t.m.limits.cleanup)
	defer cancel()
	if err := b.Remove(limited); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bundle = nil
	return nil
}

// finishLater tries again, from time to time, to tell the end of a tombstone, and to remove what is left.
func (t *task) finishLater() {
	for wait := retryAfter; ; wait = min(2*wait, time.Minute) {
		select {
		case <-time.After(wait):
		case <-t.m.closed:
			return
		}
		t.turn <- struct{}{}
		err := t.finish()
		t.release()
		if err == nil {
			return
		}
		t.warn("what is left of it", err)
	}
}

// finish does for a tombstone what has not been done yet. The caller has the turn.
func (t *task) finish() error {
	t.mu.Lock()
	gone := t.gone
	t.mu.Unlock()
	if gone {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*t.m.limits.cleanup)
	defer cancel()
	return errors.Join(t.tellEnd(ctx), t.clean(ctx))
}

// bury removes a tombstone, when nobody will ask for it any more.
func (t *task) bury(ctx context.Context) error {
	if err := t.take(ctx); err != nil {
		return err
	}
	defer t.release()
	if err := t.clean(ctx); err != nil {
		return err
	}
	return t.drop()
}

// forget buries a tombstone in the background's name.
func (t *task) forget() {
	ctx, cancel := context.WithTimeout(context.Background(), t.m.limits.delete)
	defer cancel()
	if err := t.bury(ctx); err != nil && !errdefs.IsNotFound(err) {
		t.warn("what is left of it", err)
	}
}
