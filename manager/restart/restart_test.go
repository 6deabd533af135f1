package restart

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/anypb"
)

func TestWants(t *testing.T) {
	for _, c := range []struct {
		policy, count, stopped string
		code                   uint32
		want                   bool
		fault                  string
	}{
		{"", "", "", 0, true, ""},
		{"always", "7", "false", 0, true, ""},
		{"always", "", "true", 0, false, ""},
		{"unless-stopped", "", "", 0, true, ""},
		{"unless-stopped", "", "true", 1, false, ""},
		{"no", "", "", 1, false, ""},
		{"on-failure", "", "", 0, false, ""},
		{"on-failure", "99", "", 1, true, ""},
		{"on-failure:2", "1", "", 1, true, ""},
		{"on-failure:2", "2", "", 1, false, ""},
		{"on-failure:2", "", "maybe", 1, true, ""},
		{"on-failure:2", "x", "", 1, false, "is no number"},
		{"on-failure:x", "", "", 1, false, "has a number"},
		{"on-failure:-1", "", "", 1, false, "has a number"},
		{"always:1", "", "", 1, false, "only on-failure"},
		{"sometimes", "", "", 1, false, "is unknown"},
	} {
		got, err := wants(map[string]string{PolicyLabel: c.policy, CountLabel: c.count, ExplicitlyStoppedLabel: c.stopped}, c.code)
		if got != c.want || (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%+v: %v, %v", c, got, err)
		}
	}
}

// world has the containers of one namespace and their tasks; it notes what is done.
type world struct {
	t     *testing.T
	mu    sync.Mutex
	kept  map[string]containers.Container
	tasks map[string]*task.Process
	fails map[string]error // by method
	done  []string
}

// names is a store of one namespace.
type names struct{ namespaces.Store }

func (names) List(context.Context) ([]string, error) { return []string{"n"}, nil }

// store is the world's containers.
type store struct {
	containers.Store
	w *world
}

func (s store) List(_ context.Context, filters ...string) ([]containers.Container, error) {
	if want := []string{`labels."containerd.io/restart.status"`}; !slices.Equal(filters, want) {
		s.w.t.Errorf("filters %q, want %q", filters, want)
	}
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	var list []containers.Container
	for _, c := range s.w.kept {
		list = append(list, c)
	}
	return list, nil
}

func (s store) Update(_ context.Context, c containers.Container, paths ...string) (containers.Container, error) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	for _, path := range paths {
		key := strings.TrimPrefix(path, "labels.")
		s.w.done = append(s.w.done, fmt.Sprintf("label %s %s", key[strings.LastIndex(key, ".")+1:], c.Labels[key]))
	}
	s.w.kept[c.ID] = c
	return c, nil
}

// mounts is a snapshotter.
type mounts struct{ snapshots.Snapshotter }

func (mounts) Mounts(context.Context, string) ([]mount.Mount, error) {
	return []mount.Mount{{Type: "overlay", Source: "overlay", Options: []string{"a"}}}, nil
}

// note notes a call and answers with the error that it is to have.
func (w *world) note(method, what string) error {
	w.done = append(w.done, strings.TrimSpace(method+" "+what))
	return w.fails[method]
}

func (w *world) Get(_ context.Context, r *tasks.GetRequest) (*tasks.GetResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, ok := w.tasks[r.ContainerID]
	if !ok {
		return nil, errdefs.ErrNotFound
	}
	return &tasks.GetResponse{Process: p}, w.fails["get"]
}

func (w *world) Create(ctx context.Context, r *tasks.CreateTaskRequest) (*tasks.CreateTaskResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n, err := namespaces.NamespaceRequired(ctx); err != nil || n != "n" {
		w.t.Errorf("namespace %q, %v", n, err)
	}
	if _, ok := w.tasks[r.ContainerID]; ok {
		return nil, errdefs.ErrAlreadyExists
	}
	var options []string
	for _, m := range r.Rootfs {
		options = append(options, m.Options...)
	}
	if err := w.note("create", fmt.Sprintf("%v %s %s %q", r.Terminal, r.Stdout, r.Stderr, options)); err != nil {
		return nil, err
	}
	w.tasks[r.ContainerID] = &task.Process{ID: r.ContainerID, Status: task.Status_CREATED}
	return &tasks.CreateTaskResponse{}, nil
}

func (w *world) Start(_ context.Context, r *tasks.StartRequest) (*tasks.StartResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.note("start", ""); err != nil {
		return nil, err
	}
	w.tasks[r.ContainerID].Status = task.Status_RUNNING
	return &tasks.StartResponse{}, nil
}

func (w *world) Kill(_ context.Context, r *tasks.KillRequest) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tasks[r.ContainerID].Status == task.Status_STOPPED {
		return errdefs.ErrNotFound
	}
	w.tasks[r.ContainerID].Status = task.Status_STOPPED
	return w.note("kill", fmt.Sprint(r.Signal))
}

func (w *world) Wait(context.Context, *tasks.WaitRequest) (*tasks.WaitResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return &tasks.WaitResponse{}, w.note("wait", "")
}

func (w *world) Delete(_ context.Context, r *tasks.DeleteTaskRequest) (*tasks.DeleteResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.tasks, r.ContainerID)
	return &tasks.DeleteResponse{}, w.note("delete", "")
}

// newMonitor makes a world of one container, c, and its monitor.
func newMonitor(t *testing.T, labels map[string]string, p *task.Process, change func(*specs.Spec)) (*Monitor, *world) {
	t.Helper()
	spec := specs.Spec{Process: &specs.Process{}}
	if change != nil {
		change(&spec)
	}
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, fails: map[string]error{}, tasks: map[string]*task.Process{}, kept: map[string]containers.Container{
		"c": {ID: "c", Labels: maps.Clone(labels), Spec: &anypb.Any{Value: text}, Snapshotter: "s", SnapshotKey: "k"},
	}}
	if p != nil {
		p.ID = "c"
		w.tasks["c"] = p
	}
	return &Monitor{
		Namespaces: names{}, Containers: store{w: w}, Tasks: w,
		Snapshotters: map[string]snapshots.Snapshotter{"s": mounts{}},
	}, w
}

func TestCheck(t *testing.T) {
	const created = `create false   ["a"]`
	run := map[string]string{StatusLabel: "running"}
	for name, c := range map[string]struct {
		labels map[string]string
		task   *task.Process
		spec   func(*specs.Spec)
		want   []string
	}{
		"runs":               {run, &task.Process{Status: task.Status_RUNNING}, nil, nil},
		"is paused":          {run, &task.Process{Status: task.Status_PAUSED}, nil, nil},
		"is being made":      {run, &task.Process{Status: task.Status_CREATED}, nil, nil},
		"has no task":        {run, nil, nil, []string{"label count 1", created, "start"}},
		"has ended":          {run, &task.Process{Status: task.Status_STOPPED}, nil, []string{"label count 1", "delete", created, "start"}},
		"is to stop":         {map[string]string{StatusLabel: "stopped"}, &task.Process{Status: task.Status_RUNNING}, nil, []string{"kill 9", "wait", "delete"}},
		"has stopped":        {map[string]string{StatusLabel: "stopped"}, &task.Process{Status: task.Status_STOPPED}, nil, nil},
		"never ran":          {map[string]string{StatusLabel: "stopped"}, nil, nil, nil},
		"failed":             {map[string]string{StatusLabel: "running", PolicyLabel: "on-failure", CountLabel: "3"}, &task.Process{Status: task.Status_STOPPED, ExitStatus: 1}, nil, []string{"label count 4", "delete", created, "start"}},
		"failed often":       {map[string]string{StatusLabel: "running", PolicyLabel: "on-failure:3", CountLabel: "3"}, &task.Process{Status: task.Status_STOPPED, ExitStatus: 1}, nil, nil},
		"stopped on purpose": {map[string]string{StatusLabel: "running", PolicyLabel: "unless-stopped", ExplicitlyStoppedLabel: "true"}, nil, nil, nil},
		"comes back at the manager's start": {
			map[string]string{StatusLabel: "running", PolicyLabel: "always", ExplicitlyStoppedLabel: "true"},
			nil, nil,
			[]string{"label explicitly-stopped false", "label count 1", created, "start"},
		},
		"has a log": {
			map[string]string{StatusLabel: "running", LogURILabel: "file:///l"},
			nil, nil,
			[]string{"label count 1", `create false file:///l file:///l ["a"]`, "start"},
		},
		"has a terminal": {
			map[string]string{StatusLabel: "running", LogURILabel: "file:///l"},
			nil,
			func(s *specs.Spec) { s.Process.Terminal = true },
			[]string{"label count 1", `create true file:///l  ["a"]`, "start"},
		},
		"has an SELinux label": {
			run, nil,
			func(s *specs.Spec) { s.Linux = &specs.Linux{MountLabel: "x"} },
			[]string{"label count 1", `create false   ["a" "context=\"x\""]`, "start"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, w := newMonitor(t, c.labels, c.task, c.spec)
			if err := m.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, w.done); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestNobodyStartsIt(t *testing.T) {
	m, w := newMonitor(t, map[string]string{StatusLabel: "running"}, &task.Process{Status: task.Status_CREATED}, nil)
	for range 2 {
		if err := m.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"label count 1", "kill 9", "wait", "delete", `create false   ["a"]`, "start"}
	if d := cmp.Diff(want, w.done); d != "" {
		t.Error(d)
	}
}

func TestStoppedOnPurposeAfterTheStart(t *testing.T) {
	m, w := newMonitor(t, map[string]string{StatusLabel: "running", PolicyLabel: "always"}, &task.Process{Status: task.Status_RUNNING}, nil)
	if err := m.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.kept["c"].Labels[ExplicitlyStoppedLabel] = "true"
	w.tasks["c"].Status = task.Status_STOPPED
	if err := m.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(w.done) > 0 {
		t.Errorf("done: %q", w.done)
	}
}

func TestFaults(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		labels map[string]string
		method string
		want   []string
	}{
		"create fails":  {map[string]string{StatusLabel: "running"}, "create", []string{"label count 1", `create false   ["a"]`}},
		"start fails":   {map[string]string{StatusLabel: "running"}, "start", []string{"label count 1", `create false   ["a"]`, "start", "kill 9", "wait", "delete"}},
		"unknown state": {map[string]string{StatusLabel: "sleeping"}, "", nil},
		"odd policy":    {map[string]string{StatusLabel: "running", PolicyLabel: "odd"}, "", nil},
		"odd count":     {map[string]string{StatusLabel: "running", CountLabel: "odd"}, "", nil},
	} {
		m, w := newMonitor(t, c.labels, nil, nil)
		w.fails[c.method] = broken
		if err := m.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "container n/c") {
			t.Errorf("%s: error %v", name, err)
		}
		if d := cmp.Diff(c.want, w.done); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if len(w.tasks) > 0 {
			t.Errorf("%s: a task is left", name)
		}
	}
}
