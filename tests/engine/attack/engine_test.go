// Package attack_test tries on a running engine what has gone wrong with engines before: each test is named by its CVE.
package attack_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/compat/docker"
	"github.com/gantry-containers/gantry/tests/harness"
)

// TestMain gives the tests /run and /etc of their own: plugins and users are written there.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := compat.Private(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const (
	busybox  = "busybox:gantry"
	patience = 30 * time.Second
)

// victim is an engine that is attacked.
type victim struct {
	*docker.Engine
	*client.Client
	t *testing.T
}

// start starts one. GANTRY_ENGINE=moby runs dockerd in its place, as far as a test makes sense there.
func start(t *testing.T, args ...string) *victim {
	t.Helper()
	return over(t, &docker.Releases[1], docker.Setup{Engine: os.Getenv("GANTRY_ENGINE") != "moby", Args: args})
}

func over(t *testing.T, r *docker.Release, s docker.Setup) *victim {
	t.Helper()
	e := docker.Start(t, r, s)
	c, err := client.New(client.WithHost(e.Host()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &victim{e, c, t}
}

func (v *victim) path(name string) string { return filepath.Join(filepath.Dir(v.Socket()), name) }

func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.Limit(patience))
	t.Cleanup(cancel)
	return ctx
}

// want is a container that runs a script, without a network.
func want(script string) client.ContainerCreateOptions {
	return client.ContainerCreateOptions{
		Config:     &container.Config{Image: busybox, Cmd: []string{"sh", "-c", script}, StopSignal: "KILL"},
		HostConfig: &container.HostConfig{NetworkMode: "none"},
	}
}

// try creates and starts a container, and gives its id.
func (v *victim) try(o client.ContainerCreateOptions) (string, error) {
	v.t.Helper()
	r, err := v.ContainerCreate(limited(v.t), o)
	if err != nil {
		return "", err
	}
	_, err = v.ContainerStart(limited(v.t), r.ID, client.ContainerStartOptions{})
	return r.ID, err
}

// run runs a container to its end, and gives what it wrote.
func (v *victim) run(o client.ContainerCreateOptions) string {
	v.t.Helper()
	out, err := v.output(o)
	if err != nil {
		v.t.Fatal(err)
	}
	return out
}

func (v *victim) output(o client.ContainerCreateOptions) (string, error) {
	v.t.Helper()
	id, err := v.try(o)
	if err != nil {
		return "", err
	}
	wait := v.ContainerWait(limited(v.t), id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case err := <-wait.Error:
		return "", err
	case <-wait.Result:
	}
	return v.logs(id), nil
}

func (v *victim) logs(id string) string {
	v.t.Helper()
	r, err := v.ContainerLogs(limited(v.t), id, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		v.t.Fatal(err)
	}
	defer r.Close()
	var out strings.Builder
	if _, err := stdcopy.StdCopy(&out, &out, r); err != nil && !errors.Is(err, io.EOF) {
		v.t.Fatal(err)
	}
	return out.String()
}

// log is what the engine itself has written.
func (v *victim) log() string { return v.Dockerd.Log() }

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil { //nolint:gosec // others must read it
		t.Fatal(err)
	}
}
