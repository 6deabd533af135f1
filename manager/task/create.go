package task

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/manager/bundle"
	"github.com/gantry-containers/gantry/manager/shim"
)

// Create makes the bundle, starts the shim and has it create the task. One of the same id that has ended, and was not
// deleted, makes room for it.
func (m *Manager) Create(ctx context.Context, r *tasks.CreateTaskRequest) (*tasks.CreateTaskResponse, error) {
	namespace, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return nil, err
	}
	c, err := m.cfg.Containers.Get(ctx, r.ContainerID)
	if err != nil {
		return nil, err
	}
	p, err := newPlan(&c, r, m.cfg.Default)
	if err != nil {
		return nil, err
	}
	if err := m.checkFeatures(ctx, p); err != nil {
		return nil, fmt.Errorf("failed to validate OCI runtime features: %w", err)
	}
	t, err := m.reserve(ctx, key{namespace, r.ContainerID})
	if err != nil {
		return nil, err
	}
	defer t.release()
	pid, err := t.create(ctx, p, c.SandboxID)
	if err != nil {
		return nil, full(err)
	}
	return &tasks.CreateTaskResponse{ContainerID: r.ContainerID, Pid: pid}, nil
}

// reserve takes the id, for one caller only, who has the task's turn.
func (m *Manager) reserve(ctx context.Context, k key) (*task, error) {
	if old := m.find(k); old != nil && old.tombstone() {
		// What its shim left has to be gone first.
		if err := old.bury(ctx); err != nil {
			return nil, err
		}
	} else if old != nil && old.orphan {
		select {
		case <-old.over:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(m.limits.delete):
			return nil, fmt.Errorf("task %s: what an earlier attempt has left does not go away: %w", k.id, errdefs.ErrUnavailable)
		}
	}
	t := m.newTask(k, record{Stage: creating})
	t.turn <- struct{}{}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tasks[k] != nil {
		return nil, fmt.Errorf("task %s: %w", k.id, errdefs.ErrAlreadyExists)
	}
	m.tasks[k] = t
	return t, nil
}

// create does the work. The ledger knows before there is a shim: who finds the task so after the manager's death removes
// it, since no client has been told of it.
func (t *task) create(ctx context.Context, p plan, sandbox string) (pid uint32, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, t.drop())
		}
	}()
	t.waitForOthers(ctx)
	b, err := t.m.cfg.Bundles.Create(ctx, t.namespace, t.id, p.spec.GetValue())
	if err != nil {
		return 0, err
	}
	if err := t.note(func(r *record) { r.Bundle = b.Identity() }); err != nil {
		t.removeBundle(ctx, b)
		return 0, err
	}
	if p.checkpoint, err = t.m.download(ctx, p, b); err != nil {
		t.removeBundle(ctx, b)
		return 0, err
	}
	s, err := t.m.start(ctx, t, b, p, sandbox)
	if err != nil {
		t.removeBundle(ctx, b)
		return 0, fmt.Errorf("failed to start shim: %w", err)
	}
	pid, err = t.createIn(ctx, s, b, p)
	if err != nil {
		t.undo(ctx, s, b, disconnected(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled))
		return 0, err
	}
	go t.watch(s)
	return pid, nil
}

// waitForOthers waits for the shims of earlier tasks of this id: the socket of a new one would have the same name.
func (t *task) waitForOthers(ctx context.Context) {
	t.m.mu.Lock()
	others := append([]*task(nil), t.m.leaving[t.key]...)
	t.m.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, 2*t.m.limits.shutdown)
	defer cancel()
	for _, other := range others {
		select {
		case <-other.left:
		case <-limited.Done():
			return
		}
	}
}

// start starts a shim, or finds the one that the task is to share.
func (m *Manager) start(ctx context.Context, t *task, b *bundle.Bundle, p plan, sandbox string) (*shim.Shim, error) {
	address, version := p.address, p.version
	if _, url, ok := strings.Cut(address, "+"); ok {
		address = url
	}
	if address == "" && sandbox != "" && sandbox != t.id {
		// The task that is the sandbox knows its server.
		if s := m.find(key{t.namespace, sandbox}); s != nil {
			if server, err := s.client(); err == nil {
				address, version = server.Address(), server.Version()
			}
		}
	}
	// Servers of version 2 want the start action to be run for each container.
	if address != "" && version >= 3 {
		return m.cfg.Shims.Attach(ctx, b, address, version)
	}
	return m.cfg.Shims.Start(ctx, b, p.runtime)
}

// createIn has the shim create the task, and notes that it is there.
func (t *task) createIn(ctx context.Context, s *shim.Shim, b *bundle.Bundle, p plan) (uint32, error) {
	r := p.request
	limited, cancel := context.WithTimeout(ctx, t.m.limits.start)
	defer cancel()
	answer, err := s.Tasks().Create(limited, &taskv3.CreateTaskRequest{
		ID:         t.id,
		Bundle:     b.Path,
		Rootfs:     r.Rootfs,
		Terminal:   r.Terminal,
		Stdin:      r.Stdin,
		Stdout:     r.Stdout,
		Stderr:     r.Stderr,
		Checkpoint: p.checkpoint,
		Options:    p.runtime.Options,
	})
	if err != nil {
		return 0, fmt.Errorf("failed to create shim task: %w", within(limited, err))
	}
	pid := answer.Pid
	if p.unpack {
		if pid, err = t.restore(limited, s, b, p.checkpoint); err != nil {
			return 0, within(limited, err)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shim, t.bundle = s, b
	return pid, t.noteLocked(func(rec *record) {
		rec.Stage, rec.Pid, rec.Born = alive, pid, birth(pid)
		if e, ok := t.early[pid]; ok && rec.Exit == nil {
			rec.Exit, rec.ExitTold = &e, true
		}
		rec.Stdin, rec.Stdout, rec.Stderr, rec.Terminal = r.Stdin, r.Stdout, r.Stderr, r.Terminal
	})
}

// undo removes what a Create that failed has made, whatever the shim still answers. Where nobody knows how far the shim has
// come, its delete action has the last word.
func (t *task) undo(ctx context.Context, s *shim.Shim, b *bundle.Bundle, unknown bool) {
	if err := t.deleteIn(ctx, s); err != nil {
		t.warn("the shim of a task that could not be created", err)
		unknown = true
	}
	limited, cancel := detached(ctx, 3*t.m.limits.shutdown)
	defer cancel()
	t.warn("the shim", t.dismiss(limited, s))
	if unknown {
		select {
		case <-t.left:
		case <-limited.Done():
		}
		ended, cancel := detached(ctx, t.m.limits.cleanup)
		defer cancel()
		if _, err := t.m.cfg.Shims.Delete(ended, b); err != nil {
			t.warn("the delete action", within(ended, err))
		}
	}
	t.removeBundle(ctx, b)
}

// deleteIn has the shim forget a task that it may or may not know.
func (t *task) deleteIn(ctx context.Context, s *shim.Shim) error {
	limited, cancel := detached(ctx, t.m.limits.cleanup)
	defer cancel()
	_, err := s.Tasks().Delete(limited, &taskv3.DeleteRequest{ID: t.id})
	if errdefs.IsNotFound(err) {
		return nil
	}
	return within(limited, err)
}

// removeBundle removes the bundle for good; what cannot be removed is left to the next manager.
func (t *task) removeBundle(ctx context.Context, b *bundle.Bundle) {
	limited, cancel := detached(ctx, t.m.limits.cleanup)
	defer cancel()
	t.warn("the bundle", b.Remove(limited))
}
