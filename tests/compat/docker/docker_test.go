package docker

import (
	"testing"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

// TestScripts runs the scripts against each release with the cgroup driver that writes files,
// and then those that restart the daemon.
func TestScripts(t *testing.T) {
	each(t, func(t *testing.T, r *Release) {
		e := Start(t, r, Setup{Containerd: true, Args: []string{"--live-restore", "--experimental"}})
		e.Scripts(t, "testdata/all", nil)
		e.Scripts(t, "testdata/cgroupfs", nil)
		e.Scripts(t, "testdata/"+r.Name, nil)
		t.Run("rights", func(t *testing.T) {
			// 20.10 asks for all capabilities that the kernel has, and no runtime can give
			// what the machine lacks.
			if r.Name == "20.10" {
				harness.Need(t, harness.SysResource)
			}
			e.Scripts(t, "testdata/privileged", nil)
		})
		e.Scripts(t, "testdata/restart", map[string]compat.Command{"dockerd": e.Dockerd.Control})
	})
}

// each runs a test for every release.
func each(t *testing.T, test func(t *testing.T, r *Release)) {
	t.Helper()
	for i := range Releases {
		r := &Releases[i]
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			test(t, r)
		})
	}
}
