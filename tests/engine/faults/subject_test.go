package faults_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/gantry-containers/gantry/tests/compat/docker"
	"github.com/gantry-containers/gantry/tests/harness"
)

const (
	busybox   = "busybox:gantry"
	namespace = "moby"
	// patience is how long anything may take that is polled for.
	patience = 30 * time.Second
)

// subject is an engine, and a client of it.
type subject struct {
	*docker.Engine
	*client.Client
	t   *testing.T
	dir string
}

func start(t *testing.T, s docker.Setup) *subject {
	t.Helper()
	s.Engine = true
	e := docker.Start(t, &docker.Releases[1], s)
	return &subject{Engine: e, Client: newClient(t, e), t: t, dir: filepath.Dir(e.Socket())}
}

func newClient(t *testing.T, e *docker.Engine) *client.Client {
	t.Helper()
	c, err := client.New(client.WithHost(e.Host()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (s *subject) path(name string) string { return filepath.Join(s.dir, name) }

// managerSocket is where containerd's API is served.
func (s *subject) managerSocket() string {
	if s.Below != nil {
		return s.Containerd()
	}
	return s.path("exec/manager/manager.sock")
}

// managed is what there is below the engine.
func (s *subject) managed(do func(ctx context.Context, c *containerd.Client)) {
	s.t.Helper()
	c, err := containerd.New(s.managerSocket(), containerd.WithDefaultNamespace(namespace))
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	do(namespaces.WithNamespace(limited(s.t, patience), namespace), c)
}

// pid is a process that is noted in a file.
func (s *subject) pid(file string) int {
	s.t.Helper()
	b, err := os.ReadFile(s.path(file))
	if err != nil {
		s.t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(b))
	if err != nil || pid < 2 {
		s.t.Fatalf("%s: %q", file, b)
	}
	return pid
}

func limited(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.Limit(d))
	t.Cleanup(cancel)
	return ctx
}

// want is a container of busybox without a network.
func want(name string, script string) client.ContainerCreateOptions {
	return client.ContainerCreateOptions{
		Name:       name,
		Config:     &container.Config{Image: busybox, Cmd: []string{"sh", "-c", script}, StopSignal: "KILL"},
		HostConfig: &container.HostConfig{NetworkMode: "none"},
	}
}

// run creates and starts a container.
func (s *subject) run(o client.ContainerCreateOptions) string {
	s.t.Helper()
	r, err := s.ContainerCreate(limited(s.t, patience), o)
	if err != nil {
		s.t.Fatalf("create %s: %v", o.Name, err)
	}
	if _, err := s.ContainerStart(limited(s.t, patience), r.ID, client.ContainerStartOptions{}); err != nil {
		s.t.Fatalf("start %s: %v", o.Name, err)
	}
	return r.ID
}

func (s *subject) inspect(ref string) container.InspectResponse {
	s.t.Helper()
	r, err := s.ContainerInspect(limited(s.t, patience), ref, client.ContainerInspectOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return r.Container
}

// until waits for a state of a container.
func (s *subject) until(ref, what string, ok func(*container.State) bool) {
	s.t.Helper()
	var last *container.State
	if !harness.Until(patience, func() bool { last = s.inspect(ref).State; return ok(last) }) {
		s.t.Errorf("%s: it is not %s, but %+v", ref, what, last)
	}
}

// remove removes a container by force, if it is there.
func (s *subject) remove(ref string) {
	s.t.Helper()
	_, err := s.ContainerRemove(limited(s.t, patience), ref, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !absent(err) {
		s.t.Errorf("remove %s: %v", ref, err)
	}
}

// plain takes the frames away from what a container without a terminal writes to stdout and stderr.
func plain(r io.Reader) io.Reader {
	out, in := io.Pipe()
	go func() {
		_, err := stdcopy.StdCopy(in, in, r)
		_ = in.CloseWithError(errors.Join(err, io.EOF))
	}()
	return out
}

// logs is what a container wrote.
func (s *subject) logs(ref string) string {
	s.t.Helper()
	r, err := s.ContainerLogs(limited(s.t, patience), ref, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(plain(r))
	if err != nil && !errors.Is(err, io.EOF) {
		s.t.Error(err)
	}
	return string(b)
}
