package task

import (
	"context"
	"fmt"
	"slices"
	"strings"

	eventtypes "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"
)

// The topics that matter here; they are containerd's.
const (
	exitTopic       = "/tasks/exit"
	deleteTopic     = "/tasks/delete"
	checkpointTopic = "/tasks/checkpointed"
)

// Forward takes an event from a shim: what it says of a task is noted before the event is in the log, and an exit
// or a delete that was told already is dropped. A delete whose exit was never told has the exit told before it.
func (m *Manager) Forward(ctx context.Context, e *events.Envelope) error {
	select {
	case <-m.found:
	case <-m.closed:
		return fmt.Errorf("the manager is ending: %w", errdefs.ErrUnavailable)
	case <-ctx.Done():
		return ctx.Err()
	}
	switch e.Topic {
	case exitTopic:
		var x eventtypes.TaskExit
		if decode(e, &x) {
			return m.forwardExit(ctx, e, &x)
		}
	case deleteTopic:
		var x eventtypes.TaskDelete
		if decode(e, &x) && (x.ID == "" || x.ID == x.ContainerID) {
			return m.forwardDelete(ctx, e, &x)
		}
	}
	return m.cfg.Events.Forward(ctx, e)
}

// decode reads the event; one that is something else than its topic says is none of ours.
func decode(e *events.Envelope, to proto.Message) bool {
	if e.Event == nil {
		return false
	}
	_, name, ok := strings.Cut(e.Event.GetTypeUrl(), "/")
	if !ok {
		name = e.Event.GetTypeUrl()
	}
	return name == string(to.ProtoReflect().Descriptor().FullName()) && proto.Unmarshal(e.Event.GetValue(), to) == nil
}

func (m *Manager) forwardExit(ctx context.Context, e *events.Envelope, x *eventtypes.TaskExit) error {
	k := key{e.Namespace, x.ContainerID}
	end := exit{Pid: x.Pid, Status: x.ExitStatus, At: at(x.ExitedAt)}
	if x.ID != x.ContainerID {
		if t := m.find(k); t != nil {
			t.noteExec(x.ID, end)
		}
		return m.forwardOnce(ctx, e, telling{exitTopic, k, x.ID, end.Pid, end.At.UnixNano()})
	}
	t := m.owner(k, x.Pid)
	if t == nil {
		return m.forwardOnce(ctx, e, telling{exitTopic, k, x.ID, end.Pid, end.At.UnixNano()})
	}
	return t.forwardExit(ctx, e, end)
}

// owner is the task whose init process has the number. Of the same id there may be one whose shim has not left yet, and one
// that is being created.
func (m *Manager) owner(k key, pid uint32) *task {
	m.mu.Lock()
	leaving := slices.Clone(m.leaving[k])
	now := m.tasks[k]
	m.mu.Unlock()
	for _, t := range leaving {
		if t.snapshot().Pid == pid {
			return t
		}
	}
	if now != nil {
		// A task that is to be restored has no process yet.
		if r := now.snapshot(); r.Pid == pid || r.Pid == 0 {
			return now
		}
	}
	return nil
}

// forwardOnce has the log take an event of which nothing else is known, unless it has it.
func (m *Manager) forwardOnce(ctx context.Context, e *events.Envelope, which telling) error {
	return m.told.once(which, func() error { return m.cfg.Events.Forward(ctx, e) })
}

func (t *task) forwardExit(ctx context.Context, e *events.Envelope, end exit) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rec.Stage == creating {
		// Is it this one's, or that of an earlier one? The answer to Create will say.
		t.early[end.Pid] = end
		return t.m.forwardOnce(ctx, e, t.telling(exitTopic, end))
	}
	if t.rec.ExitTold {
		return nil
	}
	if t.rec.Exit == nil {
		if err := t.noteLocked(func(r *record) { r.Exit = &end }); err != nil {
			return err // the shim sends it again
		}
	}
	if err := t.m.forwardOnce(ctx, e, t.telling(exitTopic, end)); err != nil {
		return err
	}
	return t.noteToldLocked(func(r *record) { r.ExitTold = true })
}

func (m *Manager) forwardDelete(ctx context.Context, e *events.Envelope, x *eventtypes.TaskDelete) error {
	k := key{e.Namespace, x.ContainerID}
	end := exit{Pid: x.Pid, Status: x.ExitStatus, At: at(x.ExitedAt)}
	t := m.owner(k, x.Pid)
	if t == nil || t.snapshot().Stage == creating {
		return m.forwardOnce(ctx, e, telling{deleteTopic, k, x.ContainerID, end.Pid, end.At.UnixNano()})
	}
	t.noteExit(end)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.tellExitLocked(ctx); err != nil {
		return err
	}
	if t.rec.DeleteTold {
		return nil
	}
	if err := m.forwardOnce(ctx, e, t.telling(deleteTopic, end)); err != nil {
		return err
	}
	return t.noteToldLocked(func(r *record) { r.DeleteTold = true })
}

// tellEnd tells the exit and the delete of a task whose shim cannot any more.
func (t *task) tellEnd(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rec.Exit == nil {
		return nil
	}
	if err := t.tellExitLocked(ctx); err != nil {
		return err
	}
	if t.rec.DeleteTold {
		return nil
	}
	end := *t.rec.Exit
	err := t.publishOnce(ctx, t.telling(deleteTopic, end), &eventtypes.TaskDelete{
		ContainerID: t.id, Pid: end.Pid, ExitStatus: end.Status, ExitedAt: end.time(),
	})
	if err != nil {
		return err
	}
	return t.noteToldLocked(func(r *record) { r.DeleteTold = true })
}

func (t *task) tellExitLocked(ctx context.Context) error {
	if t.rec.ExitTold {
		return nil
	}
	end := *t.rec.Exit
	err := t.publishOnce(ctx, t.telling(exitTopic, end), &eventtypes.TaskExit{
		ContainerID: t.id, ID: t.id, Pid: end.Pid, ExitStatus: end.Status, ExitedAt: end.time(),
	})
	if err != nil {
		return err
	}
	return t.noteToldLocked(func(r *record) { r.ExitTold = true })
}

func (t *task) publishOnce(ctx context.Context, which telling, event events.Event) error {
	return t.m.told.once(which, func() error {
		return t.m.cfg.Events.Publish(namespaces.WithNamespace(ctx, t.namespace), which.topic, event)
	})
}

// noteToldLocked notes what the log has. If the ledger cannot be written, the next manager finds it in the log.
func (t *task) noteToldLocked(change func(*record)) error {
	t.warn("the ledger", t.noteLocked(change))
	if t.rec.ExitTold && t.rec.DeleteTold {
		t.toldOnce.Do(func() { close(t.toldEnd) })
	}
	return nil
}

func (t *task) toldAll() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rec.ExitTold && t.rec.DeleteTold
}

// noteExec keeps the exit of a process of Exec, for those who ask after the shim's death.
func (t *task) noteExec(id string, e exit) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.execs[id] = e
}

// telling is the name of an event in the set of those that the log has.
func (t *task) telling(topic string, e exit) telling {
	return telling{topic, t.key, t.id, e.Pid, e.At.UnixNano()}
}
