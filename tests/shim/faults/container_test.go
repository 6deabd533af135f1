package faults_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/options"
	"github.com/gantry-containers/gantry/shim/api/types"
	"github.com/gantry-containers/gantry/tests/harness"
	"github.com/gantry-containers/gantry/tests/shim/client"
)

// limited is a context for a call that should take much less.
func limited(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), harness.Limit(60*time.Second))
	t.Cleanup(cancel)
	return ctx
}

// container is what the tests want different about one.
type container struct {
	id      string
	script  string
	io      client.IO
	runtime string // the OCI runtime's binary
	spec    func(*specs.Spec)
	options *known.Any // instead of runc's
}

// record makes the container's record.
func (s *service) record(ctx context.Context, c container) error {
	s.mu.Lock()
	s.ids = append(s.ids, c.id)
	s.mu.Unlock()
	spec, err := s.spec(c)
	if err != nil {
		return err
	}
	if c.options == nil {
		o := &options.Options{BinaryName: c.runtime, Root: s.path("runc")}
		if o.BinaryName == "" {
			o.BinaryName = s.path("bin/runc")
		}
		b, err := o.MarshalVT()
		if err != nil {
			return err
		}
		c.options = &known.Any{TypeUrl: "containerd.runc.v1.Options", Value: b}
	}
	return s.CreateContainer(ctx, client.Container{ID: c.id, Runtime: s.shim, Options: *c.options, Spec: spec})
}

// spec is that of a busybox container with a read-only root and namespaces of its own.
func (s *service) spec(c container) ([]byte, error) {
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
	spec.Linux.CgroupsPath = "/" + s.marker + "/" + c.id
	if c.spec != nil {
		c.spec(&spec)
	}
	return json.Marshal(&spec)
}

// create makes the record and the task.
func (s *service) create(ctx context.Context, c container) (pid uint32, err error) {
	if err := s.record(ctx, c); err != nil {
		return 0, err
	}
	return s.CreateTask(ctx, c.id, c.io, s.mount())
}

// mount is how the root file system comes into the bundle, as from a snapshotter.
func (s *service) mount() *types.Mount {
	return &types.Mount{Type: "bind", Source: s.rootfs, Options: []string{"rbind", "ro"}}
}

// run makes a container and starts it.
func (s *service) run(t testing.TB, c container) (pid uint32) {
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
func (s *service) remove(t testing.TB, id string, code uint32) {
	t.Helper()
	exit, err := s.Delete(limited(t), id, "")
	if err != nil || exit.Code != code {
		t.Errorf("delete %s: code %d, %v; want %d", id, exit.Code, err, code)
	}
	s.forget(t, id)
}

func (s *service) forget(t testing.TB, id string) {
	t.Helper()
	if err := s.DeleteContainer(limited(t), id); err != nil {
		t.Errorf("delete the record of %s: %v", id, err)
	}
}

// process is an exec's process object.
func process(script string) []byte {
	b, err := json.Marshal(&specs.Process{Args: []string{"sh", "-c", script}, Cwd: "/", Env: []string{"PATH=/bin"}})
	if err != nil {
		panic(err) // it has only strings
	}
	return b
}

// exec runs another process in a container, and does not wait for it.
func (s *service) exec(ctx context.Context, id, exec, script string) error {
	if err := s.Exec(ctx, id, exec, process(script), client.IO{}); err != nil {
		return err
	}
	_, err := s.Start(ctx, id, exec)
	return err
}

// shimOf finds the process that serves a container.
func (s *service) shimOf(t testing.TB, id string) int {
	t.Helper()
	for pid, args := range s.shims() {
		if flagged(args, "id", id) && args[len(args)-1] != "start" && args[len(args)-1] != "delete" {
			return pid
		}
	}
	t.Fatalf("no shim of %s", id)
	return 0
}

// shims are the processes of shims of this service, with their command lines.
func (s *service) shims() map[int][]string {
	found := map[int][]string{}
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		args := strings.Split(strings.TrimRight(string(b), "\x00"), "\x00")
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil && flagged(args, "namespace", s.marker) {
			found[pid] = args
		}
	}
	return found
}

func flagged(args []string, flag, value string) bool {
	for i := range args[:len(args)-1] {
		if args[i] == "-"+flag && args[i+1] == value {
			return true
		}
	}
	return false
}
