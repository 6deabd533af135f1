// Package buildkit_test builds images with buildkitd, whose only worker is our manager: it has no OCI worker.
// $GANTRY_MANAGER puts another manager, or real containerd ("upstream"), in the place of ours, to prove the tests.
package buildkit_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/compat/buildkit"
	"github.com/gantry-containers/gantry/tests/harness"
)

func TestMain(m *testing.M) {
	if err := compat.Private(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const registry = "127.0.0.1:5000"

// TestWorker runs the scripts of tests/compat/buildkit, and those about images, caches and a manager that is killed.
func TestWorker(t *testing.T) {
	harness.NeedRoot(t)
	manager := compat.StartContainerd(t, compat.Gantry, compat.Shim(t, compat.Gantry))
	compat.Registry(t, registry, nil)
	client := manager.Client(harness.Runtime(t))
	b := buildkit.Start(t, "--oci-worker=false", "--containerd-worker=true", "--containerd-worker-net", "host",
		"--containerd-worker-addr", client.Env["CONTAINERD_ADDRESS"])
	env := maps.Clone(client.Env)
	maps.Copy(env, b.Env)
	env["PATH"] = filepath.Dir(b.Env["build"]) + ":" + client.Env["PATH"]
	env["CONTAINERD_NAMESPACE"] = "buildkit" // BuildKit's own
	env["REGISTRY"] = registry
	run := func(name string, files ...string) {
		scripts := compat.ScriptSet{Name: name, Files: files, Env: env, Commands: map[string]compat.Command{"manager": manager.Control, "buildkitd": b.Daemon.Control}}
		scripts.Run(t)
	}
	run("compat", compat.Folder(t, "../../compat/buildkit/testdata")...)
	run("images", compat.Folder(t, "testdata")...)
	for _, file := range compat.Folder(t, "testdata/alone") {
		run("alone", file)
	}
}
