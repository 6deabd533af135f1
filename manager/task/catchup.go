package task

import (
	"context"
	"os"
	"strings"
	"time"

	eventtypes "github.com/containerd/containerd/api/events"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
)

// catchingAtOnce is how many shims are asked at the same time whether their task has ended: clients come first.
const catchingAtOnce = 4

// catchUp tells of the ends of a task and of its processes, if they were while there was no manager: containerd's shims
// try for 15 seconds to tell them, and then forget them. What a shim still tells after that is told once.
func (t *task) catchUp() {
	for wait := retryAfter; !t.isOver(); wait = min(2*wait, retryAtMost) {
		select {
		case t.m.catching <- struct{}{}:
		case <-t.m.closed:
			return
		}
		err := t.tellEnds(context.Background())
		<-t.m.catching
		if err == nil || errdefs.IsNotFound(err) {
			return
		}
		t.warn("whether it has ended", err)
		select {
		case <-time.After(wait):
		case <-t.over:
		case <-t.m.closed:
			return
		}
	}
}

// tellEnds asks the shim, within a limit for each process.
func (t *task) tellEnds(ctx context.Context) error {
	for _, exec := range t.execsInBundle() {
		p, err := t.execState(ctx, exec)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		if p.Status != tasktypes.Status_STOPPED {
			continue
		}
		e := exit{Pid: p.Pid, Status: p.ExitStatus, At: at(p.ExitedAt)}
		t.noteExec(exec, e)
		err = t.publishOnce(ctx, telling{exitTopic, t.key, exec, e.Pid, e.At.UnixNano()}, &eventtypes.TaskExit{
			ContainerID: t.id, ID: exec, Pid: e.Pid, ExitStatus: e.Status, ExitedAt: e.time(),
		})
		if err != nil {
			return err
		}
	}
	if _, err := t.state(ctx); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone || t.rec.Exit == nil {
		return nil
	}
	return t.tellExitLocked(ctx)
}

// execsInBundle are the processes of Exec that were started and not deleted: the OCI runtime writes a file for each.
func (t *task) execsInBundle() (ids []string) {
	t.mu.Lock()
	b := t.bundle
	t.mu.Unlock()
	if b == nil {
		return nil
	}
	entries, err := os.ReadDir(b.Path)
	t.warn("its processes", err)
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), ".pid"); ok && id != "init" && !strings.HasPrefix(id, ".") {
			ids = append(ids, id)
		}
	}
	return ids
}
