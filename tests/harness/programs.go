package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// programs are what tests put into containers: by file name, what is built for which machine.
var programs = map[string]struct{ source, system, machine string }{
	"app.wasm":    {"module", "wasip1", "wasm"},
	"probe-amd64": {"probe", "linux", "amd64"},
	"probe-386":   {"probe", "linux", "386"},
}

// A machine without Go gets them with the tests, which are run once where there is Go to
// make them.
func init() {
	if os.Getenv("GANTRY_PREBUILT") == "" {
		return
	}
	for name := range programs {
		if _, err := Program(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

var (
	builtMutex sync.Mutex
	built      = make(map[string][]byte)
)

// Program returns one of the programs below tests/harness/programs, built once: app.wasm,
// probe-amd64 or probe-386.
func Program(name string) ([]byte, error) {
	builtMutex.Lock()
	defer builtMutex.Unlock()
	if b, ok := built[name]; ok {
		return b, nil
	}
	dir, err := os.MkdirTemp("", "gantry-program-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file, err := Built(dir, name, func(to string) error { return build(name, to) })
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(file)
	if err == nil {
		built[name] = b
	}
	return b, err
}

func build(name, to string) error {
	p := programs[name]
	source := filepath.Join("tests", "harness", "programs", p.source)
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", to, "./"+source)
	cmd.Dir = Top()
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+p.system, "GOARCH="+p.machine, "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return nil
}
