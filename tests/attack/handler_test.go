package attack

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

// TestCVE_2019_5736_Handler: the program that runs WebAssembly modules is of the host, and
// runs in the container. Neither the module nor a process beside it, with all that it takes
// to trace and to mount, gets at the host's file through /proc.
func TestCVE_2019_5736_Handler(t *testing.T) {
	e := harness.New(t)
	handler, before := handlerBeside(t)
	bundle := hostile(t, e, func(s *specs.Spec) {
		withCaps(s, "CAP_SYS_PTRACE", "CAP_SYS_ADMIN")
		s.Process.Args = []string{"/bin/attacker", "poll", "600", "/report"}
	})
	watcher, module := e.ID("watcher"), e.ID("module")
	e.MustRun("run", "--detach", "--bundle", bundle, watcher)
	pid := e.State(watcher).Pid
	other := e.Bundle("", func(s *specs.Spec) {
		withCaps(s, "CAP_SYS_PTRACE", "CAP_SYS_ADMIN")
		s.Annotations = map[string]string{"run.oci.handler": "wasm"}
		s.Process.Args = []string{"/app.wasm", "open=/proc/self/exe", "stderr=tried", "sleep"}
		s.Linux.Namespaces[0] = specs.LinuxNamespace{Type: "pid", Path: fmt.Sprintf("/proc/%d/ns/pid", pid)}
	})
	putModule(t, other)
	e.MustRun("create", "--bundle", other, module) // the copy is seen before it runs, too
	e.MustRun("start", module)
	time.Sleep(harness.Slow(2 * time.Second)) // of both beside each other; the poller looks hundreds of times
	e.MustRun("kill", watcher, "TERM")
	found := report(t, bundle)
	if strings.Contains(found, " "+identity(t, handler)+" ") || wrote(found) {
		t.Errorf("the handler's file was reached, or its copy written to:\n%s", found)
	}
	if !exeSeen(found, "gantry-handler") {
		t.Errorf("the copy was not seen, so the test proves nothing:\n%s", found)
	}
	e.MustRun("delete", "--force", module)
	if after, err := os.ReadFile(handler); err != nil || string(after) != string(before) {
		t.Errorf("the handler has changed (%v)", err)
	}
}

// TestWasmModuleCannotWriteItsEngine: what the module itself sees as its program.
func TestWasmModuleCannotWriteItsEngine(t *testing.T) {
	e := harness.New(t)
	handlerBeside(t)
	bundle := e.Bundle("", func(s *specs.Spec) {
		withCaps(s, "CAP_SYS_PTRACE", "CAP_SYS_ADMIN")
		s.Annotations = map[string]string{"run.oci.handler": "wasm"}
		s.Process.Args = []string{"/app.wasm", "open=/proc/self/exe", "open=/proc/1/exe", "open=/app.wasm"}
	})
	putModule(t, bundle)
	out := e.MustRun("run", "--bundle", bundle, e.ID("c"))
	if strings.Contains(out, "opened /proc") || !strings.Contains(out, "opened /app.wasm") {
		t.Errorf("opened for writing:\n%s", out)
	}
}

// exeSeen says whether the poller met a program of that name as somebody's exe link.
func exeSeen(report, name string) bool {
	for line := range strings.Lines(report) {
		if strings.HasPrefix(line, "exe ") && strings.Contains(line, name) {
			return true
		}
	}
	return false
}

// handlerBeside puts the handler beside the runtime that is attacked.
func handlerBeside(t *testing.T) (file string, content []byte) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(harness.Top(), "bin", "runc-wasm"))
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(filepath.Dir(harness.Runtime(t)), "runc-wasm")
	if err := os.WriteFile(file, content, 0o755); err != nil {
		t.Fatal(err)
	}
	return file, content
}

// putModule puts the module of the whole-system tests into a bundle.
func putModule(t *testing.T, bundle string) {
	t.Helper()
	b, err := harness.Program("app.wasm")
	if err == nil {
		err = os.WriteFile(filepath.Join(bundle, "rootfs", "app.wasm"), b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
