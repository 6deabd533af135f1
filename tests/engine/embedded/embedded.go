// Package embedded gives the engine's tests a manager in their own process, with everything of it in a folder of the
// test.
package embedded

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"

	"github.com/gantry-containers/gantry/manager"
	"github.com/gantry-containers/gantry/manager/config"
)

// Snapshotter is the one that the tests use.
const Snapshotter = "overlayfs"

// Manager starts a manager for a test and connects to it. It ends with the test.
func Manager(t testing.TB) *containerd.Client {
	t.Helper()
	dir := t.TempDir()
	c := config.Default()
	c.Root, c.State = filepath.Join(dir, "root"), filepath.Join(dir, "state")
	c.GRPC.Address = filepath.Join(dir, "m.sock")
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	clients, err := manager.Listen(c.GRPC)
	if err != nil {
		t.Fatal(err)
	}
	m, err := manager.New(t.Context(), c, manager.Build{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	if err := m.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	go func() { served <- m.Serve(clients) }()
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("close the manager: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	client, err := containerd.New(c.GRPC.Address, containerd.WithDefaultNamespace("moby"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// Layer commits what fill writes into a folder as a snapshot on top of another one, as an image's layer is.
func Layer(t testing.TB, client *containerd.Client, parent digest.Digest, fill func(dir string)) digest.Digest {
	t.Helper()
	sn := client.SnapshotService(Snapshotter)
	chain := digest.FromString(t.Name() + parent.String())
	keep := snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "test"})
	mounts, err := sn.Prepare(t.Context(), "layer", parent.String(), keep)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := mount.All(mounts, dir); err != nil {
		t.Fatal(err)
	}
	fill(dir)
	if err := mount.UnmountAll(dir, 0); err != nil {
		t.Fatal(err)
	}
	if err := sn.Commit(t.Context(), chain.String(), "layer", keep); err != nil {
		t.Fatal(err)
	}
	return chain
}

// Mounts are the lines of this process's mountinfo that have to do with a test: a folder of its is in them.
func Mounts(t testing.TB) []string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	// The name is in the path of every folder that the test gets for its files.
	name, _, _ := strings.Cut(t.Name(), "/")
	return slices.DeleteFunc(strings.Split(string(b), "\n"), func(line string) bool { return !strings.Contains(line, name) })
}
