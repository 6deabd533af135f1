package manager_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/manager"
	"github.com/gantry-containers/gantry/manager/config"
	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

// embedded is a manager in the test's own process.
type embedded struct {
	t      *testing.T
	config config.Config
	served chan error
	*manager.Manager
}

// embed makes one in dir and lets it answer.
func embed(t *testing.T, dir string) *embedded {
	t.Helper()
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
	shims, err := manager.Listen(c.TTRPC)
	if err != nil {
		t.Fatal(err)
	}
	m, err := manager.New(t.Context(), c, manager.Build{Version: "0.0.1", Commit: "abc"})
	if err != nil {
		t.Fatal(err)
	}
	e := &embedded{t: t, config: c, served: make(chan error, 2), Manager: m}
	go func() { e.served <- m.ServeTTRPC(shims) }()
	if err := m.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	go func() { e.served <- m.Serve(clients) }()
	return e
}

// end closes it, after which both servers have returned without an error.
func (e *embedded) end() {
	e.t.Helper()
	if err := e.Close(); err != nil {
		e.t.Errorf("close: %v", err)
	}
	for range 2 {
		if err := <-e.served; err != nil {
			e.t.Errorf("serve: %v", err)
		}
	}
}

// ctr runs containerd's own client.
func (e *embedded) ctr(args ...string) string {
	e.t.Helper()
	ctr := filepath.Join(harness.Top(), ".tools/clients/bin/ctr")
	if _, err := os.Stat(ctr); err != nil {
		e.t.Skip("no ctr: hack/install-clients brings it")
	}
	out, err := exec.Command(ctr, append([]string{"--address", e.config.GRPC.Address}, args...)...).CombinedOutput()
	if err != nil {
		e.t.Fatalf("ctr %q: %v\n%s", args, err, out)
	}
	return string(out)
}

func TestEmbedded(t *testing.T) {
	harness.NeedRoot(t)
	shims := filepath.Join(harness.Top(), "bin")
	if _, err := os.Stat(filepath.Join(shims, "containerd-shim-gantry-v2")); err != nil {
		t.Skip("no shim: make build")
	}
	t.Setenv("PATH", shims+":"+os.Getenv("PATH"))
	// A name of the test's own: its containers' cgroups are below one of that name, which nobody else removes.
	namespace := "gt-embedded-" + strconv.Itoa(os.Getpid())
	t.Setenv("CONTAINERD_NAMESPACE", namespace)
	compat.CheckLeftovers(t, namespace)
	dir := t.TempDir()
	e := embed(t, dir)

	if got := e.ctr("version"); !strings.Contains(got, "+gantry.0.0.1") || !strings.Contains(got, "abc") {
		t.Errorf("version: %s", got)
	}
	e.ctr("images", "import", compat.Image(t, t.TempDir()))
	const runtime = "--runtime=io.containerd.gantry.v2"
	if got := e.ctr("run", "--rm", runtime, compat.ImageName, "one", "echo", "it runs"); !strings.Contains(got, "it runs") {
		t.Errorf("run: %s", got)
	}
	e.ctr("run", "--detach", runtime, compat.ImageName, "two", "sleep", "1000")
	if _, err := manager.New(t.Context(), e.config, manager.Build{}); !errors.Is(err, errdefs.ErrAlreadyExists) {
		t.Errorf("a second manager on the same root: %v", err)
	}
	e.end()

	e = embed(t, dir) // the same directories: it knows what was there
	if got := e.ctr("tasks", "ls"); !strings.Contains(got, "two") || !strings.Contains(got, "RUNNING") {
		t.Errorf("tasks after a restart: %s", got)
	}
	e.ctr("tasks", "rm", "--force", "two")
	e.ctr("containers", "rm", "two")
	e.ctr("images", "rm", "--sync", compat.ImageName)
	for _, list := range []string{"snapshots", "content"} {
		if got := e.ctr(list, "ls"); strings.Contains(got, "sha256") {
			t.Errorf("%s that nobody needs: %s", list, got)
		}
	}
	// A shim leaves when its events are out, and would wait for another manager now.
	if !harness.Until(30*time.Second, func() bool { return len(leftShims(e.config)) == 0 }) {
		t.Errorf("shims stay: %q", leftShims(e.config))
	}
	e.end()
	checkLeft(t, e.config)
}

// leftShims are the sockets of shims.
func leftShims(c config.Config) []string {
	left, _ := filepath.Glob(filepath.Join(c.State, "s", "*"))
	return left
}

// checkLeft looks for what a manager without containers may not have.
func checkLeft(t *testing.T, c config.Config) {
	t.Helper()
	for _, pattern := range []string{
		filepath.Join(c.State, "io.containerd.runtime.v2.task/*/*"),
		filepath.Join(c.Root, "io.containerd.runtime.v2.task/*/*"),
		c.GRPC.Address + "*",
	} {
		if left, _ := filepath.Glob(pattern); len(left) > 0 {
			t.Errorf("left over: %q", left)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), c.Root) || strings.Contains(string(mounts), c.State) {
		t.Errorf("left over: mounts below %s or %s, or %v", c.Root, c.State, err)
	}
}

// TestNewUndoesItself gives New a root that it cannot use; the locks are free afterwards.
func TestNewUndoesItself(t *testing.T) {
	harness.NeedRoot(t)
	dir := t.TempDir()
	c := config.Default()
	c.Root, c.State = filepath.Join(dir, "root"), filepath.Join(dir, "state")
	c.GRPC.Address = filepath.Join(dir, "m.sock")
	blocked := filepath.Join(c.Root, "io.containerd.metadata.v1.bolt")
	if err := os.MkdirAll(c.Root, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := manager.New(t.Context(), c, manager.Build{}); err == nil || !strings.Contains(err.Error(), blocked) {
		t.Fatalf("New on a broken root: %v", err)
	}
	if err := os.Remove(blocked); err != nil {
		t.Fatal(err)
	}
	m, err := manager.New(t.Context(), c, manager.Build{})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if err := m.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}
