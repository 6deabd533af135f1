// Package docker_test runs the docker command line, Debian's and the newest, against our engine over every manager that
// may stand below it: our own, started by the engine or named by --containerd, and containerd of all ages. The scripts
// are those of tests/compat/docker that are about more than the runtime's work.
package docker_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/compat/docker"
	"github.com/gantry-containers/gantry/tests/harness"
)

// TestMain gives the tests a /run of their own, where old shims have their sockets and states whatever they are told.
func TestMain(m *testing.M) {
	flag.Parse()
	// The scripts wait more than they compute.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	if err := compat.Private(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

var (
	full = []string{
		"attach", "build", "exec", "files", "health", "info", "oom", "pause", "policy", "process", "run", "stats", "stop", "together", "tty", "update",
	}
	short = []string{"exec", "files", "pause", "run", "stop", "together"}
)

// below is a manager below the engine.
type below struct {
	name    string
	release *docker.Release // of the command line, and of containerd
	setup   docker.Setup
	scripts []string
}

// pairs are what is tried: each command line with all scripts, each manager with some at least.
func pairs() []below {
	debian, newest := &docker.Releases[0], &docker.Releases[1]
	return []below{
		{"own", newest, docker.Setup{}, full},
		{"own", debian, docker.Setup{}, short},
		{"manager", newest, docker.Setup{Manager: true}, short},
		{"containerd", newest, docker.Setup{Containerd: true}, full},
		{"containerd", debian, docker.Setup{Containerd: true}, short},
	}
}

// TestScripts has the engine run the scripts. GANTRY_ENGINE=moby runs dockerd's own in its place, which proves the test.
func TestScripts(t *testing.T) {
	harness.NeedRoot(t)
	for _, b := range pairs() {
		t.Run(b.release.Name+" over "+b.name, func(t *testing.T) {
			t.Parallel()
			b.setup.Engine = os.Getenv("GANTRY_ENGINE") != "moby"
			b.setup.Args = []string{"--live-restore", "--experimental"}
			e := docker.Start(t, b.release, b.setup)
			var files []string
			for _, name := range b.scripts {
				files = append(files, "../../compat/docker/testdata/all/"+name+".txtar")
			}
			e.Run(t, "scripts", files, nil)
		})
	}
}
