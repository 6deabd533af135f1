package task

import (
	"context"
	"time"

	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/services/tasks/v1"
)

// Wait waits for the end of a task, or of a process of Exec: as long as its client does, through the loss of connections
// and of the shim.
func (m *Manager) Wait(ctx context.Context, r *tasks.WaitRequest) (*tasks.WaitResponse, error) {
	t, err := m.get(ctx, r.ContainerID)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx) // ends the question to the shim, too
	defer cancel()
	var e exit
	if r.ExecID == "" {
		e, err = t.wait(ctx)
	} else {
		e, err = t.waitExec(ctx, r.ExecID)
	}
	if err != nil {
		return nil, err
	}
	return &tasks.WaitResponse{ExitStatus: e.Status, ExitedAt: e.time()}, nil
}

func (t *task) wait(ctx context.Context) (exit, error) {
	for {
		if e := t.snapshot().Exit; e != nil {
			return *e, nil
		}
		answer := t.ask(ctx, "")
		select {
		case <-t.exited:
		case a := <-answer:
			if a.err == nil {
				t.noteExit(a.exit)
				continue
			}
			if err := t.backoff(ctx, a.err); err != nil {
				return exit{}, err
			}
		case <-ctx.Done():
			return exit{}, ctx.Err()
		}
	}
}

// backoff waits until it makes sense to ask the shim again, after an error of the connection. Any other error it returns.
func (t *task) backoff(ctx context.Context, err error) error {
	if !disconnected(err) && !hasEnded(err) {
		return err
	}
	select {
	case <-t.exited:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(retryAfter):
		return nil
	}
}

type waited struct {
	exit
	err error
}

// ask asks the shim for the end of a process, in the background.
func (t *task) ask(ctx context.Context, exec string) <-chan waited {
	answer := make(chan waited, 1)
	s, err := t.client()
	if err != nil {
		answer <- waited{err: err}
		return answer
	}
	go func() {
		r, err := s.Tasks().Wait(ctx, &taskv3.WaitRequest{ID: t.id, ExecID: exec})
		if err != nil {
			answer <- waited{err: err}
			return
		}
		answer <- waited{exit: exit{Pid: t.snapshot().Pid, Status: r.ExitStatus, At: at(r.ExitedAt)}}
	}()
	return answer
}

// waitExec waits for a process of Exec. One that was there when the shim died was killed then.
func (t *task) waitExec(ctx context.Context, id string) (exit, error) {
	there := false
	for {
		select {
		case <-t.over:
			return t.lostExec(id, there)
		default:
		}
		select {
		case a := <-t.ask(ctx, id):
			if a.err == nil {
				return a.exit, nil
			}
			if hasEnded(a.err) || t.isOver() {
				return t.lostExec(id, there || disconnected(a.err))
			}
			if !disconnected(a.err) {
				return exit{}, a.err
			}
			there = true
		case <-t.over:
			return t.lostExec(id, true)
		case <-ctx.Done():
			return exit{}, ctx.Err()
		}
		select {
		case <-t.over:
		case <-time.After(retryAfter):
		case <-ctx.Done():
			return exit{}, ctx.Err()
		}
	}
}

func (t *task) isOver() bool {
	select {
	case <-t.over:
		return true
	default:
		return false
	}
}

// lostExec is how a process of Exec ended whose shim is dead.
func (t *task) lostExec(id string, there bool) (exit, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, ok := t.execs[id]; ok {
		return e, nil
	}
	if !there || t.rec.Exit == nil {
		return exit{}, noProcess(id)
	}
	return exit{Status: killed, At: t.rec.Exit.At}, nil
}
