// Package shim_test runs real containerds and our manager over the shim: each series of containerd with each of
// two OCI runtimes. The scripts in testdata say what is typed at ctr, and what must come back.
// GANTRY_SHIM=upstream puts containerd's own shim in the place of ours, to prove the tests.
package shim_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

// TestMain gives the tests a /run of their own: containerd before 2.3 has its shims make their
// sockets in /run/containerd/s, wherever its state is.
func TestMain(m *testing.M) {
	flag.Parse()
	// The scripts wait more than they compute, but for slow machines: ctr forgets output if it comes too late for it.
	if os.Getenv("GANTRY_TEST_SLOW") == "" {
		if err := flag.Set("test.parallel", "8"); err != nil {
			panic(err)
		}
	}
	if err := compat.Private(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// shared are the scripts of tests/compat/containerd that are about the shim's work, too.
var shared = []string{
	"both/checkpoint", "both/errors", "both/events", "both/exec", "both/kill", "both/many", "both/metrics", "both/namespaces",
	"both/oom", "both/pause", "both/run", "both/shim", "both/terminal", "both/typing",
}

func TestMatrix(t *testing.T) {
	harness.NeedRoot(t)
	for _, g := range append(slices.Clone(compat.Generations), compat.Gantry) {
		t.Run(string(g), func(t *testing.T) {
			t.Parallel()
			daemon := compat.StartContainerd(t, g, compat.Shim(t, g))
			clients := map[string]*compat.Client{
				"gantry": daemon.Client(harness.Runtime(t)),
				"runc":   daemon.Client(compat.Debian(t, "runc")),
			}
			t.Run("scripts", func(t *testing.T) {
				for name, client := range clients {
					t.Run(name, func(t *testing.T) {
						t.Parallel()
						client.Scripts(t, "all", scripts(t, daemon))
					})
					t.Run(name+"-calls", func(t *testing.T) {
						t.Parallel()
						calls(t, client)
					})
				}
			})
			for name, client := range clients {
				client.Serial(t, "restart-"+name, compat.Folder(t, "testdata/restart"))
				// From 2.0 on containerd forgets tasks that end meanwhile, unless the shim knows better.
				if daemon.Own && g != compat.Containerd16 && g.Upstream() {
					continue
				}
				client.Serial(t, "gap-"+name, compat.Folder(t, "testdata/gap"))
			}
		})
	}
}

func scripts(t *testing.T, daemon *compat.Containerd) []string {
	t.Helper()
	var files []string
	names := shared
	if daemon.Generation != compat.Containerd16 && daemon.Generation != compat.Containerd17 {
		names = append(slices.Clone(names), "newest/features")
	}
	for _, name := range names {
		files = append(files, filepath.Join("..", "compat", "containerd", "testdata", name+".txtar"))
	}
	return append(files, compat.Folder(t, "testdata/all")...)
}
