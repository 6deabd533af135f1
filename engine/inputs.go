package engine

import (
	"context"
	"log/slog"
	"time"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/engine/stdio"
)

// closeInputs tells processes that their input has ended, as the keeper says.
func (e *Engine) closeInputs(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case n, ok := <-e.parts.keeper.Notices():
			if !ok {
				return
			}
			if n.StdinClosed {
				go e.closeInput(ctx, n.Key)
			}
		}
	}
}

// execPatience is how long an exec may take from its streams to its process.
const execPatience = 30 * time.Second

// closeInput closes the input of a process. A client may have sent all of its input before there is a process.
func (e *Engine) closeInput(ctx context.Context, k stdio.Key) {
	late := time.Now().Add(execPatience)
	for {
		changed := e.parts.records.Changed(k.Container)
		err := e.endInput(ctx, k)
		if err == nil {
			return
		}
		_, gone := e.parts.records.Get(k.Container)
		if !errdefs.IsNotFound(err) || gone != nil || k.Exec != "" && time.Now().After(late) {
			slog.Debug("input is not closed", "container", k.Container, "exec", k.Exec, "error", err)
			return
		}
		if !wait(ctx, changed, k.Exec != "") {
			return
		}
	}
}

// endInput ends the input of a process that is there. Not every shim remembers what it is told of an exec before that is
// started.
func (e *Engine) endInput(ctx context.Context, k stdio.Key) error {
	if k.Exec != "" {
		s, err := e.parts.tasks.Status(ctx, k.Container, k.Exec)
		if err == nil && s.Created {
			err = errdefs.ErrNotFound
		}
		if err != nil {
			return err
		}
	}
	return e.parts.tasks.CloseStdin(ctx, k.Container, k.Exec)
}

// wait waits for a change of a container's record; of execs there is none to wait for.
func wait(ctx context.Context, changed <-chan struct{}, exec bool) bool {
	var again <-chan time.Time
	if exec {
		again = time.After(20 * time.Millisecond)
	}
	select {
	case <-ctx.Done():
		return false
	case <-changed:
	case <-again:
	}
	return true
}
