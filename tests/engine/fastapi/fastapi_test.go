// Package fastapi_test builds and runs the web application of examples/fastapi by our engine, as its README says.
// GANTRY_ENGINE=moby has moby 29 do it, which proves the test.
package fastapi_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/compat/docker"
	"github.com/gantry-containers/gantry/tests/harness"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := compat.Private(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestExample(t *testing.T) {
	harness.NeedRoot(t)
	base := compat.FastAPI(t)
	e := docker.Start(t, &docker.Releases[1], docker.Setup{BuildKit: true, Engine: os.Getenv("GANTRY_ENGINE") != "moby"})
	command := func(args ...string) (string, error) {
		cmd := e.Inside(args...)
		cmd.Env = append(cmd.Env, "DOCKER_BUILDKIT=1")
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	must := func(args ...string) string {
		t.Helper()
		began := time.Now()
		out, err := command(args...)
		t.Logf("%v: %.1f s", args[:2], time.Since(began).Seconds())
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return out
	}
	must("docker", "import", base, "python:debian")
	must("docker", "build", "-t", "hello", filepath.Join(harness.Top(), "examples/fastapi"))
	must("docker", "run", "-d", "--name", "hello", "-p", "127.0.0.1:8080:80", "hello")
	address := must("docker", "inspect", "--format", "{{.NetworkSettings.Networks.bridge.IPAddress}}", "hello")
	for url, want := range map[string]string{
		"http://127.0.0.1:8080/":              `{"hello":"world"}`,
		"http://127.0.0.1:8080/items/5?q=x":   `{"item_id":5,"q":"x"}`,
		"http://" + address + ":80/items/7":   `{"item_id":7,"q":null}`,
		"http://" + address + "/openapi.json": `"openapi":`,
	} {
		var got string
		if !harness.Until(60*time.Second, func() bool {
			out, err := command("timeout", "20", "busybox", "wget", "-q", "-O", "-", url)
			got = out
			return err == nil
		}) || !strings.Contains(got, want) {
			t.Errorf("%s: %q; want %s", url, got, want)
		}
	}
	if t.Failed() {
		t.Log(must("docker", "logs", "hello"))
	}
	must("docker", "rm", "-f", "hello")
}
