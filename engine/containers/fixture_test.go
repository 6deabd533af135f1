package containers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	api "github.com/moby/moby/api/types/container"
	eventsapi "github.com/moby/moby/api/types/events"
	"github.com/moby/sys/user"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/host"
	"github.com/gantry-containers/gantry/engine/images"
	"github.com/gantry-containers/gantry/engine/networks"
	"github.com/gantry-containers/gantry/engine/spec"
	"github.com/gantry-containers/gantry/engine/stdio"
	"github.com/gantry-containers/gantry/engine/tasks"
	"github.com/gantry-containers/gantry/tests/harness"
)

// world is all that the life of a container needs, in memory, and what was seen of it.
type world struct {
	t       *testing.T
	dir     string
	parts   Parts
	manager *manager
	trace   *trace
	fail    *failures
	*Service
	stop context.CancelFunc
	done chan struct{}
}

// newWorld is one with an engine that runs.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), manager: newManager(), trace: &trace{}, fail: &failures{}}
	f := fakes{w.trace, w.fail}
	w.parts = Parts{
		Tasks: w.manager, Images: imageStore{f}, Roots: roots{f}, Mounts: f, Networks: nets{f}, Streams: streams{f},
		Events: f, Health: f, Execs: f, Specs: f,
		Settings: fixed(Settings{Facts: host.Facts{Controllers: map[string]bool{host.CPUShares: true}}}),
	}
	w.boot()
	return w
}

// boot starts an engine over what the last one left.
func (w *world) boot() {
	w.t.Helper()
	store, problems, err := container.Open(w.dir)
	if err != nil || len(problems) > 0 {
		w.t.Fatal(err, problems)
	}
	w.parts.Store = store
	w.Service = New(w.parts)
	ctx, stop := context.WithCancel(context.Background())
	w.stop, w.done = stop, make(chan struct{})
	if err := w.Load(ctx); err != nil {
		w.t.Fatal(err)
	}
	service, done := w.Service, w.done
	go func() {
		service.Run(ctx)
		close(done)
	}()
	w.t.Cleanup(w.kill)
}

// kill ends the engine, as it can be at any time.
func (w *world) kill() {
	w.stop()
	<-w.done
	w.Service.Close()
}

// trace is what happened, in order.
type trace struct {
	mu   sync.Mutex
	list []string
}

func (t *trace) add(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = append(t.list, fmt.Sprintf(format, args...))
}

// take is what happened since the last time, of the kinds that are named.
func (t *trace) take(kinds ...string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := t.of(kinds)
	t.list = nil
	return list
}

func (t *trace) of(kinds []string) (list []string) {
	for _, s := range t.list {
		if kind, _, _ := strings.Cut(s, " "); len(kinds) == 0 || slices.Contains(kinds, kind) {
			list = append(list, s)
		}
	}
	return list
}

// becomes waits until that is what happened, and forgets it then. What happens last may be told after the record of it.
func (t *trace) becomes(want []string, kinds ...string) bool {
	return harness.Until(5*time.Second, func() bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		if !slices.Equal(t.of(kinds), want) {
			return false
		}
		t.list = nil
		return true
	})
}

// failures are the calls that fail, by name.
type failures struct {
	mu sync.Mutex
	m  map[string]error
}

func (f *failures) set(call string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.m == nil {
		f.m = map[string]error{}
	}
	f.m[call] = err
}

func (f *failures) of(call string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.m[call]
}

// fakes do nothing but tell.
type fakes struct {
	trace *trace
	fail  *failures
}

func (f fakes) call(name string) error {
	f.trace.add("%s", name)
	return f.fail.of(name)
}

func (f fakes) Resolve(context.Context, *container.Container) ([]container.Mount, error) {
	return nil, f.call("mounts.Resolve")
}

func (f fakes) CopyUp(context.Context, *container.Container) error { return f.call("mounts.CopyUp") }

func (f fakes) Prepare(context.Context, *container.Container) ([]container.Mount, error) {
	return nil, f.call("mounts.Prepare")
}

func (f fakes) Finish(context.Context, *container.Container) error { return f.call("mounts.Finish") }

func (f fakes) Release(_ context.Context, _ *container.Container, anonymous bool) error {
	return f.call(fmt.Sprintf("mounts.Release(%v)", anonymous))
}
func (f fakes) Watch(string)              { _ = f.call("health.Watch") }
func (f fakes) Unwatch(string)            { _ = f.call("health.Unwatch") }
func (f fakes) Exited(e tasks.Exit)       { _ = f.call("exec.Exited " + e.Process) }
func (f fakes) ContainerEnded(string)     { _ = f.call("exec.ContainerEnded") }
func (f fakes) Reconcile(context.Context) { _ = f.call("exec.Reconcile") }
func (f fakes) Build(spec.Input) (*specs.Spec, error) {
	return &specs.Spec{Process: &specs.Process{}}, f.call("spec.Build")
}

func (f fakes) Publish(_ eventsapi.Type, action eventsapi.Action, _ string, attributes map[string]string) {
	text := "event " + string(action)
	for _, k := range slices.Sorted(maps.Keys(attributes)) {
		if !slices.Contains([]string{"image", "name", "execDuration"}, k) {
			text += " " + k + "=" + attributes[k]
		}
	}
	f.trace.add("%s", text)
}

// imageStore has one image.
type imageStore struct{ fakes }

func (imageStore) Resolve(_ context.Context, ref string, _ *ocispec.Platform) (*images.Image, error) {
	if ref != "busybox" {
		return nil, fault.Errorf(errdefs.ErrNotFound, "No such image: %s:latest", ref)
	}
	img := &images.Image{Name: "docker.io/library/busybox:latest", ChainID: digest.FromString("chain"), Target: ocispec.Descriptor{Digest: digest.FromString("target")}}
	img.Config.Platform = ocispec.Platform{OS: "linux", Architecture: "amd64"}
	img.Config.Config = dockerspec.DockerOCIImageConfig{ImageConfig: ocispec.ImageConfig{Cmd: []string{"sh"}, Env: []string{"A=image", "B=image"}}}
	return img, nil
}

func (s imageStore) Unpack(context.Context, ocispec.Descriptor) (digest.Digest, error) {
	s.fail.set("roots.Create", nil)
	return "", s.call("images.Unpack")
}

type roots struct{ fakes }

func (r roots) Create(context.Context, string, digest.Digest) error { return r.call("roots.Create") }

func (r roots) Remove(context.Context, string) error { return r.call("roots.Remove") }

func (r roots) Open(context.Context, string) (Tree, error)     { return tree{}, r.fail.of("roots.Open") }
func (r roots) Usage(context.Context, string) (int64, error)   { return 5, nil }
func (r roots) Sweep(context.Context, func(string) bool) error { return r.call("roots.Sweep") }

func (r roots) Remap(_ context.Context, _ string, m []mount.Mount, _ user.IdentityMapping) ([]mount.Mount, func() error, error) {
	return m, func() error { return nil }, nil
}

type tree struct{}

func (tree) ReadFile(string, int64) ([]byte, error) { return nil, fs.ErrNotExist }
func (tree) Close() error                           { return nil }

type nets struct{ fakes }

func (n nets) Prepare(context.Context, *container.Container) (*networks.Attachment, error) {
	return &networks.Attachment{}, n.call("networks.Prepare")
}

func (n nets) Connect(context.Context, *container.Container, int) error {
	return n.call("networks.Connect")
}

func (n nets) Release(context.Context, *container.Container) error { return n.call("networks.Release") }

func (n nets) Within(string, netip.Addr) bool { return true }

func (n nets) Renamed(context.Context, *container.Container) {}

type streams struct{ fakes }

func (s streams) Open(context.Context, stdio.Streams) (tasks.IO, error) {
	return tasks.IO{}, s.call("streams.Open")
}

func (s streams) Drained(context.Context, stdio.Key, time.Duration) error {
	return s.call("streams.Drained")
}
func (s streams) Close(context.Context, stdio.Key) error { return s.call("streams.Close") }

// manager runs programs that do nothing until they are killed, or end at once when their container's name says so.
type manager struct {
	mu     sync.Mutex
	tasks  map[string]*tasks.Status
	labels map[string]map[string]string
	images map[string]string
	pid    int
	events chan tasks.Event
	// deaf drops events; stubborn tasks do not end by SIGTERM; createErr and startErr fail those calls.
	deaf, stubborn      bool
	createErr, startErr error
	resources           *specs.LinuxResources
}

func newManager() *manager {
	return &manager{tasks: map[string]*tasks.Status{}, labels: map[string]map[string]string{}, images: map[string]string{}, pid: 1 << 22, events: make(chan tasks.Event, 1000)}
}

var errGone = errdefs.ErrNotFound

func (m *manager) Create(_ context.Context, c tasks.Create) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.createErr != nil {
		return 0, m.createErr
	}
	m.pid++ // Above any that a process can have.
	m.tasks[c.ID] = &tasks.Status{Container: c.ID, Pid: m.pid, Created: true}
	m.labels[c.ID], m.images[c.ID] = c.Labels, c.Image
	return m.pid, nil
}

func (m *manager) Start(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.startErr != nil {
		return m.startErr
	}
	m.tasks[id].Created, m.tasks[id].Running = false, true
	return nil
}

// end ends a task.
func (m *manager) end(id string, code int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.endLocked(id, code)
}

func (m *manager) endLocked(id string, code int) {
	t := m.tasks[id]
	t.Exit = &tasks.Exit{Container: id, Pid: t.Pid, Code: code, At: time.Now()}
	t.Running, t.Paused, t.Created = false, false, false
	if !m.deaf {
		m.events <- tasks.Event{Exit: t.Exit}
	}
}

func (m *manager) Kill(_ context.Context, id, _ string, sig syscall.Signal, _ bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.tasks[id]
	if t == nil || t.Exit != nil {
		return errGone
	}
	if sig == syscall.SIGKILL || sig == syscall.SIGTERM && !m.stubborn {
		m.endLocked(id, 128+int(sig))
	}
	return nil
}

func (m *manager) Pause(_ context.Context, id string) error  { return m.setPaused(id, true) }
func (m *manager) Resume(_ context.Context, id string) error { return m.setPaused(id, false) }

func (m *manager) setPaused(id string, paused bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tasks[id] == nil {
		return errGone
	}
	m.tasks[id].Paused = paused
	return nil
}

func (m *manager) Update(_ context.Context, _ string, r *specs.LinuxResources) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.resources = r
	return nil
}

func (m *manager) Status(_ context.Context, id, _ string) (tasks.Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tasks[id] == nil {
		return tasks.Status{}, errGone
	}
	return *m.tasks[id], nil
}

func (m *manager) List(context.Context) ([]tasks.Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []tasks.Status
	for _, t := range m.tasks {
		list = append(list, *t)
	}
	return list, nil
}

func (m *manager) Labels(_ context.Context, id string) (map[string]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.labels[id], nil
}

func (m *manager) Records(_ context.Context, label, value string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var ids []string
	for id, labels := range m.labels {
		if labels[label] == value {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func (m *manager) Delete(_ context.Context, id string) (*tasks.Exit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.tasks[id]
	if t == nil {
		return nil, nil
	}
	if t.Exit == nil {
		return nil, errdefs.ErrFailedPrecondition
	}
	delete(m.tasks, id)
	return t.Exit, nil
}

func (m *manager) Destroy(_ context.Context, id string) (*tasks.Exit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.tasks[id]
	delete(m.tasks, id)
	if t == nil {
		return nil, nil
	}
	return &tasks.Exit{Container: id, Pid: t.Pid}, nil
}

func (m *manager) Events(ctx context.Context) <-chan tasks.Event {
	out := make(chan tasks.Event)
	go func() {
		defer close(out)
		for {
			select {
			case <-ctx.Done():
				return
			case e := <-m.events:
				select {
				case out <- e:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out
}

// has says whether the manager has a task.
func (m *manager) has(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tasks[id] != nil
}

// request is what most tests create.
func request(name string, change ...func(*api.HostConfig)) Create {
	h := &api.HostConfig{NetworkMode: "none"}
	for _, f := range change {
		f(h)
	}
	return Create{Name: name, CreateRequest: api.CreateRequest{Config: &api.Config{Image: "busybox"}, HostConfig: h}}
}

func autoRemove(h *api.HostConfig) { h.AutoRemove = true }

func policy(name api.RestartPolicyMode, n int) func(*api.HostConfig) {
	return func(h *api.HostConfig) { h.RestartPolicy = api.RestartPolicy{Name: name, MaximumRetryCount: n} }
}

// create makes a container, and returns its id.
func (w *world) create(req Create) string {
	w.t.Helper()
	answer, err := w.Service.Create(w.t.Context(), req)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer.ID
}

// run makes and starts one.
func (w *world) run(req Create) string {
	w.t.Helper()
	id := w.create(req)
	w.must(w.Service.Start(w.t.Context(), id))
	return id
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// until waits for a record to be as it shall be.
func (w *world) until(id string, so func(*container.Container) bool) *container.Container {
	w.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		changed := w.parts.Store.Changed(id)
		c, err := w.parts.Store.Get(id)
		if err != nil {
			w.t.Fatal(err)
		}
		if so(c) {
			return c
		}
		select {
		case <-changed:
		case <-timeout:
			w.t.Fatalf("it did not become so: %+v", c.State)
		}
	}
}

func is(s container.Status) func(*container.Container) bool {
	return func(c *container.Container) bool { return c.State.Status == s }
}

// gone waits until a container has been removed.
func (w *world) gone(id string) {
	w.t.Helper()
	ch, err := w.Wait(w.t.Context(), id, api.WaitConditionRemoved)
	if errdefs.IsNotFound(err) {
		return
	}
	w.must(err)
	w.result(ch)
}

func (w *world) result(ch <-chan Result) Result {
	w.t.Helper()
	select {
	case r := <-ch:
		return r
	case <-time.After(20 * time.Second):
		w.t.Fatal("the wait did not end")
		return Result{}
	}
}

var errBroken = errors.New("broken")

// fixed are settings that no reload changes.
func fixed(s Settings) func() Settings { return func() Settings { return s } }
