package seccomp

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// childEnv names what a re-executed test binary does instead of testing.
const childEnv = "GANTRY_SECCOMP_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "install":
		installChild()
	case "memory":
		memoryChild()
	}
	code := m.Run()
	if builtDir != "" {
		os.RemoveAll(builtDir)
	}
	os.Exit(code)
}

var builtDir string

// build compiles the compiler once for all tests.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "gantry-seccomp-test-")
	if err != nil {
		return "", err
	}
	builtDir = dir
	path := filepath.Join(dir, compilerName)
	cmd := exec.Command("go", "build", "-tags", "netgo osusergo", "-ldflags", "-linkmode external -extldflags -static", "-o", path, "./compiler")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// needCompiler puts a real compiler into PATH and returns where it is.
func needCompiler(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("building the seccomp compiler needs gcc")
	}
	if exec.Command("pkg-config", "--exists", "libseccomp").Run() != nil {
		t.Skip("building the seccomp compiler needs libseccomp-dev")
	}
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Dir(path)+":"+os.Getenv("PATH"))
	return path
}

// fakeCompiler puts a shell script into PATH in the compiler's place.
func fakeCompiler(t *testing.T, script string) {
	t.Helper()
	if image != "" {
		t.Skip("the embedded compiler is in use")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, compilerName), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
}
