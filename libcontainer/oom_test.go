package libcontainer

import (
	"testing"

	"github.com/gantry-containers/gantry/libcontainer/cgroup"
	"github.com/gantry-containers/gantry/libcontainer/state"
)

// TestOOMOfACgroupThatIsGone: systemd has removed the scope of a container that had far too
// little memory before anybody could count its OOM kills.
func TestOOMOfACgroupThatIsGone(t *testing.T) {
	gone := cgroup.FromState([]state.CgroupPath{{Hierarchy: "", Path: t.TempDir() + "/gone"}})
	here := cgroup.FromState([]state.CgroupPath{{Hierarchy: "", Path: t.TempDir()}})
	for _, c := range []struct {
		name  string
		watch oomWatch
		want  bool
	}{
		{"a tiny limit", oomWatch{set: gone, tiny: true}, true},
		{"a cgroup that is there", oomWatch{set: here, tiny: true}, false},
		{"a limit that is enough", oomWatch{set: gone, tight: true}, false},
		{"no limit", oomWatch{}, false},
	} {
		if got := c.watch.killed(); got != c.want {
			t.Errorf("%s: killed is %v", c.name, got)
		}
	}
}
