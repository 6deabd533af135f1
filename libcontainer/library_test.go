package libcontainer_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer"
	"github.com/gantry-containers/gantry/libcontainer/launch"
	"github.com/gantry-containers/gantry/libcontainer/validate"
)

// exampleBundle is a busybox bundle that runs a script.
func exampleBundle(t *testing.T, script string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes a container")
	}
	if errors.Is(launch.ProtectExe(), libcontainer.ErrCgo) {
		t.Skip("this test was built with cgo: CGO_ENABLED=0 go test")
	}
	dir := t.TempDir()
	if out, err := exec.Command("../hack/make-bundle", dir, "sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("make-bundle: %v\n%s", err, out)
	}
	editConfig(t, dir, func(s *specs.Spec) { s.Process.Terminal = false })
	t.Chdir(dir) // Create does it, and the test's end takes it back
	return dir
}

func editConfig(t *testing.T, bundle string, change func(*specs.Spec)) {
	t.Helper()
	file := filepath.Join(bundle, "config.json")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var s specs.Spec
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	change(&s)
	if b, err = json.Marshal(&s); err == nil {
		err = os.WriteFile(file, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestTheExampleRuns: the library does in a program that is not runc what it promises.
func TestTheExampleRuns(t *testing.T) {
	bundle := exampleBundle(t, "exit 7")
	r := &libcontainer.Runtime{Root: filepath.Join(t.TempDir(), "root")}
	const id = "gantry-example"
	status, err := live(r, bundle, id)
	if err != nil || status != 7 {
		t.Errorf("exit status %d, %v; want 7", status, err)
	}
	if _, err := r.State(id); !errors.Is(err, libcontainer.ErrNotExist) {
		t.Errorf("after its end: %v, want %v", err, libcontainer.ErrNotExist)
	}
	if left, err := filepath.Glob("/sys/fs/cgroup/*/" + id); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestRunFromAProgram(t *testing.T) {
	bundle := exampleBundle(t, "kill -KILL $$; exit 3")
	r := &libcontainer.Runtime{Root: filepath.Join(t.TempDir(), "root")}
	// The first process of a pid namespace is spared its own signals.
	status, err := r.Run(&libcontainer.CreateOptions{ID: "gantry-example", Bundle: bundle})
	if err != nil || status != 3 {
		t.Errorf("exit status %d, %v; want 3", status, err)
	}
}

// TestErrorsSayWhichField: a program gets the fault as data.
func TestErrorsSayWhichField(t *testing.T) {
	bundle := exampleBundle(t, "true")
	editConfig(t, bundle, func(s *specs.Spec) { s.Process.Cwd = "relative" })
	r := &libcontainer.Runtime{Root: filepath.Join(t.TempDir(), "root")}
	err := r.Create(&libcontainer.CreateOptions{ID: "gantry-example", Bundle: bundle})
	var invalid *validate.Error
	if !errors.As(err, &invalid) || len(invalid.Problems) != 1 || invalid.Problems[0].Path != "process.cwd" {
		t.Errorf("%v, want one problem of process.cwd", err)
	}
}
