package containers

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/containerd/errdefs"
	eventsapi "github.com/moby/moby/api/types/events"
	"golang.org/x/sync/errgroup"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/restart"
	"github.com/gantry-containers/gantry/engine/tasks"
)

// atOnce is how many containers are looked after side by side.
const atOnce = 32

// restorer makes records and reality agree: when the engine starts, and when the manager was away.
type restorer struct {
	ground
	parts   Parts
	exits   *exits
	starter *starter
	remover *remover
}

// Load finds the containers that live from before, does what follows from the ends of others, goes on with removals
// that had begun, and takes away what was half-made. Containers that their policy starts are started in the background.
func (r *restorer) Load(ctx context.Context) error {
	if err := r.reconcile(ctx, true); err != nil {
		return err
	}
	r.sweep(ctx)
	var due []*container.Container
	for _, c := range r.store.List() {
		if r.due(c) {
			due = append(due, c)
		}
	}
	go r.startAll(due)
	return nil
}

// reconcile asks the manager for all tasks, and compares them with the records.
func (r *restorer) reconcile(ctx context.Context, first bool) error {
	records := r.store.List()
	list, err := r.parts.Tasks.List(ctx)
	if err != nil {
		return err
	}
	known := make(map[string]*tasks.Status, len(list))
	for i := range list {
		known[list[i].Container] = &list[i]
	}
	if first {
		r.taskless(ctx, known)
	}
	var g errgroup.Group
	g.SetLimit(atOnce)
	for _, c := range records {
		st := known[c.ID]
		delete(known, c.ID)
		if st == nil && !c.State.Running() && !first {
			continue
		}
		g.Go(func() error {
			r.settle(ctx, c.ID, st, first)
			return nil
		})
	}
	for id := range known {
		g.Go(func() error {
			r.stray(ctx, id)
			return nil
		})
	}
	return g.Wait()
}

// taskless takes away the manager's records that have no task: the last engine was killed between the two. A task that
// the list did not have is added to it.
func (r *restorer) taskless(ctx context.Context, known map[string]*tasks.Status) {
	ids, err := r.parts.Tasks.Records(ctx, ownerLabel, r.parts.Settings().Owner)
	if err != nil {
		slog.Error("the manager does not tell its records", "error", err)
		return
	}
	for _, id := range ids {
		if known[id] != nil {
			continue
		}
		st, err := r.parts.Tasks.Status(ctx, id, "")
		switch {
		case err == nil:
			known[id] = &st
		case errdefs.IsNotFound(err):
			r.destroy(ctx, id)
		default:
			slog.Error("cannot ask the manager about a container", "container", id, "error", err)
		}
	}
}

// stray destroys a task of ours whose record is gone. Others may use the namespace, too.
func (r *restorer) stray(ctx context.Context, id string) {
	if r.known(id) {
		return // It was created meanwhile, or its record cannot be read.
	}
	labels, err := r.parts.Tasks.Labels(ctx, id)
	if err != nil || labels[ownerLabel] != r.parts.Settings().Owner {
		return
	}
	slog.Warn("a task without a container is destroyed", "task", id)
	if _, err := r.parts.Tasks.Destroy(ctx, id); err != nil {
		slog.Error("a task without a container is left", "task", id, "error", err)
	}
}

// settle makes one record and what the manager says agree.
func (r *restorer) settle(ctx context.Context, id string, st *tasks.Status, first bool) {
	unlock := r.store.Lock(id)
	c, err := r.store.Get(id)
	if err != nil {
		unlock()
		return
	}
	waited := c.State.Status == container.Restarting
	st, err = r.latest(ctx, c, st)
	if err != nil {
		unlock()
		slog.Error("cannot ask the manager about a container", "container", id, "error", err)
		return
	}
	switch {
	case c.State.Running() && st == nil:
		r.exits.ended(ctx, c, tasks.Exit{Container: id, Pid: c.State.Pid, Code: codeLost})
	case st == nil:
	case st.Exit != nil && (c.State.Running() || first):
		r.missed(ctx, c, *st.Exit)
	case st.Created && (!c.State.Running() || first):
		r.halfStarted(ctx, c)
	case st.Running:
		r.adopt(ctx, c, *st, first)
	}
	unlock()
	if first {
		r.goOn(ctx, id, waited && (st == nil || st.Created))
	}
}

// latest asks again for what the list did not have, or had before the lock: the container may have been started or
// have ended in between, and a shim that was slow is missing in lists.
func (r *restorer) latest(ctx context.Context, c *container.Container, listed *tasks.Status) (*tasks.Status, error) {
	agree := listed != nil && listed.Running && c.State.Running() && listed.Pid == c.State.Pid
	if agree || listed == nil && !c.State.Running() {
		return listed, nil
	}
	st, err := r.parts.Tasks.Status(ctx, c.ID, "")
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	return &st, err
}

// missed does what follows from an exit that was not told. The last engine may not even have written down the start.
func (r *restorer) missed(ctx context.Context, c *container.Container, e tasks.Exit) {
	if !c.State.Running() {
		if c.Started && c.State.Pid == 0 && !c.State.FinishedAt.Before(e.At) {
			// The end is known; only the task was left.
			r.destroy(ctx, c.ID)
			return
		}
		var err error
		if c, err = r.running(c, e.Pid); err != nil {
			slog.Error("cannot write down that a container ran", "container", c.ID, "error", err)
			return
		}
	}
	e.Pid = c.State.Pid
	r.exits.ended(ctx, c, e)
}

// halfStarted takes back a start in whose middle the last engine was killed.
func (r *restorer) halfStarted(ctx context.Context, c *container.Container) {
	r.destroy(ctx, c.ID)
	r.exits.teardown.all(ctx, c)
	if c.State.Running() {
		r.exits.ended(ctx, c, tasks.Exit{Container: c.ID, Pid: c.State.Pid, Code: codeLost})
	}
}

func (r *restorer) destroy(ctx context.Context, id string) {
	if _, err := r.parts.Tasks.Destroy(ctx, id); err != nil {
		slog.Error("a task is left of an engine that was killed", "container", id, "error", err)
	}
}

// adopt goes on with a container that runs.
func (r *restorer) adopt(ctx context.Context, c *container.Container, st tasks.Status, first bool) {
	told := c.State.Running()
	if first && c.State.Held {
		st.Paused = st.Paused && !r.letGo(ctx, c.ID)
	}
	var err error
	if !told || c.State.Pid != st.Pid {
		c, err = r.running(c, st.Pid)
	}
	if err == nil && st.Paused != (c.State.Status == container.Paused) {
		c, err = r.store.Update(c.ID, func(c *container.Container) error {
			c.State.Status = container.Running
			if st.Paused {
				c.State.Status = container.Paused
			}
			return nil
		})
	}
	if err != nil {
		slog.Error("cannot write down that a container runs", "container", st.Container, "error", err)
		return
	}
	if !told {
		r.announce.tell(c, eventsapi.ActionStart)
	}
	if !first && told {
		return
	}
	r.reopen(ctx, c)
	r.parts.Health.Watch(c.ID)
}

// letGo ends a pause that the last engine did not come to end.
func (r *restorer) letGo(ctx context.Context, id string) bool {
	if err := r.parts.Tasks.Resume(ctx, id); err != nil {
		// It may not have come to begin it.
		if st, status := r.parts.Tasks.Status(ctx, id, ""); status != nil || st.Paused {
			slog.Error("a container stays paused that an engine held that was killed", "container", id, "error", err)
			return false
		}
	}
	_, err := r.store.Update(id, func(c *container.Container) error {
		c.State.Held = false
		return nil
	})
	return err == nil
}

// running writes down that a container was started, which the last engine did not come to.
func (r *restorer) running(c *container.Container, pid int) (*container.Container, error) {
	return r.store.Update(c.ID, func(c *container.Container) error {
		c.Started, c.StopRequested = true, false
		c.State.Status, c.State.Pid = container.Running, pid
		c.State.ExitCode, c.State.Error, c.State.OOMKilled = 0, "", false
		c.State.StartedAt = time.Now().UTC()
		return nil
	})
}

// reopen tells the keeper of a container's streams. It goes on with those that it has; only a new keeper opens them
// again.
func (r *restorer) reopen(ctx context.Context, c *container.Container) {
	log, err := logOf(c, r.store.Dir(c.ID))
	if err == nil {
		_, err = r.parts.Streams.Open(ctx, streamsOf(c, log))
	}
	if err != nil {
		slog.Error("the output of a container is not read", "container", c.ID, "error", err)
	}
}

// goOn finishes what the last engine had begun with a container that does not run; waited says that it waits for its
// restart since then.
func (r *restorer) goOn(ctx context.Context, id string, waited bool) {
	c, err := r.store.Get(id)
	if err != nil {
		return
	}
	switch {
	case c.State.RemovalInProgress && busy(c):
		// Its end comes as an event, and they are heard when all is loaded.
		go func() {
			if err := r.remover.remove(ctx, c, c.State.RemoveVolumes); err != nil {
				slog.Error("a removal cannot be finished", "container", id, "error", err)
			}
		}()
	case c.State.RemovalInProgress:
		err = r.remover.remove(ctx, c, c.State.RemoveVolumes)
	case waited:
		r.starter.later(c, restart.First)
	case c.HostConfig.AutoRemove && c.Started && !busy(c):
		unlock := r.store.Lock(id)
		err = r.remover.gone(ctx, id, true)
		unlock()
	}
	if err != nil {
		slog.Error("a removal cannot be finished", "container", id, "error", err)
	}
}

// sweep takes away folders, tasks and snapshots of containers that were never finished, or nearly removed.
func (r *restorer) sweep(ctx context.Context) {
	orphans, err := r.store.Orphans()
	if err != nil {
		slog.Error("cannot look for what was half-made", "error", err)
	}
	for _, id := range orphans {
		r.destroy(ctx, id)
		if err := r.store.Sweep(id); err != nil {
			slog.Error("a folder is left of a container", "container", id, "error", err)
		}
	}
	if err := r.parts.Roots.Sweep(ctx, r.known); err != nil {
		slog.Error("snapshots of containers may be left", "error", err)
	}
}

// known says that a container has a folder. Its record may be one that cannot be read: somebody may mend it.
func (r *restorer) known(id string) bool {
	_, err := os.Lstat(r.store.Dir(id))
	return err == nil
}

// due says that a container that does not run starts with the engine.
func (r *restorer) due(c *container.Container) bool {
	if busy(c) || !c.Started || c.State.RemovalInProgress || c.State.Status == container.Dead {
		return false
	}
	return restart.AtLoad(c.HostConfig.RestartPolicy, restart.Past{
		ExitCode: c.State.ExitCode, Count: c.RestartCount, Stopped: c.StopRequested,
	})
}

// startAll starts containers, those first whose networks others join.
func (r *restorer) startAll(due []*container.Container) {
	first, second := []*container.Container{}, []*container.Container{}
	for _, c := range due {
		if c.HostConfig.NetworkMode.IsContainer() || c.HostConfig.PidMode.IsContainer() || c.HostConfig.IpcMode.IsContainer() {
			second = append(second, c)
		} else {
			first = append(first, c)
		}
	}
	for _, list := range [][]*container.Container{first, second} {
		var g errgroup.Group
		g.SetLimit(atOnce)
		for _, c := range list {
			g.Go(func() error {
				r.startOne(c.ID)
				return nil
			})
		}
		_ = g.Wait() // Nothing fails it.
	}
}

func (r *restorer) startOne(id string) {
	select {
	case <-r.runs.closed:
		return
	default:
	}
	unlock := r.store.Lock(id)
	defer unlock()
	c, err := r.store.Get(id)
	if err != nil || !r.due(c) {
		return
	}
	if err := r.starter.start(context.Background(), c, true); err != nil {
		slog.Error("cannot start a container", "container", id, "error", err)
	}
}
