package host

import (
	"os"
	"path"
	"strings"
	"testing"
)

func TestUnifiedCgroupAndUnitCgroups(t *testing.T) {
	own, err := UnifiedCgroup(os.Getpid())
	if err != nil {
		t.Skipf("no cgroup v2 here: %v", err)
	}
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "0::"+own+"\n") {
		t.Errorf("%q is not in %s", own, text)
	}
	c := &Cgroup{Hierarchies: []Hierarchy{{Name: "memory", Mount: "/m"}, {Name: "systemd", Mount: "/s", Named: true}, {Mount: "/u"}}}
	if _, err := UnitCgroups(os.Getpid(), "gantry-no-such.scope", c); err == nil {
		t.Error("a unit that this process is not in is found")
	}
	if own != "/" {
		places, err := UnitCgroups(os.Getpid(), path.Base(own), c)
		if err != nil || places[len(places)-1] != (Placement{"", "/u", own}) {
			t.Errorf("%v, %v", places, err)
		}
	}
	if _, err := UnifiedCgroup(1 << 30); err == nil {
		t.Error("a process that is not there has a cgroup")
	}
}
