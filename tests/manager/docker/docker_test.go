// Package docker_test runs dockerd, Debian's and the newest, with our manager in containerd's place: the scripts of
// tests/compat/docker, and those in testdata, which are about what a manager decides. $GANTRY_MANAGER puts another
// manager, or real containerd ("upstream"), in the place of ours, to prove the tests.
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
	// The scripts wait more than they compute. With more than two at each dockerd its memory of 256 events is too short.
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	if err := compat.Private(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// shared are the scripts of tests/compat/docker that are about more than the runtime's work.
var shared = []string{
	"attach", "build", "exec", "files", "health", "info", "oom", "pause", "policy", "process", "run", "stats", "stop", "together", "tty", "update",
}

// TestOurShim has our shim stand in PATH under the name of containerd's, for which dockerd asks.
func TestOurShim(t *testing.T) {
	each(t, func(t *testing.T, r *docker.Release) {
		e := start(t, r, compat.Shim(t, compat.Gantry))
		var files []string
		for _, name := range shared {
			files = append(files, "../../compat/docker/testdata/all/"+name+".txtar")
		}
		e.Run(t, "compat", files, nil)
		e.Scripts(t, "testdata/all", nil)
		e.Scripts(t, "../../compat/docker/testdata/"+r.Name, nil)
		if r.Name == "29" {
			e.Scripts(t, "testdata/29", nil)
		}
		e.Scripts(t, "testdata/prune", nil) // takes images of every other script
		e.Serial(t, "testdata/restart", daemons(e))
		e.Serial(t, "testdata/gap", daemons(e))
	})
}

// TestTheirShim has dockerd's own release of containerd's shim.
func TestTheirShim(t *testing.T) {
	each(t, func(t *testing.T, r *docker.Release) {
		if r.Name == "20.10" && compat.Gantry.Upstream() {
			t.Skip("containerd 2.4 cannot start the shim of 1.6")
		}
		e := start(t, r, "")
		e.Scripts(t, "testdata/shim", nil)
		e.Serial(t, "testdata/restart", daemons(e))
		if !compat.Gantry.Upstream() { // containerd forgets what ends under its own shim while it is away: dockerd shows it Up for ever
			e.Serial(t, "testdata/gap", daemons(e))
		}
	})
}

func start(t *testing.T, r *docker.Release, shim string) *docker.Engine {
	t.Helper()
	e := docker.Start(t, r, docker.Setup{Manager: true, Shim: shim, Args: []string{"--live-restore", "--experimental"}})
	e.Registry()
	return e
}

// daemons are commands of the scripts that end one, and so run alone.
func daemons(e *docker.Engine) map[string]compat.Command {
	return map[string]compat.Command{"manager": e.Below.Control, "dockerd": e.Dockerd.Control}
}

// each runs a test for every release.
func each(t *testing.T, test func(t *testing.T, r *docker.Release)) {
	t.Helper()
	harness.NeedRoot(t)
	for i := range docker.Releases {
		r := &docker.Releases[i]
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			test(t, r)
		})
	}
}
