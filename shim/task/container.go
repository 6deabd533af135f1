package task

import (
	"context"
	"sync"

	"github.com/gantry-containers/gantry/shim/api/options"
	"github.com/gantry-containers/gantry/shim/bundle"
	"github.com/gantry-containers/gantry/shim/cgroup"
	"github.com/gantry-containers/gantry/shim/events"
	"github.com/gantry-containers/gantry/shim/oci"
	"github.com/gantry-containers/gantry/shim/ttrpc"
)

type container struct {
	id      string
	bundle  *bundle.Bundle
	options *options.Options
	runtime *oci.Runtime
	log     *events.Log
	init    *process
	restore *oci.RestoreOptions // the container is restored at Start; nil if it was created
	mounted bool                // the shim has mounted the rootfs
	brief   bool                // the rootfs need be mounted here only until the container is created
	shared  bool                // it has no pid namespace of its own: its processes outlive the init process
	cgroup  *cgroup.Cgroup
	oom     *cgroup.OOM

	created chan struct{} // closed when Create has an answer
	cancel  context.CancelFunc
	turn    chan struct{} // holds one value: who has taken it may change the container by the runtime

	mu      sync.Mutex
	ready   bool // Create has answered with success
	pausing bool
	paused  bool
	ended   bool // the init process has ended: nothing more is started
	execs   map[string]*process
}

// take waits for the container's turn.
func (c *container) take(ctx context.Context) error {
	select {
	case <-c.turn:
		return nil
	case <-ctx.Done():
		return ttrpc.Errorf(ttrpc.DeadlineExceeded, "container %q is busy with another request: %w", c.id, ctx.Err())
	}
}

func (c *container) release() { c.turn <- struct{}{} }

func (c *container) isCreated() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ready
}

// giveUp ends a creation that is under way; false if the container is there.
func (c *container) giveUp() bool {
	if c.isCreated() {
		return false
	}
	c.cancel()
	return true
}

// process finds a process of the container; without an id, the init process.
func (c *container) process(execID string) (*process, error) {
	if execID == "" {
		return c.init, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.execs[execID]
	if p == nil {
		return nil, ttrpc.Errorf(ttrpc.NotFound, "process %q not found in container %q", execID, c.id)
	}
	return p, nil
}

func (c *container) allExecs() []*process {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]*process, 0, len(c.execs))
	for _, p := range c.execs {
		all = append(all, p)
	}
	return all
}

func (c *container) remove(p *process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.execs, p.execID)
}

// watchCgroup finds the container's cgroup and listens for OOM kills. A runtime may do without a cgroup.
func (c *container) watchCgroup(pid int) {
	cg, err := cgroup.Of(pid)
	if err != nil {
		c.warn("no statistics", err)
		return
	}
	oom, err := cg.WatchOOM(func() { c.tell(oomEvent(c.id)) })
	if err != nil {
		c.warn("no OOM events", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cgroup, c.oom = cg, oom
}

// tell puts an event into the container's log.
func (c *container) tell(e events.Event) {
	if err := c.log.Append(e); err != nil {
		c.warn("an event is lost", err)
	}
}
