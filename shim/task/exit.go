package task

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/api/tasktypes"
	"github.com/gantry-containers/gantry/shim/bundle"
	"github.com/gantry-containers/gantry/shim/oci"
	"github.com/gantry-containers/gantry/shim/reap"
)

// watch waits for the process's end and tells of it.
func (p *process) watch() {
	exit, err := p.handle.Wait()
	if err != nil {
		p.c.warn("the exit status is not known", err)
	}
	if p.isInit() {
		p.c.initEnded(p.pid, exit)
	}
	if starting := p.startUnderWay(); starting != nil {
		<-starting
	}
	if io := p.stdio(); io != nil {
		io.Exited()
	}
	p.c.tell(ExitEvent(p.c.id, p.eventID(), p.handle.Pid, exit.Status, exit.At))
	p.mu.Lock()
	p.status, p.code, p.exitedAt = tasktypes.Status_STOPPED, exit.Status, exit.At
	p.mu.Unlock()
	close(p.done)
	_ = p.handle.Close()
}

// initEnded does what comes before the exit of the init process may be told: the record, which outlives this shim; the
// end of all other processes; the kernel's word on why.
func (c *container) initEnded(pid int, exit reap.Exit) {
	if err := c.bundle.SetExit(bundle.Exit{Pid: pid, Status: uint32(exit.Status), ExitedAt: exit.At}); err != nil {
		c.warn("no exit record", err)
	}
	c.mu.Lock()
	c.ended = true
	paused, oom := c.paused, c.oom
	c.paused = false
	c.mu.Unlock()
	if paused { // the others could not end
		if err := c.runtime.Resume(context.Background(), c.id); err != nil {
			c.warn("resume", err)
		}
	}
	if c.shared {
		c.killAll()
	}
	for _, p := range c.allExecs() {
		p.endWithInit()
	}
	if oom != nil {
		oom.Flush()
		_ = oom.Close()
	}
}

// killLimit is how long a runtime may take to kill what is left of a container.
const killLimit = 30 * time.Second

// killAll ends the processes that share the pid namespace with others: the kernel does it only for those that don't.
func (c *container) killAll() {
	ctx, cancel := context.WithTimeout(context.Background(), killLimit)
	defer cancel()
	err := c.runtime.Kill(ctx, c.id, int(unix.SIGKILL), true)
	if err != nil && !errors.Is(err, oci.ErrNotRunning) && !errors.Is(err, oci.ErrFinished) {
		c.warn("kill what the init process has left", err)
	}
}

// endWithInit waits for the end of a process of Exec, which the kernel has killed, or killAll; but for one that was
// being started then, and shares its pid namespace.
func (p *process) endWithInit() {
	if starting := p.startUnderWay(); starting != nil {
		<-starting
	}
	p.mu.Lock()
	handle := p.handle
	p.mu.Unlock()
	if handle == nil {
		return
	}
	if p.c.shared {
		_ = handle.Signal(unix.SIGKILL) // it has ended, most likely
	}
	<-p.done
}
