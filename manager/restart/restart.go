package restart

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ending is how long a task may take to end after SIGKILL.
const ending = 10 * time.Second

// Tasks is what of the manager's tasks is used here.
type Tasks interface {
	Get(ctx context.Context, r *tasks.GetRequest) (*tasks.GetResponse, error)
	Create(ctx context.Context, r *tasks.CreateTaskRequest) (*tasks.CreateTaskResponse, error)
	Start(ctx context.Context, r *tasks.StartRequest) (*tasks.StartResponse, error)
	Kill(ctx context.Context, r *tasks.KillRequest) error
	Wait(ctx context.Context, r *tasks.WaitRequest) (*tasks.WaitResponse, error)
	Delete(ctx context.Context, r *tasks.DeleteTaskRequest) (*tasks.DeleteResponse, error)
}

// Monitor compares containers with their labels.
type Monitor struct {
	Namespaces   namespaces.Store
	Containers   containers.Store
	Snapshotters map[string]snapshots.Snapshotter
	Tasks        Tasks

	begun bool

	mu      sync.Mutex
	created map[string]bool // what the look before found created and not started, by NAMESPACE/ID
	now     map[string]bool // what this one has found so
}

// Check looks at every container with a StatusLabel once and makes of it what the label says. It is not called twice at
// the same time. Its error is that of everything that went wrong; what could be done was done.
func (m *Monitor) Check(ctx context.Context) error {
	names, err := m.Namespaces.List(ctx)
	if err != nil {
		return fmt.Errorf("namespaces: %w", err)
	}
	m.created, m.now = m.now, map[string]bool{}
	var (
		wait sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	for _, name := range names {
		ctx := namespaces.WithNamespace(ctx, name)
		found, err := m.Containers.List(ctx, fmt.Sprintf("labels.%q", StatusLabel))
		if err != nil {
			mu.Lock()
			errs = append(errs, fmt.Errorf("containers of namespace %s: %w", name, err))
			mu.Unlock()
			continue
		}
		for _, c := range found {
			wait.Go(func() {
				if err := m.check(ctx, c); err != nil && !errdefs.IsNotFound(err) { // deleted in the meantime
					mu.Lock()
					defer mu.Unlock()
					errs = append(errs, fmt.Errorf("container %s/%s: %w", name, c.ID, err))
				}
			})
		}
	}
	wait.Wait()
	m.begun = true
	return errors.Join(errs...)
}

func (m *Monitor) check(ctx context.Context, c containers.Container) error {
	if !m.begun {
		if err := m.restore(ctx, &c); err != nil {
			return err
		}
	}
	p, err := m.process(ctx, c.ID)
	if err != nil {
		return err
	}
	switch want := c.Labels[StatusLabel]; want {
	case stopped:
		if p == nil || p.Status == task.Status_STOPPED {
			return nil
		}
		return m.end(ctx, c.ID)
	case running:
		if p != nil && p.Status != task.Status_STOPPED && !m.abandoned(ctx, p) {
			return nil // paused is as good as running
		}
		again, err := wants(c.Labels, p.GetExitStatus())
		if err != nil || !again {
			return err
		}
		return m.start(ctx, c, p != nil)
	default:
		return fmt.Errorf("label %s: %q is neither running nor stopped", StatusLabel, want)
	}
}

// abandoned tells of a task that was created before the last look, and whose client, it seems, will never start it.
func (m *Monitor) abandoned(ctx context.Context, p *task.Process) bool {
	if p.Status != task.Status_CREATED {
		return false
	}
	namespace, _ := namespaces.Namespace(ctx)
	key := namespace + "/" + p.ID
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now[key] = true
	return m.created[key]
}

// restore is done at the manager's start: always means that a container comes back then even if it was stopped.
func (m *Monitor) restore(ctx context.Context, c *containers.Container) error {
	p, err := parsePolicy(c.Labels[PolicyLabel])
	if err != nil || p.name != "always" || !told(c.Labels[ExplicitlyStoppedLabel]) {
		return err
	}
	return m.label(ctx, c, ExplicitlyStoppedLabel, "false")
}

// label sets one, here and in the store.
func (m *Monitor) label(ctx context.Context, c *containers.Container, key, value string) error {
	c.Labels[key] = value
	_, err := m.Containers.Update(ctx, *c, "labels."+key)
	return err
}

// process is the task of a container, nil if there is none.
func (m *Monitor) process(ctx context.Context, id string) (*task.Process, error) {
	r, err := m.Tasks.Get(ctx, &tasks.GetRequest{ContainerID: id})
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return r.Process, nil
}

// end kills a task and deletes it.
func (m *Monitor) end(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, ending)
	defer cancel()
	err := m.Tasks.Kill(ctx, &tasks.KillRequest{ContainerID: id, Signal: uint32(unix.SIGKILL), All: true})
	if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsFailedPrecondition(err) {
		return err
	}
	if err == nil {
		if _, err := m.Tasks.Wait(ctx, &tasks.WaitRequest{ContainerID: id}); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	if _, err = m.Tasks.Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: id}); errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// start makes and starts a new task; old says that there is one to delete before.
func (m *Monitor) start(ctx context.Context, c containers.Container, old bool) error {
	n, err := count(c.Labels)
	if err != nil {
		return err
	}
	if err := m.label(ctx, &c, CountLabel, strconv.Itoa(n+1)); err != nil {
		return err
	}
	if old {
		if err := m.end(ctx, c.ID); err != nil {
			return err
		}
	}
	r, err := m.request(ctx, c)
	if err != nil {
		return err
	}
	if _, err := m.Tasks.Create(ctx, r); err != nil {
		return err
	}
	if _, err := m.Tasks.Start(ctx, &tasks.StartRequest{ContainerID: c.ID}); err != nil {
		return errors.Join(err, m.end(context.WithoutCancel(ctx), c.ID))
	}
	slog.InfoContext(ctx, "restarted", "id", c.ID, "times", n+1)
	return nil
}

// request is that for a task of the container, as containerd's client makes it.
func (m *Monitor) request(ctx context.Context, c containers.Container) (*tasks.CreateTaskRequest, error) {
	var spec specs.Spec
	if err := json.Unmarshal(c.Spec.GetValue(), &spec); err != nil {
		return nil, fmt.Errorf("spec: %w", err)
	}
	r := &tasks.CreateTaskRequest{ContainerID: c.ID, Stdout: c.Labels[LogURILabel]}
	if r.Terminal = spec.Process != nil && spec.Process.Terminal; !r.Terminal {
		r.Stderr = r.Stdout
	}
	if c.SnapshotKey == "" {
		return r, nil
	}
	s, ok := m.Snapshotters[c.Snapshotter]
	if !ok {
		return nil, fmt.Errorf("snapshotter %q: %w", c.Snapshotter, errdefs.ErrNotFound)
	}
	mounts, err := s.Mounts(ctx, c.SnapshotKey)
	if err != nil {
		return nil, err
	}
	for _, from := range mounts {
		to := &types.Mount{Type: from.Type, Source: from.Source, Target: from.Target, Options: from.Options}
		if spec.Linux != nil && spec.Linux.MountLabel != "" { // of SELinux
			to.Options = append(to.Options, `context="`+spec.Linux.MountLabel+`"`)
		}
		r.Rootfs = append(r.Rootfs, to)
	}
	return r, nil
}
