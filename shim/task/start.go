package task

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/gantry-containers/gantry/shim/api/task"
	"github.com/gantry-containers/gantry/shim/api/tasktypes"
	"github.com/gantry-containers/gantry/shim/oci"
	"github.com/gantry-containers/gantry/shim/reap"
	"github.com/gantry-containers/gantry/shim/stdio"
	"github.com/gantry-containers/gantry/shim/ttrpc"
)

// start starts the init process, or one that Exec has added.
func (s *Service) start(ctx context.Context, r *task.StartRequest) (*task.StartResponse, error) {
	p, err := s.process(r.Id, r.ExecId)
	if err != nil {
		return nil, err
	}
	if err := p.beginStart(); err != nil {
		return nil, err
	}
	ctx, cancel := operation(ctx)
	defer cancel()
	var pid int
	switch {
	case !p.isInit():
		pid, err = p.startExec(ctx)
	case p.c.restore != nil:
		pid, err = p.c.startRestored(ctx)
	default:
		pid, err = p.c.startCreated(ctx)
	}
	p.endStart(err == nil)
	if err != nil {
		return nil, err
	}
	return &task.StartResponse{Pid: uint32(pid)}, nil
}

func (c *container) startCreated(ctx context.Context) (int, error) {
	if err := c.take(ctx); err != nil {
		return 0, err
	}
	defer c.release()
	if err := c.runtime.Start(ctx, c.id); err != nil {
		return 0, runtimeError("OCI runtime start failed", err)
	}
	pid := c.init.currentPid()
	c.tell(startEvent(c.init, pid))
	return pid, nil
}

// startRestored restores the container from its checkpoint: only now is there a process.
func (c *container) startRestored(ctx context.Context) (int, error) {
	if err := c.take(ctx); err != nil {
		return 0, err
	}
	defer c.release()
	defer reap.Expect()()
	if err := c.runtime.Restore(ctx, c.id, *c.restore); err != nil {
		return 0, runtimeError("OCI runtime restore failed", err)
	}
	handle, err := c.init.attach(ctx, c.restore.PidFile)
	if err != nil {
		return 0, err
	}
	c.watchCgroup(handle.Pid)
	c.tell(startEvent(c.init, handle.Pid))
	c.init.run(handle)
	return handle.Pid, nil
}

// startExec runs a process in the container. One that can't be started counts as ended.
func (p *process) startExec(ctx context.Context) (int, error) {
	handle, err := p.launch(ctx)
	if err != nil {
		p.fail()
		return 0, err
	}
	p.c.tell(startEvent(p, handle.Pid))
	p.run(handle)
	return handle.Pid, nil
}

func (p *process) launch(ctx context.Context) (_ *reap.Process, err error) {
	p.c.mu.Lock()
	ended, paused := p.c.ended, p.c.paused
	p.c.mu.Unlock()
	if ended {
		return nil, ttrpc.Errorf(ttrpc.FailedPrecondition, "container %q: the init process is not running", p.c.id)
	}
	if paused {
		return nil, ttrpc.Errorf(ttrpc.FailedPrecondition, "container %q is paused", p.c.id)
	}
	dir, err := os.MkdirTemp(p.c.bundle.Path(), "exec-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	io, err := stdio.Open(ctx, p.streams, dir)
	if err != nil {
		return nil, stdioError(err)
	}
	if err := p.setIO(io); err != nil {
		return nil, err
	}
	in, out, errs := io.Files()
	flags := oci.ExecOptions{
		Process:       filepath.Join(dir, "process.json"),
		PidFile:       filepath.Join(dir, "pid"),
		ConsoleSocket: io.ConsoleSocket(),
		Stdio:         oci.Stdio{In: in, Out: out, Err: errs},
	}
	if err := os.WriteFile(flags.Process, p.spec, 0o600); err != nil {
		return nil, err
	}
	defer reap.Expect()()
	if err := p.c.runtime.Exec(ctx, p.c.id, flags); err != nil {
		return nil, runtimeError("OCI runtime exec failed", err)
	}
	return p.attach(ctx, flags.PidFile)
}

// notStarted is the exit code of a process that never ran: containerd's word for an unknown one.
const notStarted = 255

// fail ends a process that could not be started, for those who wait for it.
func (p *process) fail() {
	if io := p.stdio(); io != nil {
		if err := io.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			p.c.warn("close the stdio", err)
		}
	}
	p.mu.Lock()
	p.status, p.code = tasktypes.Status_STOPPED, notStarted
	p.mu.Unlock()
	close(p.done)
}
