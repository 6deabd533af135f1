package shim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types"
	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/gantry-containers/gantry/manager/bundle"
	"github.com/gantry-containers/gantry/tests/harness"
)

// realShims are those of every generation; what is not installed is left out, but not ours.
func realShims(t *testing.T) map[string]string {
	t.Helper()
	clients := filepath.Join(harness.Top(), ".tools", "clients")
	all := map[string]string{
		"1.6":    "/usr/bin/containerd-shim-runc-v2",
		"1.7":    filepath.Join(clients, "containerd-1.7", "bin", "containerd-shim-runc-v2"),
		"2.2":    filepath.Join(clients, "containerd-2.2", "bin", "containerd-shim-runc-v2"),
		"2.4":    filepath.Join(clients, "bin", "containerd-shim-runc-v2"),
		"gantry": filepath.Join(harness.Top(), "bin", "containerd-shim-gantry-v2"),
	}
	all["gantry, activated"] = all["gantry"]
	for name, path := range all {
		if _, err := os.Stat(path); err != nil && !strings.HasPrefix(name, "gantry") {
			t.Logf("the shim of %s is not installed: make clients", name)
			delete(all, name)
		}
	}
	return all
}

// site is a manager's place: state, root, and sockets.
type site struct {
	env      *harness.Env
	store    bundle.Store
	launcher *Launcher
	config   Config
	events   *sink
}

func newSite(t *testing.T) *site {
	t.Helper()
	env := harness.New(t)
	dir := shortDir(t)
	s := &site{
		env:    env,
		store:  bundle.Store{State: filepath.Join(dir, "s"), Root: filepath.Join(dir, "r")},
		events: newSink(t, filepath.Join(dir, "m.ttrpc")),
		config: Config{
			Address: filepath.Join(dir, "m.sock"), TTRPCAddress: filepath.Join(dir, "m.ttrpc"), SocketDir: filepath.Join(dir, "k"),
		},
	}
	s.launcher = New(s.config)
	return s
}

// options of runc: our binary, with its states in the test's own directory.
func (s *site) options(t *testing.T) *anypb.Any {
	t.Helper()
	value, err := proto.Marshal(&runcoptions.Options{BinaryName: harness.Runtime(t), Root: s.env.Root})
	if err != nil {
		t.Fatal(err)
	}
	return &anypb.Any{TypeUrl: "containerd.runc.v1.Options", Value: value}
}

// container makes a bundle of the store from one of busybox, whose rootfs is to be mounted.
func (s *site) container(t *testing.T, name, script string, change func(*specs.Spec)) (*bundle.Bundle, []*types.Mount) {
	t.Helper()
	dir := s.env.Bundle(script, change)
	spec, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.store.Create(t.Context(), "test", s.env.ID(name), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Remove(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return b, []*types.Mount{{Type: "bind", Source: filepath.Join(dir, "rootfs"), Options: []string{"rbind", "rw"}}}
}

// openFifo makes one and opens it as clients do: old shims wait for that.
func openFifo(t *testing.T) (string, *os.File) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return path, f
}

// running is a container that waits for a line, and exits 7 then.
type running struct {
	*Shim
	t   *testing.T
	s   *site
	in  *os.File
	pid uint32
}

func (s *site) run(t *testing.T, binary string) *running {
	t.Helper()
	b, rootfs := s.container(t, "c", "read line; exit 7", nil)
	stdin, in := openFifo(t)
	out, _ := openFifo(t) // without it the shims of containerd wait for the end of the container's output
	shim, err := s.launcher.Start(t.Context(), b, Request{Runtime: binary, Options: s.options(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.launcher.Delete(context.Background(), b) //nolint:errcheck // there is mostly nothing to do
		if _, err := killIf(shim.PID(), func() bool { return runs(shim.PID(), b) }); err != nil {
			t.Error(err)
		}
	})
	created, err := shim.Tasks().Create(t.Context(), &taskv3.CreateTaskRequest{
		ID: b.ID, Bundle: b.Path, Rootfs: rootfs, Stdin: stdin, Stdout: out, Stderr: out, Options: s.options(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := shim.Tasks().Start(t.Context(), &taskv3.StartRequest{ID: b.ID}); err != nil {
		t.Fatal(err)
	}
	return &running{shim, t, s, in, created.Pid}
}

// reload finds the container with another manager, which knows nothing but the bundles.
func (r *running) reload() {
	r.t.Helper()
	before := r.PID()
	if err := r.Close(); err != nil {
		r.t.Fatal(err)
	}
	found, err := r.s.store.List(r.t.Context())
	if err != nil || len(found) != 1 {
		r.t.Fatalf("got %v, %v", found, err)
	}
	r.s.launcher = New(r.s.config)
	r.Shim, err = r.s.launcher.Load(r.t.Context(), found[0])
	if err != nil {
		r.t.Fatal(err)
	}
	if r.PID() != before {
		r.t.Errorf("process %d, and before %d", r.PID(), before)
	}
}

func (r *running) end() {
	r.t.Helper()
	if _, err := r.in.WriteString("\n"); err != nil {
		r.t.Fatal(err)
	}
}

// deleted ends the shim as it should be.
func (r *running) deleted() {
	r.t.Helper()
	wait, err := r.Tasks().Wait(r.t.Context(), &taskv3.WaitRequest{ID: r.bundle.ID})
	if err != nil || wait.ExitStatus != 7 {
		r.t.Fatalf("got %v, %v", wait, err)
	}
	deleted, err := r.Tasks().Delete(r.t.Context(), &taskv3.DeleteRequest{ID: r.bundle.ID})
	if err != nil || deleted.ExitStatus != 7 || deleted.Pid != r.pid {
		r.t.Fatalf("got %v, %v", deleted, err)
	}
	if err := r.Shutdown(r.t.Context()); err != nil {
		r.t.Error(err)
	}
	if !harness.Until(10*time.Second, func() bool { return unix.Kill(r.PID(), 0) == unix.ESRCH }) {
		r.t.Error("the shim lives")
	}
	if err := r.Close(); err != nil {
		r.t.Error(err)
	}
}

// parentOf is the parent of a process.
func parentOf(t *testing.T, pid int) int {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	var parent int
	if _, err := fmt.Sscanf(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " %c %d", new(rune), &parent); err != nil {
		t.Fatal(err)
	}
	return parent
}

// checkParent looks whose child a shim is.
func checkParent(t *testing.T, pid int, ours bool) {
	t.Helper()
	if parent := parentOf(t, pid); (parent == os.Getpid()) != ours {
		t.Errorf("the parent of process %d is process %d", pid, parent)
	}
}

// A container's life over every generation of shim, through a restart of the manager.
func TestRealShims(t *testing.T) {
	for name, binary := range realShims(t) {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			activated := name == "gantry, activated"
			if activated {
				s.launcher.own = binary
			}
			r := s.run(t, binary)
			checkParent(t, r.PID(), activated)
			if want := map[bool]int{true: 3, false: 2}[name == "2.4" || name == "2.2" || strings.HasPrefix(name, "gantry")]; r.Version() != want {
				t.Errorf("version %d, want %d", r.Version(), want)
			}
			r.reload()
			state, err := r.Tasks().State(t.Context(), &taskv3.StateRequest{ID: r.bundle.ID})
			if err != nil || state.Status != tasktypes.Status_RUNNING || state.Pid != r.pid {
				t.Errorf("state %v, %v, want running as %d", state, err, r.pid)
			}
			if _, err := r.Tasks().State(t.Context(), &taskv3.StateRequest{ID: "another"}); !errdefs.IsNotFound(err) {
				t.Errorf("another's state: %v", err)
			}
			r.end()
			r.deleted()
			for range 2 {
				if _, err := s.launcher.Delete(t.Context(), r.bundle); err != nil {
					t.Error(err)
				}
			}
			if _, err := s.launcher.Load(t.Context(), r.bundle); !errdefs.IsNotFound(err) {
				t.Errorf("load of one that has ended: %v", err)
			}
		})
	}
}

// A shim that is killed: its delete action ends the container, and says so.
func TestRealShimKilled(t *testing.T) {
	for name, binary := range realShims(t) {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			r := s.run(t, binary)
			if err := unix.Kill(r.PID(), unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			dies(t, r.Shim)
			if _, err := s.launcher.Load(t.Context(), r.bundle); !errdefs.IsNotFound(err) {
				t.Errorf("load: %v", err)
			}
			answer, err := s.launcher.Delete(t.Context(), r.bundle)
			if err != nil || answer.ExitStatus != 137 || answer.Pid != r.pid {
				t.Errorf("got %v, %v, want process %d", answer, err, r.pid)
			}
			if !harness.Until(10*time.Second, func() bool { return unix.Kill(int(r.pid), 0) == unix.ESRCH }) {
				t.Error("the container lives")
			}
			if _, err := os.Lstat(strings.TrimPrefix(r.Address(), "unix://")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("left behind: its socket, %v", err)
			}
			r.Close() //nolint:errcheck // it is dead
		})
	}
}

// What our shim could not tell in an outage it tells at once when the manager is back, which remembers it for its
// clients: under containerd it would wait for them, here for the 72 seconds of a long outage.
func TestEventsAfterAnOutage(t *testing.T) {
	s := newSite(t)
	r := s.run(t, filepath.Join(harness.Top(), "bin", "containerd-shim-gantry-v2"))
	if !harness.Until(10*time.Second, func() bool { return s.events.has("/tasks/start") }) {
		t.Fatal("no event comes")
	}
	s.events.stop()
	r.end()
	if _, err := r.Tasks().Wait(t.Context(), &taskv3.WaitRequest{ID: r.bundle.ID}); err != nil {
		t.Fatal(err)
	}
	r.reload()
	s.events.start()
	s.events.age(time.Hour)
	if !harness.Until(20*time.Second, func() bool { return s.events.has("/tasks/exit") }) {
		t.Error("the exit is not told")
	}
	r.deleted()
}

// All binaries tell what they are.
func TestRealInfo(t *testing.T) {
	s := newSite(t)
	for name, binary := range realShims(t) {
		info, err := s.launcher.Info(t.Context(), Request{Runtime: binary, Options: s.options(t)})
		if name == "1.6" || name == "1.7" { // which have no such flag
			if !errdefs.IsUnavailable(err) {
				t.Errorf("%s: %v, %v", name, info, err)
			}
			continue
		}
		if err != nil || info.Name == "" {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}
