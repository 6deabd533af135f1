package docker

import (
	"testing"

	"github.com/gantry-containers/gantry/tests/harness"
)

// TestSystemd runs the scripts with the other cgroup driver, the default of most machines:
// containers are scopes of systemd's.
func TestSystemd(t *testing.T) {
	harness.Need(t, harness.Systemd)
	each(t, func(t *testing.T, r *Release) {
		e := Start(t, r, Setup{Containerd: true, Systemd: true, Args: []string{"--live-restore"}})
		e.Scripts(t, "testdata/systemd", nil)
		e.Scripts(t, "testdata/all", nil)
	})
}
