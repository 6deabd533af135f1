package cgroup

import (
	"testing"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

func TestAdoptedCgroups(t *testing.T) {
	mount := hierarchy(t, "")
	at := place(t, "")[0]
	if _, err := Create([]plan.Cgroup{at}, false); err != nil {
		t.Fatal(err)
	}
	s := FromState(nil)
	if s.Gone() {
		t.Error("a set without cgroups is gone")
	}
	s.Adopt(&at)
	if got := s.Paths(); len(got) != 1 || got[0].Path != at.Dir() || s.Gone() {
		t.Errorf("adopted %v, gone: %v", got, s.Gone())
	}
	if got := MountOf(at.Dir()); got != mount {
		t.Errorf("%s is mounted at %s, want %s", at.Dir(), got, mount)
	}
	if err := s.Remove(); err != nil {
		t.Fatal(err)
	}
	if !s.Gone() {
		t.Error("a removed cgroup is not gone")
	}
}
