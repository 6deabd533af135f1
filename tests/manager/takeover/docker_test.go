package takeover_test

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/compat/docker"
	"github.com/gantry-containers/gantry/tests/harness"
)

// TestDocker replaces the containerd below the newest dockerd, which lives on.
func TestDocker(t *testing.T) {
	harness.NeedRoot(t)
	for _, c := range []struct {
		name, shim, how string
	}{
		{"own", "", "kill"},
		{"ours", compat.Shim(t, compat.Containerd24), "stop"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := &docker.Releases[len(docker.Releases)-1]
			e := docker.Start(t, r, docker.Setup{Containerd: true, Shim: c.shim, Args: []string{"--live-restore"}})
			how := func(ts *testscript.TestScript, neg bool, _ []string) { e.Below.Control(ts, neg, []string{c.how}) }
			e.Run(t, "takeover", []string{"testdata/docker.txtar"}, map[string]compat.Command{"below": how, "replace": e.Replace})
		})
	}
}
