package takeover_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/api/types/runc/options"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

// world is the directories that managers come to one after the other, with the client of the one that is there.
type world struct {
	*containerd.Client
	t       *testing.T
	ctx     context.Context // in the namespace
	daemon  *compat.Containerd
	ctr     *compat.Client
	other   string // the path of the shim that has no name here: ours, or containerd's newest
	mortals []*mortal
	shims   []int // processes of shims that are killed while there is no manager
}

// mortal is a process that ends while there is no manager.
type mortal struct {
	id, exec string
	pid      uint32
	code     uint32
	died     time.Time
	again    bool // it is to be started again
}

func newWorld(t *testing.T, from compat.Generation, own bool) *world {
	t.Helper()
	ours, theirs := compat.Shim(t, from), compat.Newest(t, "containerd-shim-runc-v2")
	shim, other := ours, theirs
	if own {
		shim, other = from.Program(t, "containerd-shim-runc-v2"), ours
	}
	w := &world{t: t, other: other, daemon: compat.StartContainerd(t, from, shim)}
	w.ctr = w.daemon.Client(harness.Runtime(t))
	ctx, cancel := context.WithTimeout(context.Background(), harness.Limit(120*time.Second))
	t.Cleanup(cancel)
	w.ctx = namespaces.WithNamespace(ctx, w.ctr.Namespace)
	w.connect()
	return w
}

// connect makes a client for each life of a manager: one that was connected to a dead one takes long to come back.
func (w *world) connect() {
	w.t.Helper()
	c, err := containerd.New(w.path("sock"), containerd.WithTimeout(harness.Limit(20*time.Second)))
	w.must(err)
	w.Client = c
	w.t.Cleanup(func() { _ = c.Close() }) // its manager may be dead
}

// replace ends one manager, lets the mortals die, and starts the next, $GANTRY_GAP later: containerd's shims try for 15
// seconds to tell an exit.
func (w *world) replace(next compat.Generation, kill bool) {
	w.t.Helper()
	if kill {
		w.daemon.Kill()
	} else {
		w.daemon.Stop()
	}
	for _, m := range w.mortals {
		w.must(unix.Kill(int(m.pid), unix.SIGUSR1))
	}
	for _, pid := range w.shims {
		w.must(unix.Kill(pid, unix.SIGKILL))
	}
	w.shims = nil
	for _, m := range w.mortals {
		if m.died.IsZero() && !harness.Until(20*time.Second, func() bool { return ended(m.pid) }) {
			w.t.Fatalf("%s %s does not end", m.id, m.exec)
		}
		m.died = time.Now()
	}
	if gap, err := time.ParseDuration(os.Getenv("GANTRY_GAP")); err == nil {
		time.Sleep(gap)
	}
	w.daemon.Upgrade(next)
	w.connect()
}

// ended says whether a process is gone, reaped by its shim.
func ended(pid uint32) bool { return errors.Is(unix.Kill(int(pid), 0), unix.ESRCH) }

func (w *world) path(name string) string { return filepath.Join(w.daemon.Dir, name) }

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// named is the runtime whose shim is found in $PATH.
func (w *world) named() string { return "io.containerd.runc.v2" }

// dies is a script that ends with the code when it is told to.
func dies(code int) string {
	return fmt.Sprintf("trap 'exit %d' USR1; touch /dev/shm/ready-%d; while :; do sleep 0.05; done", code, code)
}

// mortal notes that a process, which has set its trap, is to end in the gap.
func (w *world) mortal(id, exec string, pid, code uint32) {
	w.t.Helper()
	ready := fmt.Sprintf("/proc/%d/root/dev/shm/ready-%d", pid, code)
	if !harness.Until(20*time.Second, func() bool { _, err := os.Stat(ready); return err == nil }) {
		w.t.Fatalf("%s %s does not get ready", id, exec)
	}
	w.mortals = append(w.mortals, &mortal{id: id, exec: exec, pid: pid, code: code})
}

// create makes a container of the image and its task.
func (w *world) create(id, script, runtime string, more ...containerd.NewContainerOpts) containerd.Task {
	w.t.Helper()
	image, err := w.GetImage(w.ctx, compat.ImageName)
	w.must(err)
	c, err := w.NewContainer(w.ctx, id, append([]containerd.NewContainerOpts{
		containerd.WithImage(image),
		containerd.WithNewSnapshot(id, image),
		containerd.WithContainerLabels(map[string]string{"test": id}),
		containerd.WithRuntime(runtime, &options.Options{BinaryName: harness.Runtime(w.t), Root: w.path("runc")}),
		containerd.WithNewSpec(oci.WithImageConfig(image), oci.WithProcessArgs("sh", "-c", script), oci.WithCgroup("/"+w.ctr.Namespace+"/"+id)),
	}, more...)...)
	w.must(err)
	task, err := c.NewTask(w.ctx, cio.NullIO)
	w.must(err)
	return task
}

// run is create and start.
func (w *world) run(id, script, runtime string, more ...containerd.NewContainerOpts) (pid uint32) {
	w.t.Helper()
	task := w.create(id, script, runtime, more...)
	w.must(task.Start(w.ctx))
	return task.Pid()
}

// grouped has a container share the shim of others.
func grouped(_ context.Context, _ *containerd.Client, c *containers.Container) error {
	var spec oci.Spec
	if err := json.Unmarshal(c.Spec.GetValue(), &spec); err != nil {
		return err
	}
	spec.Annotations = map[string]string{"io.containerd.runc.v2.group": "group"}
	changed, err := typeurl.MarshalAny(&spec)
	c.Spec = changed
	return err
}

// start starts a task of a container that has none.
func (w *world) start(c containerd.Container) (pid uint32) {
	w.t.Helper()
	task, err := c.NewTask(w.ctx, cio.NullIO)
	w.must(err)
	w.must(task.Start(w.ctx))
	return task.Pid()
}

func (w *world) container(id string) containerd.Container {
	w.t.Helper()
	c, err := w.LoadContainer(w.ctx, id)
	w.must(err)
	return c
}

func (w *world) task(id string) containerd.Task {
	w.t.Helper()
	task, err := w.container(id).Task(w.ctx, nil)
	if err != nil {
		w.t.Fatalf("%s: %v", id, err)
	}
	return task
}

// process is an exec, or the task.
func (w *world) process(id, exec string) containerd.Process {
	w.t.Helper()
	task := w.task(id)
	if exec == "" {
		return task
	}
	p, err := task.LoadProcess(w.ctx, exec, nil)
	if err != nil {
		w.t.Fatalf("%s %s: %v", id, exec, err)
	}
	return p
}

func (w *world) exec(id, exec, script string) (pid uint32) {
	w.t.Helper()
	p, err := w.task(id).Exec(w.ctx, exec, &specs.Process{Args: []string{"sh", "-c", script}, Cwd: "/", Env: []string{"PATH=/bin"}}, cio.NullIO)
	w.must(err)
	w.must(p.Start(w.ctx))
	return p.Pid()
}

// do has a script run in a container, which must end with the code.
func (w *world) do(id, script string, code uint32) {
	w.t.Helper()
	w.exec(id, "do", script)
	w.gone(id, "do", code)
}

// usable has a task do all that one does.
func (w *world) usable(id string) {
	w.t.Helper()
	w.do(id, "exit 3", 3)
	task := w.task(id)
	if pids, err := task.Pids(w.ctx); err != nil || len(pids) == 0 {
		w.t.Errorf("%s: processes %v, %v", id, pids, err)
	}
	if _, err := task.Metrics(w.ctx); err != nil {
		w.t.Errorf("%s: metrics: %v", id, err)
	}
	w.must(task.Pause(w.ctx))
	w.must(task.Resume(w.ctx))
}

// awaitProcess waits for the end of one.
func (w *world) awaitProcess(p containerd.Process, what string, code uint32) {
	w.t.Helper()
	exited, err := p.Wait(w.ctx)
	w.must(err)
	if status := <-exited; status.Error() != nil || status.ExitCode() != code {
		w.t.Errorf("%s has ended with %d, %v; want %d", what, status.ExitCode(), status.Error(), code)
	}
}

func (w *world) await(id string, code uint32) {
	w.t.Helper()
	w.awaitProcess(w.task(id), id, code)
}

// gone waits for an exec's end and deletes it.
func (w *world) gone(id, exec string, code uint32) {
	w.t.Helper()
	p := w.process(id, exec)
	w.awaitProcess(p, id+" "+exec, code)
	if status, err := p.Delete(w.ctx); err != nil || status.ExitCode() != code {
		w.t.Errorf("delete %s %s: %v, %v; want %d", id, exec, status, err, code)
	}
}

// remove deletes a task that has ended, its container and its snapshot.
func (w *world) remove(id string, code uint32) {
	w.t.Helper()
	if status, err := w.task(id).Delete(w.ctx); err != nil || status.ExitCode() != code {
		w.t.Errorf("delete %s: %v, %v; want %d", id, status, err, code)
	}
	w.must(w.container(id).Delete(w.ctx, containerd.WithSnapshotCleanup))
}

func (w *world) kill(id string) {
	w.t.Helper()
	w.must(w.task(id).Kill(w.ctx, syscall.SIGKILL))
	w.await(id, 137)
	w.remove(id, 137)
}

// states wants the tasks to be these and no more.
func (w *world) states(want map[string]containerd.ProcessStatus) {
	w.t.Helper()
	list, err := w.Containers(w.ctx)
	w.must(err)
	if len(list) != len(want) {
		w.t.Errorf("%d containers; want %d", len(list), len(want))
	}
	for id, state := range want {
		if status, err := w.task(id).Status(w.ctx); err != nil || status.Status != state {
			w.t.Errorf("%s is %s, %v; want %s", id, status.Status, err, state)
		}
	}
}
