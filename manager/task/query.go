package task

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Get says how a task is, or a process of Exec.
func (m *Manager) Get(ctx context.Context, r *tasks.GetRequest) (*tasks.GetResponse, error) {
	t, err := m.get(ctx, r.ContainerID)
	if err != nil {
		return nil, err
	}
	var p *tasktypes.Process
	if r.ExecID == "" {
		p, err = t.state(ctx)
	} else {
		p, err = t.execState(ctx, r.ExecID)
	}
	if err != nil {
		return nil, err
	}
	return &tasks.GetResponse{Process: p}, nil
}

// state asks the shim only where the manager does not know itself.
func (t *task) state(ctx context.Context) (*tasktypes.Process, error) {
	if r := t.snapshot(); r.Exit != nil {
		return r.process(t.id, tasktypes.Status_STOPPED), nil
	}
	var s *taskv3.StateResponse
	err := t.call(ctx, t.m.limits.state, func(ctx context.Context, api taskv3.TTRPCTaskService) (err error) {
		s, err = api.State(ctx, &taskv3.StateRequest{ID: t.id})
		return err
	})
	// It may have ended meanwhile.
	if r := t.snapshot(); r.Exit != nil {
		return r.process(t.id, tasktypes.Status_STOPPED), nil
	}
	if err != nil {
		return nil, err
	}
	if s.Status == tasktypes.Status_STOPPED {
		t.noteExit(exit{Pid: s.Pid, Status: s.ExitStatus, At: at(s.ExitedAt)})
	}
	return processOf(t.id, s), nil
}

func (t *task) execState(ctx context.Context, id string) (*tasktypes.Process, error) {
	var s *taskv3.StateResponse
	err := t.call(ctx, t.m.limits.state, func(ctx context.Context, api taskv3.TTRPCTaskService) (err error) {
		s, err = api.State(ctx, &taskv3.StateRequest{ID: t.id, ExecID: id})
		return err
	})
	if hasEnded(err) {
		return nil, noProcess(id)
	}
	if err != nil {
		return nil, err
	}
	return processOf(id, s), nil
}

func processOf(id string, s *taskv3.StateResponse) *tasktypes.Process {
	return &tasktypes.Process{
		ID:         id,
		Pid:        s.Pid,
		Status:     s.Status,
		Stdin:      s.Stdin,
		Stdout:     s.Stdout,
		Stderr:     s.Stderr,
		Terminal:   s.Terminal,
		ExitStatus: s.ExitStatus,
		ExitedAt:   timestamppb.New(at(s.ExitedAt)),
	}
}

// List says how all tasks of the namespace are. One whose shim does not answer in time has the status UNKNOWN.
func (m *Manager) List(ctx context.Context, _ *tasks.ListTasksRequest) (*tasks.ListTasksResponse, error) {
	namespace, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return nil, err
	}
	all := m.all(namespace)
	found := make([]*tasktypes.Process, len(all))
	forAll(all, func(i int, t *task) {
		p, err := t.state(ctx)
		switch {
		case err == nil:
			found[i] = p
		case errdefs.IsNotFound(err): // deleted meanwhile
		default:
			slog.Warn("task: its state", "namespace", t.namespace, "id", t.id, "error", err)
			found[i] = t.snapshot().process(t.id, tasktypes.Status_UNKNOWN)
		}
	})
	return &tasks.ListTasksResponse{Tasks: present(found)}, nil
}

// atOnce is how many shims are asked at the same time.
const atOnce = 32

// forAll does something for all of them, and waits for the last.
func forAll(all []*task, do func(int, *task)) {
	var wait sync.WaitGroup
	free := make(chan struct{}, atOnce)
	for i, t := range all {
		free <- struct{}{}
		wait.Go(func() {
			defer func() { <-free }()
			do(i, t)
		})
	}
	wait.Wait()
}

// present are those that are not nil.
func present[T any](all []*T) []*T {
	var some []*T
	for _, one := range all {
		if one != nil {
			some = append(some, one)
		}
	}
	return some
}

// ListPids are the processes in the container; none where it has ended.
func (m *Manager) ListPids(ctx context.Context, r *tasks.ListPidsRequest) (*tasks.ListPidsResponse, error) {
	t, err := m.get(ctx, r.ContainerID)
	if err != nil {
		return nil, err
	}
	var answer *taskv3.PidsResponse
	err = t.call(ctx, m.limits.control, func(ctx context.Context, api taskv3.TTRPCTaskService) (err error) {
		answer, err = api.Pids(ctx, &taskv3.PidsRequest{ID: t.id})
		return err
	})
	if hasEnded(err) {
		return &tasks.ListPidsResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	return &tasks.ListPidsResponse{Processes: answer.Processes}, nil
}

// Metrics are the shims' statistics of the tasks that match; those without any are left out.
func (m *Manager) Metrics(ctx context.Context, r *tasks.MetricsRequest) (*tasks.MetricsResponse, error) {
	namespace, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return nil, err
	}
	filter, err := filters.ParseAll(r.Filters...)
	if err != nil {
		return nil, fmt.Errorf("filters: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	var matching []*task
	for _, t := range m.all(namespace) {
		if filter.Match(filters.AdapterFunc(t.field)) {
			matching = append(matching, t)
		}
	}
	found := make([]*types.Metric, len(matching))
	forAll(matching, func(i int, t *task) {
		when := time.Now()
		var s *taskv3.StatsResponse
		err := t.call(ctx, m.limits.state, func(ctx context.Context, api taskv3.TTRPCTaskService) (err error) {
			s, err = api.Stats(ctx, &taskv3.StatsRequest{ID: t.id})
			return err
		})
		switch {
		case err == nil:
			found[i] = &types.Metric{Timestamp: timestamppb.New(when), ID: t.id, Data: s.Stats}
		case hasEnded(err) || errdefs.IsNotFound(err):
		default:
			slog.Warn("task: its metrics", "namespace", t.namespace, "id", t.id, "error", err)
		}
	})
	return &tasks.MetricsResponse{Metrics: present(found)}, nil
}

// field is what a filter may ask for.
func (t *task) field(path []string) (string, bool) {
	switch path[0] {
	case "id":
		return t.id, true
	case "namespace":
		return t.namespace, true
	}
	return "", false
}
