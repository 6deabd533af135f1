package containers

import (
	"context"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"

	"github.com/gantry-containers/gantry/engine/container"
)

// waiter lets clients wait.
type waiter struct{ ground }

// Wait begins to wait for a condition and returns at once. The channel gets one result, or none when the context ends.
func (w *waiter) Wait(ctx context.Context, ref string, condition api.WaitCondition) (<-chan Result, error) {
	c, err := w.store.Get(ref)
	if err != nil {
		return nil, err
	}
	x := w.begin(c.ID, condition)
	context.AfterFunc(ctx, func() { w.waits.drop(c.ID, x) })
	return x.result, nil
}

// begin waits, and finds out whether the condition is met already.
func (g ground) begin(id string, condition api.WaitCondition) *wait {
	x := g.waits.add(id, condition)
	// The record is changed before those who wait are told, so that between both looks nothing is missed.
	c, err := g.store.Get(id)
	switch {
	case errdefs.IsNotFound(err):
		g.waits.removed(id, Result{})
	case err == nil && condition == api.WaitConditionNotRunning && !busy(c):
		g.waits.drop(id, x)
		select {
		case x.result <- resultOf(c):
		default: // It was told meanwhile.
		}
	}
	return x
}

// busy says that a container runs or will run again by its policy.
func busy(c *container.Container) bool {
	return c.State.Running() || c.State.Status == container.Restarting
}

func resultOf(c *container.Container) Result {
	return Result{ExitCode: c.State.ExitCode, Error: c.State.Error}
}

// untilIdle waits until a container is not running; false when the context ended before.
func (g ground) untilIdle(ctx context.Context, id string) bool {
	x := g.begin(id, api.WaitConditionNotRunning)
	select {
	case <-x.result:
		return true
	case <-ctx.Done():
		g.waits.drop(id, x)
		return false
	}
}
