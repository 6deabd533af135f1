package task

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/ttrpc"

	"github.com/gantry-containers/gantry/manager/bundle"
	"github.com/gantry-containers/gantry/manager/shim"
)

// task is one task, from its client's Create to its client's Delete.
type task struct {
	m *Manager
	key

	// turn is taken by whoever moves the task from one stage to the next: Create, Delete, the loss of its shim. It is held
	// while the shim is asked, so nobody else may wait for it without a limit.
	turn chan struct{}

	// mu guards what follows. It is held for as long as the ledger and the event log take, never while a shim is asked.
	mu        sync.Mutex
	rec       record
	shim      *shim.Shim     // nil: none yet, or none any more
	bundle    *bundle.Bundle // nil: none, or removed
	gone      bool           // it is in no list any more
	forgotten bool           // its container's record was removed
	execs     map[string]exit
	early     map[uint32]exit // told while the task was being created, by pid
	left      chan struct{}   // closed when the shim of the deleted task has left; nil: it has not been asked to

	orphan bool // an earlier manager was creating it: it is being removed

	heard    chan struct{} // closed when the shim that an earlier manager started was reached, or is not needed any more
	exited   chan struct{} // closed when rec.Exit is set
	over     chan struct{} // closed when the shim is not asked any more: ended, or gone
	toldEnd  chan struct{} // closed when the log has exit and delete
	toldOnce sync.Once
}

func (m *Manager) newTask(k key, r record) *task {
	t := &task{
		m: m, key: k, rec: r,
		turn:    make(chan struct{}, 1),
		execs:   map[string]exit{},
		early:   map[uint32]exit{},
		heard:   make(chan struct{}),
		exited:  make(chan struct{}),
		over:    make(chan struct{}),
		toldEnd: make(chan struct{}),
	}
	if r.Exit != nil {
		close(t.exited)
	}
	if r.Stage == ended {
		close(t.over)
	}
	return t
}

// take waits for the turn.
func (t *task) take(ctx context.Context) error {
	select {
	case t.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("task %v is busy: %w", t.id, ctx.Err())
	}
}

func (t *task) release() { <-t.turn }

// readable says whether clients see the task.
func (t *task) readable() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.gone && t.rec.Stage != creating
}

// tombstone says whether the task is kept only until its client deletes it.
func (t *task) tombstone() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rec.Stage == ended
}

// snapshot is what is known of the task.
func (t *task) snapshot() record {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rec
}

// note changes the record, in the ledger, too. The change holds even if the ledger cannot be written: that is told.
func (t *task) note(change func(*record)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.noteLocked(change)
}

func (t *task) noteLocked(change func(*record)) error {
	knew := t.rec.Exit != nil
	change(&t.rec)
	if !knew && t.rec.Exit != nil {
		if t.rec.Pid == 0 {
			t.rec.Pid = t.rec.Exit.Pid
		}
		close(t.exited)
	}
	if t.gone {
		return nil
	}
	return t.m.ledger.write(t.key, t.rec)
}

// noteExit keeps the first exit that anybody knew: it is the one that may have been told.
func (t *task) noteExit(e exit) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rec.Exit != nil {
		return
	}
	t.warn("the exit", t.noteLocked(func(r *record) { r.Exit = &e }))
}

// client is the shim of a task, for an operation. Errors are errdefs.ErrNotFound for a task that is gone, errEnded for
// one that has ended, and ErrUnavailable for one whose shim has not answered yet since the manager's start.
func (t *task) client() (*shim.Shim, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.gone || t.rec.Stage == creating:
		return nil, missing(t.id)
	case t.rec.Stage == ended || t.rec.Stage == deleted:
		return nil, errEnded
	case t.shim == nil:
		return nil, t.unheard()
	}
	return t.shim, nil
}

// errUnheard is for a task of an earlier manager, whose shim has not been reached yet.
var errUnheard = fmt.Errorf("its shim has not answered yet: %w", errdefs.ErrUnavailable)

func (t *task) unheard() error { return fmt.Errorf("task %v: %w", t.id, errUnheard) }

// errEnded is never seen by a client: each operation has its own answer for a task that has ended.
var errEnded = errors.New("task has ended")

// call asks the shim, for at most limit. When the shim dies meanwhile, and the task with it, the error is errEnded.
func (t *task) call(ctx context.Context, limit time.Duration, ask func(context.Context, taskv3.TTRPCTaskService) error) error {
	s, err := t.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err = ask(ctx, s.Tasks()); err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return within(ctx, err)
	}
	if !disconnected(err) {
		return err
	}
	// Either it is dead, and what it left is being cleaned up; or the connection alone was lost, and there is another soon.
	select {
	case <-t.over:
		if _, err := t.client(); err != nil {
			return err
		}
	case <-ctx.Done():
	case <-time.After(t.m.limits.state):
	}
	return fmt.Errorf("the connection to the shim was lost: %w", errdefs.ErrUnavailable)
}

// disconnected says of a shim's error that the request may not have reached it.
func disconnected(err error) bool {
	return errdefs.IsUnavailable(err) || errors.Is(err, ttrpc.ErrClosed)
}

// process is the record as clients see it.
func (r record) process(id string, status tasktypes.Status) *tasktypes.Process {
	p := &tasktypes.Process{
		ID:       id,
		Pid:      r.Pid,
		Status:   status,
		Stdin:    r.Stdin,
		Stdout:   r.Stdout,
		Stderr:   r.Stderr,
		Terminal: r.Terminal,
	}
	if r.Exit != nil {
		p.Status = tasktypes.Status_STOPPED
		p.ExitStatus = r.Exit.Status
		p.ExitedAt = r.Exit.time()
	}
	return p
}

// drop takes the task out of all lists; its bundle is gone.
func (t *task) drop() error {
	t.mu.Lock()
	last := !t.gone && t.rec.Stage != ended // the others have been told
	t.gone = true
	t.mu.Unlock()
	err := t.m.remove(t)
	if last {
		close(t.over)
	}
	return err
}

func (m *Manager) remove(t *task) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	// Another task of the same id may have taken its place; the file is that one's then.
	if m.tasks[t.key] != t {
		return nil
	}
	delete(m.tasks, t.key)
	return m.ledger.remove(t.key)
}

// warn tells the log of what no client can be told.
func (t *task) warn(what string, err error) {
	if err != nil {
		slog.Warn("task: "+what, "namespace", t.namespace, "id", t.id, "error", err)
	}
}
