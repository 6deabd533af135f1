package shim

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/gantry-containers/gantry/manager/bundle"
	"github.com/gantry-containers/gantry/tests/harness"
)

// fakes is a manager's place with a fake shim.
type fakes struct {
	t        *testing.T
	dir      string // of sockets
	binary   string
	store    bundle.Store
	config   Config
	launcher *Launcher
}

// shortDir is a directory with a path that leaves room for a socket's name.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gs") //nolint:usetesting // t.TempDir has the test's name in its path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// newFakes makes a fake shim that behaves as the words say. At the test's end nothing of it may be left.
func newFakes(t *testing.T, words string) *fakes {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := shortDir(t)
	f := &fakes{
		t: t, dir: dir, binary: filepath.Join(dir, "containerd-shim-fake-v2"),
		store:  bundle.Store{State: filepath.Join(dir, "s"), Root: filepath.Join(dir, "r")},
		config: Config{Address: "/m.sock", TTRPCAddress: "/m.ttrpc", SocketDir: dir, Env: []string{fakeDir + "=" + dir}},
	}
	if err := os.Symlink(exe, f.binary); err != nil {
		t.Fatal(err)
	}
	f.behave(words)
	t.Cleanup(f.killAll)
	return f
}

// behave begins anew, with another manager.
func (f *fakes) behave(words string) {
	f.config.Env = append([]string{fakeWords + "=" + words}, f.config.Env[len(f.config.Env)-1])
	f.launcher = New(f.config)
}

func (f *fakes) bundle(id string) *bundle.Bundle {
	f.t.Helper()
	b, err := f.store.Create(f.t.Context(), "test", id, []byte("{}"))
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

func (f *fakes) request() Request {
	return Request{Runtime: f.binary, Options: &anypb.Any{TypeUrl: "test/Options"}}
}

func (f *fakes) start(id string) *Shim {
	f.t.Helper()
	s, err := f.launcher.Start(f.t.Context(), f.bundle(id), f.request())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { s.Close() }) //nolint:errcheck // it never fails
	return s
}

// calls are the actions that were run.
func (f *fakes) calls() []string {
	f.t.Helper()
	data, err := os.ReadFile(filepath.Join(f.dir, "calls"))
	if err != nil {
		f.t.Fatal(err)
	}
	return strings.Fields(string(data))
}

// processes are those of the fake shim, servers and all.
func (f *fakes) processes() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		f.t.Fatal(err)
	}
	var all []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && hasVariable(pid, fakeDir+"="+f.dir) {
			all = append(all, pid)
		}
	}
	return all
}

func (f *fakes) killAll() {
	for _, pid := range f.processes() {
		if _, err := killIf(pid, func() bool { return hasVariable(pid, fakeDir+"="+f.dir) }); err != nil {
			f.t.Error(err)
		}
	}
	f.noneLeft()
}

// noneLeft fails where a process is left; one that was killed may take its time.
func (f *fakes) noneLeft() {
	f.t.Helper()
	if !harness.Until(10*time.Second, func() bool { return len(f.processes()) == 0 }) {
		f.t.Errorf("left behind: processes %v", f.processes())
	}
}

// dies waits until a shim is known to be dead.
func dies(t *testing.T, s *Shim) {
	t.Helper()
	select {
	case <-s.Gone():
	case <-time.After(20 * time.Second):
		t.Fatal("it is not gone within 20 s")
	}
}
