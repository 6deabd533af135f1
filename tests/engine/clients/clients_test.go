// Package clients has what programs are written with talk to our engine: the client libraries of Go, Python and
// JavaScript, and Testcontainers. GANTRY_ENGINE=moby has them talk to moby 29, which proves the tests.
package clients

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/compat/docker"
	"github.com/gantry-containers/gantry/tests/harness"
)

// TestMain gives the tests a /run of their own, where shims and network namespaces have their places.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := os.Setenv("DOCKER_MIN_API_VERSION", "1.24"); err != nil { // moby's own lowest is higher
		panic(err)
	}
	if err := compat.Private(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// registry is one that asks for a name and a password.
const (
	registry       = "127.0.0.1:5001"
	registryConfig = `version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %[1]s/data}, delete: {enabled: true}}
http: {addr: '%[2]s'}
auth: {htpasswd: {realm: test, path: %[1]s/users}}
`
	// Joe's password is "secret".
	users = "joe:$2y$04$VtE2vzgE6Nu.DTXo.NK0zOD/suwlrfIpQsc9elFzuNhwtWAlB7JyG\n"
)

// start starts an engine with a registry beside it.
func start(t *testing.T) *docker.Engine {
	t.Helper()
	harness.NeedRoot(t)
	e := docker.Start(t, &docker.Releases[1], docker.Setup{Engine: os.Getenv("GANTRY_ENGINE") != "moby"})
	dir := t.TempDir()
	for name, content := range map[string]string{"users": users, "config": fmt.Sprintf(registryConfig, dir, registry)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ready := func() error { return e.Inside("busybox", "nc", "127.0.0.1", "5001", "-w", "1", "-e", "true").Run() }
	e.Beside(t, ready, compat.Debian(t, "docker-registry"), "serve", filepath.Join(dir, "config"))
	return e
}

// run runs a client's program, which must succeed.
func run(t *testing.T, cmd *exec.Cmd, env ...string) {
	t.Helper()
	cmd.Env = append(cmd.Env, "REGISTRY="+registry)
	cmd.Env = append(cmd.Env, env...)
	cmd.WaitDelay = time.Second
	hung := time.AfterFunc(harness.Limit(2*time.Minute), func() { _ = cmd.Process.Kill() })
	defer hung.Stop()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %v\n%s", cmd.Args, err, out)
	} else if testing.Verbose() {
		t.Logf("%s", out)
	}
}

// TestPython has Debian's library for Python ask for the oldest version of the API, its own newest, and the engine's.
func TestPython(t *testing.T) {
	t.Parallel()
	python := compat.Debian(t, "python3")
	e := start(t)
	script, err := filepath.Abs("testdata/python/client_test.py")
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"1.24", "1.41", "auto"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			run(t, e.Inside(python, "-B", "-W", "ignore", script), "API="+version, fmt.Sprintf("SECONDS=%.0f", harness.Limit(time.Minute).Seconds()))
		})
	}
}

// TestDockerode has the library for JavaScript, which asks for no version: it gets the engine's newest.
func TestDockerode(t *testing.T) {
	t.Parallel()
	node := compat.Debian(t, "node")
	library := compat.Node(t)
	e := start(t)
	script, err := filepath.Abs("testdata/node/client.test.js")
	if err != nil {
		t.Fatal(err)
	}
	run(t, e.Inside(node, "--test-reporter=spec", "--test", script), "SOCKET="+e.Socket(), "DOCKERODE="+library)
}

// TestTestcontainers has Testcontainers for Go, without the container that removes what others leave: it needs a
// network. Its tests are a module of their own, whose modules hack/install-clients has brought.
func TestTestcontainers(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "testcontainers.test")
	build := exec.Command("go", "-C", "testcontainers", "test", "-c", "-ldflags", "-s -w", "-o", program, ".")
	build.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false", "GOPROXY=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build.Args, err, out)
	}
	e := start(t)
	cmd := e.Inside(program, "-test.v", "-test.parallel", "4")
	cmd.Dir = t.TempDir()
	// It writes what it knows of the user to the home folder.
	run(t, cmd, "TESTCONTAINERS_RYUK_DISABLED=true", "HOME="+cmd.Dir)
}
