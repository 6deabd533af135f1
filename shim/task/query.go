package task

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/options"
	"github.com/gantry-containers/gantry/shim/api/task"
	"github.com/gantry-containers/gantry/shim/api/tasktypes"
	"github.com/gantry-containers/gantry/shim/ttrpc"
)

func (s *Service) state(_ context.Context, r *task.StateRequest) (*task.StateResponse, error) {
	p, err := s.process(r.Id, r.ExecId)
	if err != nil {
		return nil, err
	}
	status := p.visibleStatus()
	p.mu.Lock()
	defer p.mu.Unlock()
	return &task.StateResponse{
		Id:         p.eventID(),
		Bundle:     p.c.bundle.Path(),
		Pid:        uint32(p.pid),
		Status:     status,
		Stdin:      p.streams.Stdin,
		Stdout:     p.streams.Stdout,
		Stderr:     p.streams.Stderr,
		Terminal:   p.streams.Terminal,
		ExitStatus: uint32(p.code),
		ExitedAt:   known.At(p.exitedAt),
		ExecId:     p.execID,
	}, nil
}

// visibleStatus is the process's status, or its container's while that is paused. One whose start has failed stays
// "created" for clients, as with containerd's shim.
func (p *process) visibleStatus() tasktypes.Status {
	status := p.currentStatus()
	if status == tasktypes.Status_STOPPED && p.currentPid() == 0 {
		return tasktypes.Status_CREATED
	}
	if status != tasktypes.Status_RUNNING {
		return status
	}
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	switch {
	case p.c.pausing:
		return tasktypes.Status_PAUSING
	case p.c.paused:
		return tasktypes.Status_PAUSED
	}
	return status
}

func (s *Service) wait(ctx context.Context, r *task.WaitRequest) (*task.WaitResponse, error) {
	p, err := s.process(r.Id, r.ExecId)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	end := p.deleteResponse()
	return &task.WaitResponse{ExitStatus: end.ExitStatus, ExitedAt: end.ExitedAt}, nil
}

// pids lists the container's processes. The init process is in the list until Delete: containerd takes a task without
// processes for one that was never created, and at its next start deletes it with its exit code.
func (s *Service) pids(ctx context.Context, r *task.PidsRequest) (*task.PidsResponse, error) {
	c, err := s.container(r.Id)
	if err != nil {
		return nil, err
	}
	init := c.init.currentPid()
	var pids []int
	if c.init.currentStatus() != tasktypes.Status_STOPPED {
		if pids, err = c.runtime.Pids(ctx, c.id); err != nil && init == 0 {
			return nil, runtimeError("OCI runtime ps failed", err)
		}
	}
	execs := map[int]string{}
	for _, p := range c.allExecs() {
		execs[p.currentPid()] = p.execID
	}
	answer := &task.PidsResponse{}
	for _, pid := range withInit(pids, init) {
		info := &tasktypes.ProcessInfo{Pid: uint32(pid)}
		if id := execs[pid]; id != "" {
			if info.Info, err = processDetails(id); err != nil {
				return nil, err
			}
		}
		answer.Processes = append(answer.Processes, info)
	}
	return answer, nil
}

func withInit(pids []int, init int) []int {
	if init == 0 || slices.Contains(pids, init) {
		return pids
	}
	return append([]int{init}, pids...)
}

func processDetails(execID string) (*known.Any, error) {
	value, err := (&options.ProcessDetails{ExecId: execID}).MarshalVT()
	return &known.Any{TypeUrl: "containerd.runc.v1.ProcessDetails", Value: value}, err
}

func (s *Service) stats(_ context.Context, r *task.StatsRequest) (*task.StatsResponse, error) {
	c, err := s.container(r.Id)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	cg := c.cgroup
	c.mu.Unlock()
	if cg == nil {
		return nil, ttrpc.Errorf(ttrpc.NotFound, "container %q has no cgroup", c.id)
	}
	stats, err := cg.Stats()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ttrpc.Errorf(ttrpc.NotFound, "statistics of container %q: %w", c.id, err)
	}
	if err != nil {
		return nil, fmt.Errorf("statistics of container %q: %w", c.id, err)
	}
	return &task.StatsResponse{Stats: stats}, nil
}
