// Package buildkit_test has the docker command line and buildx build images by our engine and the buildkitd beside it.
// GANTRY_ENGINE=moby has moby 29 build them, which proves the tests.
package buildkit_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/compat/docker"
	"github.com/gantry-containers/gantry/tests/harness"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "4"); err != nil { // The scripts wait more than they compute.
		panic(err)
	}
	if err := compat.Private(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestScripts builds. At its end nothing may be left of the daemons and of what they ran.
func TestScripts(t *testing.T) {
	harness.NeedRoot(t)
	ours := os.Getenv("GANTRY_ENGINE") != "moby"
	e := docker.Start(t, &docker.Releases[1], docker.Setup{BuildKit: true, Engine: ours})
	e.Registry()
	e.Scripts(t, "testdata/one", nil)
	// What looks at all cache at once.
	e.Serial(t, "testdata/after", nil)
	if ours {
		e.Serial(t, "testdata/ours", map[string]compat.Command{"engine": e.Dockerd.Control})
	}
}
