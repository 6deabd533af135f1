// Package rig gives the tests of the engine's parts a real manager with a root file system to run.
package rig

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/engine/tasks"
	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

// Namespace is dockerd's.
const Namespace = "moby"

// Snapshotter is one that all managers have.
const Snapshotter = "overlayfs"

// Rig is a manager, a client of it, and the engine's own view of it.
type Rig struct {
	*containerd.Client
	Tasks  *tasks.Service
	Daemon *compat.Containerd
	t      testing.TB
	bundle string
}

// Start starts the manager of a generation. At the test's end nothing may be left of what it ran.
func Start(t testing.TB, g compat.Generation) *Rig {
	t.Helper()
	harness.NeedRoot(t)
	r := &Rig{t: t, bundle: harness.New(t).Bundle("", nil)}
	r.Daemon = compat.StartContainerd(t, g, compat.Shim(t, g))
	r.Client = r.Dial()
	r.Tasks = tasks.New(r.Client)
	t.Cleanup(r.empty)
	return r
}

// Dial connects a client of its own.
func (r *Rig) Dial() *containerd.Client {
	r.t.Helper()
	c, err := containerd.New(filepath.Join(r.Daemon.Dir, "sock"), containerd.WithDefaultNamespace(Namespace))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() }) // its manager may be dead
	return c
}

// empty removes what the test left.
func (r *Rig) empty() {
	ctx, cancel := context.WithTimeout(context.Background(), harness.Limit(30*time.Second))
	defer cancel()
	c := r.Dial()
	list, err := c.ContainerService().List(ctx)
	if err != nil {
		r.t.Log("the manager is gone: ", err)
		return
	}
	for _, k := range list {
		if _, err := tasks.New(c).Destroy(ctx, k.ID); err != nil {
			r.t.Errorf("destroy %s: %v", k.ID, err)
		}
	}
}

// ID makes an id of this rig's own: runtimes of several managers keep their states in one place.
func (r *Rig) ID(name string) string { return r.Daemon.Marker + "-" + name }

// Root makes a snapshot with a busybox in it.
func (r *Rig) Root(ctx context.Context, key string) error {
	s := r.SnapshotService(Snapshotter)
	mounts, err := s.Prepare(ctx, key, "", snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "yes"}))
	if err != nil {
		return err
	}
	// The lowest one is a plain folder, bound.
	return os.CopyFS(mounts[0].Source, os.DirFS(filepath.Join(r.bundle, "rootfs")))
}

// Spec is that of a busybox container that runs a shell script.
func (r *Rig) Spec(id, script string) *specs.Spec {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.bundle, "config.json"))
	if err != nil {
		r.t.Fatal(err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(b, &spec); err != nil {
		r.t.Fatal(err)
	}
	spec.Process.Args = []string{"sh", "-c", script}
	spec.Linux.CgroupsPath = "/" + r.Daemon.Marker + "/" + id
	return &spec
}
