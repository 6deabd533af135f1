package compat

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/gantry-containers/gantry/tests/harness"
)

// Debian returns the path of a client that is one of Debian's packages.
func Debian(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range []string{"/usr/bin", "/usr/sbin", "/usr/libexec/podman"} {
		if path := filepath.Join(dir, name); exists(path) {
			return path
		}
	}
	missing(t, name)
	return ""
}

// Newest returns the path of a client that hack/install-clients built from the Go module
// proxy.
func Newest(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(harness.Top(), ".tools", "clients", "bin", name)
	if !exists(path) {
		missing(t, name)
	}
	return path
}

// Node returns the folder that hack/install-clients has installed the packages of tests/engine/clients/testdata/node in.
func Node(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(harness.Top(), ".tools", "clients", "node")
	if !exists(filepath.Join(dir, "node_modules", "dockerode")) {
		missing(t, "dockerode")
	}
	return dir
}

// FastAPI returns the base image of examples/fastapi, a tar for `docker import`, that hack/fastapi-base made.
func FastAPI(t testing.TB) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(harness.Top(), ".tools", "fastapi", "base-*.tar"))
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		missing(t, "base image of examples/fastapi")
	}
	return found[0]
}

// missing skips a test; `make test` sets $GANTRY_CLIENTS because it has installed them all.
func missing(t testing.TB, name string) {
	t.Helper()
	if os.Getenv("GANTRY_CLIENTS") != "" {
		t.Fatalf("no %s, though $GANTRY_CLIENTS says that hack/install-clients has run", name)
	}
	t.Skipf("no %s: run hack/install-clients", name)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
