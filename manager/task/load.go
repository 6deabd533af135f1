package task

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/manager/bundle"
	"github.com/gantry-containers/gantry/manager/shim"
)

// retryAtMost is how rarely a shim that does not answer is tried.
const retryAtMost = 5 * time.Second

// Load finds the tasks that an earlier manager left, all at the same time, and cleans up after those that cannot be
// used any more. It returns when every task is readable; slow shims are waited for in the background. It is called once,
// before Create; Forward may be called already, and should be, though it waits for what was told before: what the delete
// action of a dead shim has to tell comes there.
func (m *Manager) Load(ctx context.Context) error {
	if err := os.MkdirAll(m.cfg.State, 0o700); err != nil {
		return err
	}
	if log, ok := m.cfg.Events.(History); ok {
		if err := m.told.recall(ctx, log); err != nil {
			slog.Warn("task: what was told before is not known", "error", err)
		}
	}
	records, err := m.ledger.read()
	if err != nil {
		slog.Warn("task: what was known of some tasks is lost", "error", err)
	}
	bundles, err := m.cfg.Bundles.List(ctx)
	if err != nil {
		return fmt.Errorf("bundles: %w", err)
	}
	background := context.WithoutCancel(ctx)
	// All of them are there before the first shim is asked, so that an event finds its task.
	var all []*task
	var loads []func()
	for _, b := range bundles {
		k := key{b.Namespace, b.ID}
		r, known := records[k]
		delete(records, k)
		identity := b.Identity()
		if known = known && r.Bundle == identity; !known {
			// A manager of another kind made it. What the ledger has is of a task that one has deleted.
			r = record{Stage: alive, Bundle: identity} // as far as anybody can know
			m.tookOver = true
		}
		t := m.newTask(k, r)
		t.bundle = b
		all = append(all, t)
		loads = append(loads, func() { t.load(background, known) })
	}
	for k, r := range records {
		t := m.newTask(k, r)
		all = append(all, t)
		loads = append(loads, func() { t.loadRecord(background) })
	}
	m.mu.Lock()
	for _, t := range all {
		t.orphan = t.rec.Stage == creating
		m.tasks[t.key] = t
	}
	m.mu.Unlock()
	close(m.found)
	for _, load := range loads {
		go load()
	}
	return m.waitForAll(ctx, all)
}

// waitForAll waits until each task can say how it is, but not for ever.
func (m *Manager) waitForAll(ctx context.Context, all []*task) error {
	patience := time.NewTimer(m.limits.patience)
	defer patience.Stop()
	for _, t := range all {
		if t.orphan {
			continue // no client knows it
		}
		select {
		case <-t.heard:
		case <-t.over:
		case <-patience.C:
			slog.Warn("task: some shims have not answered yet")
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// TookOver says whether Load has found tasks that a manager of another kind has made, whose clients this one does not
// know.
func (m *Manager) TookOver() bool { return m.tookOver }

// loadRecord is for a task of which nothing is left but a record, or a bundle that could not be removed.
func (t *task) loadRecord(ctx context.Context) {
	t.turn <- struct{}{}
	defer t.release()
	switch t.snapshot().Stage {
	case creating, alive: // nobody was told of it; or a manager of another kind has deleted it, and told its clients
		t.warn("the ledger", t.drop())
		return
	case deleted:
		t.entomb(ctx)
	case ended:
		if err := t.finish(); err != nil {
			t.warn("what is left of it", err)
			go t.finishLater()
		}
	}
	t.dropUnlessWanted(ctx)
}

// dropUnlessWanted removes a tombstone whose container has been removed.
func (t *task) dropUnlessWanted(ctx context.Context) {
	_, err := t.m.cfg.Containers.Get(namespaces.WithNamespace(ctx, t.namespace), t.id)
	if !errdefs.IsNotFound(err) {
		return
	}
	if err := t.clean(ctx); err != nil {
		t.warn("what is left of it", err) // for the next manager
		return
	}
	t.warn("the ledger", t.drop())
}

// load is for a task that has a bundle; it tries until it knows how the shim is.
func (t *task) load(ctx context.Context, known bool) {
	if t.snapshot().Stage == ended {
		t.loadRecord(ctx)
		return
	}
	for wait := retryAfter; ; wait = min(2*wait, retryAtMost) {
		err := t.find(ctx, known)
		if err == nil {
			return
		}
		t.warn("its shim", err)
		select {
		case <-time.After(wait):
		case <-t.m.closed:
			return
		}
	}
}

// find finds the shim, or that it is dead, and goes on from where the earlier manager stopped. After an error it can
// be tried again.
func (t *task) find(ctx context.Context, known bool) error {
	limited, cancel := context.WithTimeout(ctx, t.m.limits.load)
	defer cancel()
	s, err := t.m.cfg.Shims.Load(limited, t.bundle)
	if err != nil && !errdefs.IsNotFound(err) {
		return within(limited, err)
	}
	var state *taskv3.StateResponse
	if err == nil && !known {
		state, err = s.Tasks().State(limited, &taskv3.StateRequest{ID: t.id})
		if err != nil && !errdefs.IsNotFound(err) {
			s.Close() //nolint:errcheck // it is tried again
			return within(limited, err)
		}
	}
	t.turn <- struct{}{}
	defer t.release()
	stage := t.snapshot().Stage
	switch {
	case s == nil:
		t.findDead(ctx, known)
	case !known && state == nil && !hasSpec(t.bundle):
		s.Close() //nolint:errcheck // it goes on
		t.mu.Lock()
		t.bundle = nil
		t.mu.Unlock()
		return t.drop()
	case stage == creating, !known && state == nil:
		// Nobody was told of it.
		t.undo(ctx, s, t.bundle, true)
		return t.drop()
	case stage == deleted:
		close(t.heard) // how it ended is in the ledger
		t.warn("the shim", t.dismiss(ctx, s))
		t.settle(ctx)
	default:
		return t.adopt(s, state)
	}
	return nil
}

// adopt goes on with a task whose shim lives. What it was asked for tells how the task is; it may be nil.
func (t *task) adopt(s *shim.Shim, state *taskv3.StateResponse) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shim = s
	close(t.heard)
	go t.watch(s)
	go t.catchUp()
	if state == nil {
		return nil
	}
	t.warn("the ledger", t.noteLocked(func(r *record) {
		r.Pid, r.Born = state.Pid, birth(state.Pid)
		r.Stdin, r.Stdout, r.Stderr, r.Terminal = state.Stdin, state.Stdout, state.Stderr, state.Terminal
		if state.Status == tasktypes.Status_STOPPED && r.Exit == nil {
			r.Exit = &exit{Pid: state.Pid, Status: state.ExitStatus, At: at(state.ExitedAt)}
		}
	}))
	return nil
}

// settle makes a tombstone of a task that its shim has deleted, whose client may not know.
func (t *task) settle(ctx context.Context) {
	err := t.removeRest(ctx, t.bundle)
	t.mu.Lock()
	t.shim = nil
	t.warn("the ledger", t.noteLocked(func(r *record) { r.Stage = ended }))
	close(t.over)
	t.mu.Unlock()
	if err != nil {
		t.warn("what is left of it", err)
		go t.finishLater()
	}
}

// findDead is for a task whose shim is dead. A client that was told of the task finds how it ended; nobody was told of
// one that was not created, or that an earlier manager of another kind left without a process or a container.
func (t *task) findDead(ctx context.Context, known bool) {
	b := t.bundle
	told := t.snapshot().Stage != creating
	if told && !known {
		told = created(b) && t.wanted(ctx)
	}
	if told {
		if e, ok := bundleExit(b.Path); ok {
			t.noteExit(e)
		}
		if t.snapshot().Exit != nil {
			close(t.heard) // the rest can wait
		}
		t.entomb(ctx)
		t.dropUnlessWanted(ctx)
		return
	}
	limited, cancel := context.WithTimeout(ctx, t.m.limits.cleanup)
	defer cancel()
	if _, err := t.m.cfg.Shims.Delete(limited, b); err != nil && !errdefs.IsNotFound(err) {
		t.warn("the delete action", err)
	}
	t.removeBundle(ctx, b)
	t.warn("the ledger", t.drop())
}

func (t *task) wanted(ctx context.Context) bool {
	_, err := t.m.cfg.Containers.Get(namespaces.WithNamespace(ctx, t.namespace), t.id)
	return !errdefs.IsNotFound(err)
}

// hasSpec tells a container's bundle from that of a sandbox, whose shim has no task.
func hasSpec(b *bundle.Bundle) bool {
	_, err := os.Lstat(filepath.Join(b.Path, "config.json"))
	return err == nil
}

// created says whether the OCI runtime made a process for the bundle.
func created(b *bundle.Bundle) bool {
	for _, name := range []string{"init.pid", "exit"} {
		if _, err := os.Lstat(filepath.Join(b.Path, name)); !errors.Is(err, fs.ErrNotExist) {
			return true
		}
	}
	return false
}
