package task

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	eventtypes "github.com/containerd/containerd/api/events"
	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/gantry-containers/gantry/manager/bundle"
)

const namespace = "tests"

// world is a manager and everything round it. The manager can be killed and made anew.
type world struct {
	t          *testing.T
	ctx        context.Context
	dir        string
	shims      *fakeShims
	log        *fakeLog
	containers *fakeContainers
	limits     map[string]time.Duration
	m          *Manager
	dead       chan struct{}  // closed when m is killed
	calls      sync.WaitGroup // of clients, in the background

	dieWithManager bool // the shims, in killIn
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		t: t, dir: t.TempDir(), shims: newFakeShims(t), log: &fakeLog{},
		containers: &fakeContainers{all: map[string]containers.Container{}},
		limits: map[string]time.Duration{
			stateLimit: time.Second, loadLimit: time.Second, cleanupLimit: time.Second, shutdownLimit: time.Second,
			controlLimit: time.Second, startLimit: time.Second, deleteLimit: 3 * time.Second, checkpointLimit: time.Second,
			patienceLimit: 10 * time.Second,
		},
	}
	w.ctx = namespaces.WithNamespace(t.Context(), namespace)
	w.start()
	t.Cleanup(func() {
		w.m.Close() //nolint:errcheck // it has no error
		w.shims.end()
		w.calls.Wait()
	})
	return w
}

func (w *world) config() Config {
	return Config{
		Bundles:    w.bundles(),
		Shims:      mortal{w.shims, w.dead},
		Containers: w.containers,
		Events:     w.log,
		State:      filepath.Join(w.dir, "ledger"),
		Default:    "io.containerd.fake.v1",
		Timeouts:   w.limits,
	}
}

func (w *world) bundles() bundle.Store {
	return bundle.Store{State: filepath.Join(w.dir, "state"), Root: filepath.Join(w.dir, "root")}
}

// start makes a manager over what the last one left.
func (w *world) start() {
	w.t.Helper()
	w.dead = make(chan struct{})
	m := New(w.config())
	w.shims.mu.Lock()
	w.shims.forward = m.Forward
	w.shims.mu.Unlock()
	w.m = m
	if err := m.Load(w.ctx); err != nil {
		w.t.Fatal("load:", err)
	}
}

// kill ends the manager as kill -9 does: what it was doing is neither finished nor undone.
func (w *world) kill() {
	close(w.dead)
	w.m.end()
}

// restart kills the manager and makes another.
func (w *world) restart() {
	w.t.Helper()
	w.kill()
	// What a dead process began does not go on.
	for _, t := range w.m.all("") {
		t.turn <- struct{}{}
	}
	w.start()
}

// killIn has a client call a manager, and kills that when it has come to a call of the shim, and makes another.
func (w *world) killIn(method string, call func()) {
	w.t.Helper()
	limits := w.limits
	w.limits = map[string]time.Duration{}
	for name := range limits {
		w.limits[name] = time.Hour // it is dead before
	}
	w.restart()
	there := make(chan struct{})
	w.shims.on(method, func(s *fakeShim) error {
		close(there)
		return hangs(w.shims)(s)
	})
	w.calls.Go(call)
	<-there
	w.kill()
	if w.dieWithManager {
		for _, id := range w.shims.alive() {
			w.shims.of(id).die()
		}
		w.dieDown()
	}
	w.limits = limits
	w.start()
}

// dieDown gives what still runs of the dead manager, which has lost its shim, a moment to come to its end: another
// manager never meets such a thing. What does not end in it only tries again and again.
func (w *world) dieDown() {
	ended := make(chan struct{})
	go func() {
		w.calls.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(3 * retryAfter):
	}
}

// mortal is what a manager sees of the shims until it is killed.
type mortal struct {
	*fakeShims
	dead chan struct{}
}

func (m mortal) Delete(ctx context.Context, b *bundle.Bundle) (*taskv3.DeleteResponse, error) {
	m.alive()
	answer, err := m.fakeShims.Delete(ctx, b)
	m.alive()
	return answer, err
}

// alive ends whoever works for a manager that is dead.
func (m mortal) alive() {
	select {
	case <-m.dead:
		runtime.Goexit()
	default:
	}
}

// container makes the record without which there is no task.
func (w *world) container(ids ...string) {
	for _, id := range ids {
		w.containers.set(containers.Container{ID: id, Spec: &anypb.Any{TypeUrl: "spec", Value: []byte(`{"ociVersion":"1.2.0"}`)}})
	}
}

func (w *world) create(id string) *tasks.CreateTaskResponse {
	w.t.Helper()
	w.container(id)
	r, err := w.m.Create(w.ctx, &tasks.CreateTaskRequest{ContainerID: id, Stdout: "/out"})
	if err != nil {
		w.t.Fatal("create:", err)
	}
	return r
}

// run makes a task that runs.
func (w *world) run(id string) *fakeShim {
	w.t.Helper()
	w.create(id)
	if _, err := w.m.Start(w.ctx, &tasks.StartRequest{ContainerID: id}); err != nil {
		w.t.Fatal("start:", err)
	}
	return w.shims.of(id)
}

// exec adds a process to the task a and starts it.
func (w *world) exec(exec string) {
	w.t.Helper()
	if err := w.m.Exec(w.ctx, &tasks.ExecProcessRequest{ContainerID: "a", ExecID: exec}); err != nil {
		w.t.Fatal("exec:", err)
	}
	if _, err := w.m.Start(w.ctx, &tasks.StartRequest{ContainerID: "a", ExecID: exec}); err != nil {
		w.t.Fatal("start:", err)
	}
}

func (w *world) get(id string) (*tasktypes.Process, error) {
	r, err := w.m.Get(w.ctx, &tasks.GetRequest{ContainerID: id})
	return r.GetProcess(), err
}

func (w *world) delete(id string) (*tasks.DeleteResponse, error) {
	return w.m.Delete(w.ctx, &tasks.DeleteTaskRequest{ContainerID: id})
}

// stopped wants the task to be readable, stopped, with this code and a time.
func (w *world) stopped(id string, code uint32) {
	w.t.Helper()
	p, err := w.get(id)
	if err != nil {
		w.t.Fatal("get:", err)
	}
	if p.Status != tasktypes.Status_STOPPED || p.ExitStatus != code || p.ExitedAt.AsTime().Year() < 2000 || p.Pid == 0 {
		w.t.Fatalf("got %v, want STOPPED with code %d, a time and a pid", p, code)
	}
}

// deleted deletes the task and wants this code.
func (w *world) deleted(id string, code uint32) {
	w.t.Helper()
	r, err := w.delete(id)
	if err != nil {
		w.t.Fatal("delete:", err)
	}
	if r.ExitStatus != code {
		w.t.Fatalf("delete: got code %d, want %d", r.ExitStatus, code)
	}
	if _, err := w.get(id); !errdefs.IsNotFound(err) {
		w.t.Fatal("get after delete: want not found, got", err)
	}
}

// eventually waits for something that happens in the background.
func (w *world) eventually(what string, happened func() bool) {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); !happened(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%s: it did not happen; events: %v; shims: %v", what, w.log.told(), w.shims.alive())
		}
	}
}

// told waits for these events, and wants them to be all.
func (w *world) told(want ...string) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("the events %v", want), func() bool { return len(w.log.told()) >= len(want) })
	if got := w.log.told(); !slices.Equal(got, want) {
		w.t.Fatalf("events:\n got %v\nwant %v", got, want)
	}
}

// entombed waits until a task whose shim has died is no more than a tombstone.
func (w *world) entombed(id string) {
	w.t.Helper()
	w.eventually("the tombstone of "+id, func() bool { return w.m.find(key{namespace, id}).tombstone() })
}

// nothingLeft wants no bundle, work directory, record or shim, but of these tasks.
func (w *world) nothingLeft(but ...string) {
	w.t.Helper()
	w.eventually("the shims end", func() bool { return slices.Equal(w.shims.alive(), but) || len(w.shims.alive()) == 0 && len(but) == 0 })
	w.eventually("the rest is removed", func() bool { return len(w.leftovers(but)) == 0 })
}

func (w *world) leftovers(but []string) (left []string) {
	err := filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rest, _ := filepath.Rel(w.dir, path)
		parts := strings.Split(rest, "/")
		if len(parts) < 3 || parts[0] != "ledger" && len(parts) < 4 {
			return nil
		}
		id := strings.TrimSuffix(parts[len(parts)-1], ".json")
		if !slices.Contains(but, id) {
			left = append(left, rest)
		}
		if d.IsDir() {
			return filepath.SkipDir
		}
		return nil
	})
	if err != nil {
		return []string{err.Error()}
	}
	return left
}

// fakeLog keeps events, through the death of managers.
type fakeLog struct {
	mu   sync.Mutex
	all  []string
	fail int // so many more are refused
}

func (l *fakeLog) Publish(ctx context.Context, topic string, event events.Event) error {
	ns, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return err
	}
	return l.add(ns, topic, event)
}

func (l *fakeLog) Forward(_ context.Context, e *events.Envelope) error {
	v, err := typeurl.UnmarshalAny(e.Event)
	if err != nil {
		return err
	}
	return l.add(e.Namespace, e.Topic, v)
}

func (l *fakeLog) add(ns, topic string, event any) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail > 0 {
		l.fail--
		return errdefs.ErrUnavailable
	}
	if ns != namespace {
		return fmt.Errorf("namespace %q", ns)
	}
	text := strings.TrimPrefix(topic, "/tasks/")
	switch e := event.(type) {
	case *eventtypes.TaskExit:
		text += fmt.Sprintf(" %s %d", e.ID, e.ExitStatus)
		if e.Pid == 0 || e.ExitedAt.AsTime().Year() < 2000 {
			text += " without pid or time"
		}
	case *eventtypes.TaskDelete:
		text += fmt.Sprintf(" %s %d", e.ContainerID, e.ExitStatus)
	case *eventtypes.TaskCheckpointed:
		text += " " + e.ContainerID
	default:
		return nil // the rest is passed on as it comes
	}
	l.all = append(l.all, text)
	return nil
}

// refuse refuses so many events.
func (l *fakeLog) refuse(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = n
}

// told are the exits, deletes and checkpoints.
func (l *fakeLog) told() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.all)
}

type fakeContainers struct {
	containers.Store
	mu  sync.Mutex
	all map[string]containers.Container
}

func (c *fakeContainers) set(one containers.Container) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all[one.ID] = one
}

func (c *fakeContainers) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.all)
}

func (c *fakeContainers) Get(_ context.Context, id string) (containers.Container, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if one, ok := c.all[id]; ok {
		return one, nil
	}
	return containers.Container{}, fmt.Errorf("container %q in namespace %q: %w", id, namespace, errdefs.ErrNotFound)
}

// texts are the events of a task's end, as told has them.
func (e *exit) texts(id string) (exit, gone string) {
	return fmt.Sprintf("exit %s %d", id, e.Status), fmt.Sprintf("delete %s %d", id, e.Status)
}
