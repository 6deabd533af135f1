package manager_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/moby/sys/mountinfo"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/options"
	"github.com/gantry-containers/gantry/shim/api/types"
	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
	"github.com/gantry-containers/gantry/tests/shim/client"
)

// subject is a manager with a state and sockets of its own, and a client of it, in a namespace that has a busybox image.
type subject struct {
	*client.Client
	t      testing.TB
	daemon *compat.Containerd
	ctr    *compat.Client
	ns     string
	rootfs string

	mu  sync.Mutex
	ids []string // all containers that there were
}

// start starts the manager. At the test's end all that was made must have gone.
func start(t testing.TB) *subject { return startOf(t, compat.Gantry) }

func startOf(t testing.TB, g compat.Generation) *subject {
	t.Helper()
	harness.NeedRoot(t)
	s := &subject{t: t, rootfs: filepath.Join(harness.New(t).Bundle("", nil), "rootfs")}
	s.daemon = compat.StartContainerd(t, g, compat.Shim(t, g))
	s.ctr = s.daemon.Client(harness.Runtime(t))
	s.ns = s.ctr.Namespace
	s.Client = client.New(s.path("sock"), s.ns)
	t.Cleanup(s.Close)
	t.Cleanup(s.empty)
	return s
}

func (s *subject) path(name string) string { return filepath.Join(s.daemon.Dir, name) }

// api connects containerd's own client, which is dockerd's and BuildKit's, too, and returns a context of the namespace.
// One that was connected to a manager that is dead takes long to come back: each life of a manager needs a new one.
func (s *subject) api() (*containerd.Client, context.Context) {
	s.t.Helper()
	c, err := containerd.New(s.path("sock"), containerd.WithTimeout(harness.Limit(20*time.Second)))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() }) // its manager may be dead
	return c, namespaces.WithNamespace(limited(s.t), s.ns)
}

// hangUp closes a client's connection. That can't matter to a test.
func hangUp(c *containerd.Client) { _ = c.Close() }

// limited is a context for a call that should take much less.
func limited(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), harness.Limit(60*time.Second))
	t.Cleanup(cancel)
	return ctx
}

// container is what a test wants different about one.
type container struct {
	id, script  string
	runtime     string            // a name or a path; "": the manager's default
	annotations map[string]string // of the spec
	own         bool              // it has no options, because it is no shim for runc's
}

// record makes the container's record.
func (s *subject) record(ctx context.Context, c container) error {
	s.mu.Lock()
	s.ids = append(s.ids, c.id)
	s.mu.Unlock()
	spec, err := s.spec(c)
	if err != nil {
		return err
	}
	k := client.Container{ID: c.id, Runtime: c.runtime, Spec: spec}
	if k.Runtime == "" {
		k.Runtime = "io.containerd.runc.v2"
	}
	if !c.own {
		b, err := (&options.Options{BinaryName: harness.Runtime(s.t), Root: s.path("runc")}).MarshalVT()
		if err != nil {
			return err
		}
		k.Options = known.Any{TypeUrl: "containerd.runc.v1.Options", Value: b}
	}
	return s.CreateContainer(ctx, k)
}

// spec is that of a busybox container with namespaces of its own.
func (s *subject) spec(c container) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(filepath.Dir(s.rootfs), "config.json"))
	if err != nil {
		return nil, err
	}
	var spec specs.Spec
	if err := json.Unmarshal(b, &spec); err != nil {
		return nil, err
	}
	spec.Process.Args = []string{"sh", "-c", c.script}
	spec.Root.Readonly = true
	spec.Linux.CgroupsPath = "/" + s.daemon.Marker + "/" + c.id
	spec.Annotations = c.annotations
	return json.Marshal(&spec)
}

// create makes the record and the task, on the plain root file system.
func (s *subject) create(ctx context.Context, c container) (pid uint32, err error) {
	if err := s.record(ctx, c); err != nil {
		return 0, err
	}
	return s.CreateTask(ctx, c.id, client.IO{}, &types.Mount{Type: "bind", Source: s.rootfs, Options: []string{"rbind", "ro"}})
}

// run makes a container and starts it.
func (s *subject) run(t testing.TB, c container) (pid uint32) {
	t.Helper()
	pid, err := s.create(limited(t), c)
	if err != nil {
		t.Fatalf("create %s: %v", c.id, err)
	}
	if _, err := s.Start(limited(t), c.id, ""); err != nil {
		t.Fatalf("start %s: %v", c.id, err)
	}
	return pid
}

// remove deletes the task, which must have ended with the code, and the record.
func (s *subject) remove(t testing.TB, id string, code uint32) {
	t.Helper()
	exit, err := s.Delete(limited(t), id, "")
	if err != nil || exit.Code != code {
		t.Errorf("delete %s: code %d, %v; want %d", id, exit.Code, err, code)
	}
	s.forget(t, id)
}

func (s *subject) forget(t testing.TB, id string) {
	t.Helper()
	if err := s.DeleteContainer(limited(t), id); err != nil {
		t.Errorf("delete the record of %s: %v", id, err)
	}
}

// stop kills a task and removes it.
func (s *subject) stop(t testing.TB, id string) {
	t.Helper()
	if err := s.Kill(limited(t), id, "", int(unix.SIGKILL)); err != nil {
		t.Errorf("kill %s: %v", id, err)
	}
	if _, err := s.Wait(limited(t), id, ""); err != nil {
		t.Errorf("wait for %s: %v", id, err)
	}
	s.remove(t, id, 137)
}

// process is an exec's process object.
func process(script string) []byte {
	b, err := json.Marshal(&specs.Process{Args: []string{"sh", "-c", script}, Cwd: "/", Env: []string{"PATH=/bin"}})
	if err != nil {
		panic(err) // it has only strings
	}
	return b
}

// empty deletes the tasks that are left, which only a test that failed may leave, and looks for what belonged to those
// that there were.
func (s *subject) empty() {
	if s.Version(context.Background()) != nil { // the test has stopped it
		return
	}
	list, err := s.List(limited(s.t))
	if err != nil {
		s.t.Error(err)
	}
	for _, p := range list {
		if !s.t.Failed() {
			s.t.Errorf("left behind: task %s", p.Id)
		}
		_ = s.Kill(limited(s.t), p.Id, "", int(unix.SIGKILL))
		_, _ = s.Wait(limited(s.t), p.Id, "")
		_, _ = s.Delete(limited(s.t), p.Id, "")
	}
	for _, id := range s.ids {
		s.nothingOf(s.t, id)
		_ = s.DeleteContainer(limited(s.t), id)
	}
	// A shim whose daemon was away keeps what it has to tell until the daemon's clients are back.
	if !harness.Until(told, func() bool { return len(s.shims()) == 0 }) {
		s.t.Errorf("left behind: %v", s.shims())
	}
}

// shims are the processes of shims that there are.
func (s *subject) shims() []string {
	return slices.DeleteFunc(s.ctr.Leftovers(""), func(what string) bool { return !strings.HasPrefix(what, "process ") })
}

// places are the folders that there are for a task: its bundle, the bundle's work folder, the runtime's state.
func (s *subject) places(id string) []string {
	const task = "io.containerd.runtime.v2.task"
	return []string{
		filepath.Join(s.path("state"), task, s.ns, id), filepath.Join(s.path("root"), task, s.ns, id),
		filepath.Join(s.path("runc"), s.ns, id),
	}
}

// nothingOf waits until nothing is left of a task that has gone. What else there may be is looked for when the test ends.
func (s *subject) nothingOf(t testing.TB, id string) {
	t.Helper()
	for _, path := range s.places(id) {
		if !harness.Until(15*time.Second, func() bool { return missing(path) }) {
			t.Errorf("left behind: %s", path)
		}
	}
}

func missing(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// mounts lists what is mounted in the manager's folder.
func (s *subject) mounts() []string {
	var list []string
	all, err := mountinfo.GetMounts(nil)
	if err != nil {
		s.t.Error(err)
	}
	for _, m := range all {
		if strings.HasPrefix(m.Mountpoint, s.daemon.Dir) {
			list = append(list, m.Mountpoint)
		}
	}
	return list
}

func texts(events []client.Event) []string {
	var list []string
	for _, e := range events {
		list = append(list, fmt.Sprint(e))
	}
	return list
}

func count(events []client.Event, topic string) int {
	n := 0
	for _, e := range events {
		if e.Topic == topic {
			n++
		}
	}
	return n
}
