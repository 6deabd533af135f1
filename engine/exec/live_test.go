package exec_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	api "github.com/moby/moby/api/types/container"
	apievents "github.com/moby/moby/api/types/events"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/exec"
	"github.com/gantry-containers/gantry/engine/health"
	"github.com/gantry-containers/gantry/engine/host"
	"github.com/gantry-containers/gantry/engine/httpapi"
	httpexec "github.com/gantry-containers/gantry/engine/httpapi/exec"
	"github.com/gantry-containers/gantry/engine/keeper"
	"github.com/gantry-containers/gantry/engine/names"
	"github.com/gantry-containers/gantry/engine/spec"
	"github.com/gantry-containers/gantry/engine/stdio"
	"github.com/gantry-containers/gantry/engine/tasks"
	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"

	mobyclient "github.com/moby/moby/client"
)

// TestMain is the keeper process, too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == keeper.Argument {
		os.Exit(keeper.Main(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// engine is execs and health over a real manager and a real keeper.
type engine struct {
	t       *testing.T
	dir     string
	store   *container.Store
	tasks   *tasks.Service
	execs   *exec.Service
	health  *health.Service
	client  *mobyclient.Client
	stop    context.CancelFunc
	stopped chan struct{}

	mu     sync.Mutex
	events []string
}

func (e *engine) Publish(_ apievents.Type, a apievents.Action, _ string, attrs map[string]string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	text := string(a)
	if code, ok := attrs["exitCode"]; ok {
		text += " " + code
	}
	e.events = append(e.events, text)
}

func (e *engine) happened(text string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Contains(e.events, text)
}

func newEngine(t *testing.T, d *compat.Containerd) *engine {
	t.Helper()
	e := &engine{t: t, dir: d.Dir, stopped: make(chan struct{})}
	c, err := containerd.New(filepath.Join(d.Dir, "sock"), containerd.WithDefaultNamespace("moby"))
	if err != nil {
		t.Fatal(err)
	}
	e.tasks = tasks.New(c)
	if e.store, _, err = container.Open(filepath.Join(d.Dir, "engine")); err != nil {
		t.Fatal(err)
	}
	k, err := stdio.FindWith(t.Context(), stdio.Starter{Dir: filepath.Join(d.Dir, "k"), Program: []string{os.Args[0]}})
	if err != nil {
		t.Fatal(err)
	}
	facts, err := host.Probe()
	if err != nil {
		t.Fatal(err)
	}
	e.execs, err = exec.Open(filepath.Join(d.Dir, "execs"), exec.Parts{
		Records: e.store, Tasks: e.tasks, Keeper: k, Events: e, Builder: exec.Specs{Facts: facts},
	})
	if err != nil {
		t.Fatal(err)
	}
	e.health, err = health.Open(filepath.Join(d.Dir, "health"), health.Parts{
		Records: e.store, Tasks: e.tasks, Processes: e.execs, Events: e,
	})
	if err != nil {
		t.Fatal(err)
	}
	e.execs.Probes = e.health
	ctx, stop := context.WithCancel(context.Background())
	e.stop = stop
	ready := make(chan struct{})
	go e.listen(ctx, ready)
	<-ready
	go func() {
		for n := range k.Notices() {
			_ = e.tasks.CloseStdin(context.Background(), n.Container, n.Exec)
		}
	}()
	e.serve(httpexec.New(e.execs))
	t.Cleanup(func() {
		stop()
		<-e.stopped
		e.health.Close()
		k.Disconnect()
		_ = c.Close()
	})
	return e
}

// listen hands the manager's events on. It is ready with the first gap.
func (e *engine) listen(ctx context.Context, ready chan struct{}) {
	defer close(e.stopped)
	first := sync.OnceFunc(func() { close(ready) })
	for ev := range e.tasks.Events(ctx) {
		switch {
		case ev.Gap:
			e.execs.Reconcile(ctx)
			first()
		case ev.Exit != nil && ev.Exit.Process != "":
			e.execs.Exited(*ev.Exit)
		}
	}
}

func (e *engine) serve(r httpapi.Router) {
	path := filepath.Join(e.dir, "api")
	os.Remove(path)
	l, err := net.Listen("unix", path)
	if err != nil {
		e.t.Fatal(err)
	}
	srv := &http.Server{Handler: httpapi.New(httpapi.Options{Server: "test"}, r), ReadHeaderTimeout: time.Minute}
	go func() { _ = srv.Serve(l) }()
	e.t.Cleanup(func() { _ = srv.Close() })
	if e.client, err = mobyclient.New(mobyclient.WithHost("unix://"+path), mobyclient.WithAPIVersion("1.51")); err != nil {
		e.t.Fatal(err)
	}
}

// run runs a container that does nothing, as the record and the manager's task.
func (e *engine) run(hc *api.HealthConfig) *container.Container {
	e.t.Helper()
	env := harness.New(e.t)
	c := &container.Container{
		ID: names.ID(), Path: "sleep", Args: []string{"1000"}, Created: time.Now(),
		Config: &api.Config{Hostname: "h", Healthcheck: hc, Env: []string{"A=b"}}, HostConfig: &api.HostConfig{NetworkMode: "none"},
	}
	c.Name = c.ID[:8]
	facts, err := host.Probe()
	if err != nil {
		e.t.Fatal(err)
	}
	if _, err := spec.Check(c.Config, c.HostConfig, spec.Defaults{}, facts); err != nil {
		e.t.Fatal(err)
	}
	c.HostConfig.CgroupParent = "/" + filepath.Base(e.dir)
	s, err := spec.Build(spec.Input{Container: c, Facts: facts})
	if err != nil {
		e.t.Fatal(err)
	}
	s.Root.Path = filepath.Join(env.Bundle("true", nil), "rootfs")
	ctx := context.Background()
	c.State.Pid, err = e.tasks.Create(ctx, tasks.Create{ID: c.ID, Spec: s})
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		e.health.Unwatch(c.ID)
		if _, err := e.tasks.Destroy(ctx, c.ID); err != nil {
			e.t.Error(err)
		}
	})
	if err := e.tasks.Start(ctx, c.ID); err != nil {
		e.t.Fatal(err)
	}
	c.State.Status, c.State.StartedAt = container.Running, time.Now()
	if err := e.store.Create(c); err != nil {
		e.t.Fatal(err)
	}
	return c
}

// exec runs a command as docker exec does: what it wrote, and its code.
func (e *engine) exec(c *container.Container, o mobyclient.ExecCreateOptions, input string) (string, int) {
	e.t.Helper()
	ctx := context.Background()
	o.AttachStdout, o.AttachStderr, o.AttachStdin = true, true, input != ""
	r, err := e.client.ExecCreate(ctx, c.ID, o)
	if err != nil {
		e.t.Fatal(err)
	}
	a, err := e.client.ExecAttach(ctx, r.ID, mobyclient.ExecAttachOptions{TTY: o.TTY})
	if err != nil {
		e.t.Fatal(err)
	}
	defer a.Close()
	if input != "" {
		if _, err := io.WriteString(a.Conn, input); err != nil {
			e.t.Fatal(err)
		}
		_ = a.CloseWrite()
	}
	out, err := io.ReadAll(a.Reader)
	if err != nil {
		e.t.Fatal(err)
	}
	in, err := e.client.ExecInspect(ctx, r.ID, mobyclient.ExecInspectOptions{})
	if err != nil {
		e.t.Fatal(err)
	}
	if in.Running {
		e.t.Errorf("%v: the streams have ended, and it still runs", o.Cmd)
	}
	return string(out), in.ExitCode
}

func poll(t *testing.T, what string, f func() bool) {
	t.Helper()
	for range 2000 {
		if f() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("it never came: %s", what)
}

func TestLive(t *testing.T) {
	harness.NeedRoot(t)
	d := compat.StartContainerd(t, compat.Gantry, compat.Shim(t, compat.Gantry))
	e := newEngine(t, d)
	t.Cleanup(func() { killKeeper(filepath.Join(d.Dir, "k")) })
	c := e.run(nil)
	for name, tc := range map[string]struct {
		o     mobyclient.ExecCreateOptions
		input string
		out   string
		code  int
	}{
		"output of both streams": {
			o:   mobyclient.ExecCreateOptions{Cmd: []string{"sh", "-c", "echo a; sleep 0.05; echo b >&2; exit 3"}},
			out: "\x01\x00\x00\x00\x00\x00\x00\x02a\n\x02\x00\x00\x00\x00\x00\x00\x02b\n", code: 3,
		},
		"input": {o: mobyclient.ExecCreateOptions{Cmd: []string{"cat"}}, input: "hello", out: "\x01\x00\x00\x00\x00\x00\x00\x05hello"},
		"terminal": {
			o:   mobyclient.ExecCreateOptions{Cmd: []string{"stty", "size"}, TTY: true, ConsoleSize: mobyclient.ConsoleSize{Height: 30, Width: 70}},
			out: "30 70\r\n",
		},
		"user, folder, environment": {
			o: mobyclient.ExecCreateOptions{
				Cmd: []string{"sh", "-c", "echo $(id -u):$(id -g) $PWD $A $B $HOSTNAME"}, User: "12:34", WorkingDir: "/tmp", Env: []string{"B=c"}, TTY: true,
			},
			out: "12:34 /tmp b c h\r\n",
		},
		"a child keeps the streams": {
			o: mobyclient.ExecCreateOptions{Cmd: []string{"sh", "-c", "sleep 4 & echo x; exit 1"}}, out: "\x01\x00\x00\x00\x00\x00\x00\x02x\n", code: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			out, code := e.exec(c, tc.o, tc.input)
			if out != tc.out || code != tc.code {
				t.Errorf("got %q, code %d", out, code)
			}
		})
	}
	t.Run("no such command", func(t *testing.T) {
		out, code := e.exec(c, mobyclient.ExecCreateOptions{Cmd: []string{"nothing"}}, "")
		if !strings.Contains(out, `exec: "nothing": executable file not found in $PATH`) || code != 127 {
			t.Errorf("got %q, code %d", out, code)
		}
		out, code = e.exec(c, mobyclient.ExecCreateOptions{Cmd: []string{"/etc"}}, "")
		if !strings.Contains(out, "permission denied") || code != 126 {
			t.Errorf("got %q, code %d", out, code)
		}
	})
	t.Run("events", func(t *testing.T) {
		e.exec(c, mobyclient.ExecCreateOptions{Cmd: []string{"sh", "-c", "exit 9"}}, "")
		for _, want := range []string{"exec_create: sh -c exit 9", "exec_start: sh -c exit 9", "exec_die 9"} {
			poll(t, want, func() bool { return e.happened(want) })
		}
	})
	t.Run("health", func(t *testing.T) { live(t, e) })
	t.Run("next engine", func(t *testing.T) { next(t, e, d, c) })
}

// live is a health check that fails, then passes.
func live(t *testing.T, e *engine) {
	c := e.run(&api.HealthConfig{
		Test: []string{"CMD-SHELL", "echo out; echo err >&2; test -e /tmp/ok"}, Interval: 20 * time.Millisecond, Retries: 2, Timeout: time.Second,
	})
	e.health.Watch(c.ID)
	poll(t, "unhealthy", func() bool { return e.happened("health_status: unhealthy") })
	h := e.health.Of(c)
	if last := h.Log[len(h.Log)-1]; last.ExitCode != 1 || last.Output != "out\nerr\n" {
		t.Errorf("the last answer: %+v", last)
	}
	e.exec(c, mobyclient.ExecCreateOptions{Cmd: []string{"touch", "/tmp/ok"}}, "")
	poll(t, "healthy", func() bool { return e.happened("health_status: healthy") })
	if c, err := e.store.Get(c.ID); err != nil || c.State.Health.Status != api.Healthy {
		t.Errorf("the record: %+v %v", c.State.Health, err)
	}
}

// next replaces the engine while an exec runs.
func next(t *testing.T, e *engine, d *compat.Containerd, c *container.Container) {
	ctx := context.Background()
	r, err := e.client.ExecCreate(ctx, c.ID, mobyclient.ExecCreateOptions{Cmd: []string{"sh", "-c", "read x; echo got $x; exit 5"}, AttachStdin: true, AttachStdout: true})
	if err != nil {
		t.Fatal(err)
	}
	a, err := e.client.ExecAttach(ctx, r.ID, mobyclient.ExecAttachOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	e.stop()
	<-e.stopped
	e.health.Close()
	e = newEngine(t, d)
	if _, err := io.WriteString(a.Conn, "it\n"); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(a.Reader)
	if err != nil || !bytes.HasSuffix(out, []byte("got it\n")) {
		t.Errorf("got %q, %v", out, err)
	}
	in, err := e.client.ExecInspect(ctx, r.ID, mobyclient.ExecInspectOptions{})
	if err != nil || in.ExitCode != 5 || in.Running {
		t.Errorf("got %+v, %v", in, err)
	}
}

// killKeeper ends the keeper of a folder.
func killKeeper(dir string) {
	conn, err := net.Dial("unix", keeper.Socket(dir))
	if err != nil {
		return
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			_ = unix.Kill(int(cred.Pid), unix.SIGKILL)
		}
	})
}
