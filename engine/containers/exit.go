package containers

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	eventsapi "github.com/moby/moby/api/types/events"
	"golang.org/x/sync/errgroup"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/restart"
	"github.com/gantry-containers/gantry/engine/stdio"
	"github.com/gantry-containers/gantry/engine/tasks"
)

// drainTime is how long output may come after the end: a child of the program may hold the streams open.
const drainTime = 2 * time.Second

// exits does what follows from the end of a container.
type exits struct {
	ground
	tasks    Observer
	health   Health
	execs    Execs
	teardown *teardown
	starter  *starter
	remover  *remover
	lanes    *lanes
}

// exited is told that a container's init ended.
func (x *exits) exited(ctx context.Context, e tasks.Exit) {
	ctx = context.WithoutCancel(ctx)
	unlock := x.store.Lock(e.Container)
	defer unlock()
	c, err := x.store.Get(e.Container)
	if err != nil || !c.State.Running() || c.State.Pid != e.Pid {
		return // It is of a start that failed, an earlier run, or was told before.
	}
	x.ended(ctx, c, e)
}

// outOfMemory is told that the kernel killed in a container.
func (x *exits) outOfMemory(id string) {
	unlock := x.store.Lock(id)
	defer unlock()
	c, err := x.store.Update(id, func(c *container.Container) error {
		c.State.OOMKilled = true
		return nil
	})
	if err != nil {
		return // Somebody else's, or gone.
	}
	x.announce.tell(c, eventsapi.ActionOOM)
}

// check asks the manager about a container of which a call said that it is gone, and goes on as if its exit had been
// told.
func (x *exits) check(ctx context.Context, id string) {
	unlock := x.store.Lock(id)
	defer unlock()
	c, err := x.store.Get(id)
	if err != nil || !c.State.Running() {
		return
	}
	st, err := x.tasks.Status(ctx, id, "")
	switch {
	case errdefs.IsNotFound(err):
		x.ended(ctx, c, tasks.Exit{Container: id, Pid: c.State.Pid, Code: codeLost})
	case err == nil && st.Exit != nil:
		x.ended(ctx, c, *st.Exit)
	}
}

// ended does all that follows from the end of a container's run. The caller holds its lock.
func (x *exits) ended(ctx context.Context, c *container.Container, e tasks.Exit) {
	x.health.Unwatch(c.ID)
	e = x.collect(ctx, c, e)
	x.execs.ContainerEnded(c.ID)
	x.teardown.host(ctx, c)
	x.runs.change(c.ID, func(r *run) { r.torn = true })
	if e.At.IsZero() {
		e.At = time.Now()
	}
	ran := max(0, e.At.Sub(c.State.StartedAt))
	pause, again := x.next(c, e.Code, ran)
	now, err := x.store.Update(c.ID, func(c *container.Container) error {
		c.State.Status, c.State.Pid, c.State.Held = container.Exited, 0, false
		if again {
			c.State.Status = container.Restarting
			c.RestartCount++
		}
		c.State.ExitCode, c.State.FinishedAt = e.Code, e.At.UTC()
		return nil
	})
	if err != nil {
		// The next engine will see it again: the record says that it runs, and the manager knows nothing.
		slog.Error("the end of a container is not in its record", "container", c.ID, "error", err)
		return
	}
	// Told before those who wait: whoever stops it tells its own event after this one.
	x.announce.tell(now, eventsapi.ActionDie, "exitCode", strconv.Itoa(e.Code), "execDuration", strconv.Itoa(int(ran.Seconds())))
	x.waits.exited(c.ID, resultOf(now))
	switch {
	case again:
		x.starter.later(now, pause)
	case now.HostConfig.AutoRemove && !x.isRestart(c.ID):
		if err := x.remover.gone(ctx, c.ID, true); err != nil {
			slog.Error("cannot remove a container that has ended", "container", c.ID, "error", err)
		}
	}
}

// collect lets the last output out, closes the streams, and takes the task away from the manager, side by side. It
// returns the exit, as the manager knew it when the event did not tell.
func (x *exits) collect(ctx context.Context, c *container.Container, e tasks.Exit) tasks.Exit {
	var g errgroup.Group
	g.Go(func() error {
		key := stdio.Key{Container: c.ID}
		if err := x.teardown.streams.Drained(ctx, key, drainTime); err != nil && !errdefs.IsNotFound(err) {
			slog.Warn("the last output of a container may be lost", "container", c.ID, "error", err)
		}
		x.teardown.closeStreams(ctx, c.ID)
		return nil
	})
	known, err := x.tasks.Delete(ctx, c.ID)
	if err != nil {
		slog.Warn("cannot take an ended container away from the manager", "container", c.ID, "error", err)
		x.runs.change(c.ID, func(r *run) { r.left = true })
	}
	_ = g.Wait() // It logs.
	if known != nil && e.At.IsZero() && known.Pid == e.Pid {
		e.Code, e.At = known.Code, known.At
	}
	return e
}

// next asks the restart policy.
func (x *exits) next(c *container.Container, code int, ran time.Duration) (pause time.Duration, again bool) {
	x.runs.change(c.ID, func(r *run) {
		past := restart.Past{
			ExitCode: code, Count: c.RestartCount, Pause: r.pause, Ran: ran,
			Stopped: r.stopped, Signaled: c.StopRequested,
		}
		if pause, again = restart.Next(c.HostConfig.RestartPolicy, past); again {
			r.pause = pause
		}
	})
	return pause, again
}

// isRestart says that a client's restart is under way.
func (x *exits) isRestart(id string) (again bool) {
	x.runs.change(id, func(r *run) { again = r.again })
	return again
}
