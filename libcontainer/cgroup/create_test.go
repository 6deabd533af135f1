package cgroup

import (
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/state"
)

func TestCreateMakesEveryHierarchyAndRemoveTakesOnlyTheLeaf(t *testing.T) {
	cgs := place(t, "memory", "cpuset", "devices", "")
	s, err := Create(cgs, false)
	if err != nil {
		t.Fatal(err)
	}
	for i := range cgs {
		if !exists(cgs[i].Dir()) {
			t.Errorf("%s was not made", cgs[i].Dir())
		}
	}
	again := FromState(s.Paths())
	if diff := cmp.Diff(s.Paths(), again.Paths()); diff != "" {
		t.Errorf("a set from state is another set:\n%s", diff)
	}
	if err := again.Remove(); err != nil {
		t.Fatal(err)
	}
	for i := range cgs {
		if exists(cgs[i].Dir()) || !exists(parentOf(cgs[i].Dir())) {
			t.Errorf("%s: leaf left or parent removed", cgs[i].Dir())
		}
	}
	if err := again.Remove(); err != nil {
		t.Errorf("removing again: %v", err)
	}
}

func TestCreateFillsEveryNewCpuset(t *testing.T) {
	cgs := place(t, "cpuset")
	cgs[0].Path += "/a/b"
	if _, err := Create(cgs, false); err != nil {
		t.Fatal(err)
	}
	for dir := cgs[0].Dir(); dir != cgs[0].Mount; dir = parentOf(dir) {
		for _, file := range []string{"/cpuset.cpus", "/cpuset.mems"} {
			if content(t, dir+file) == "" {
				t.Errorf("%s%s is empty", dir, file)
			}
		}
	}
}

func TestCreateRepairsAnEmptyCpusetAboveIt(t *testing.T) {
	cgs := place(t, "cpuset")
	above := parentOf(cgs[0].Dir())
	if err := os.Mkdir(above, dirMode); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(cgs, false); err != nil {
		t.Fatal(err)
	}
	if content(t, above+"/cpuset.cpus") == "" || content(t, cgs[0].Dir()+"/cpuset.mems") == "" {
		t.Error("a cpuset in the chain stayed empty")
	}
}

func TestCreateTakesOverAnEmptyCgroup(t *testing.T) {
	cgs := place(t, "memory", "freezer", "")
	for range 2 {
		if _, err := Create(cgs, false); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCreateRefusesACgroupWithProcesses(t *testing.T) {
	cgs := place(t, "memory", "devices")
	first, err := Create(cgs[1:], false)
	if err != nil {
		t.Fatal(err)
	}
	sleeper(t, first)
	_, err = Create(cgs, false)
	var notEmpty *NotEmptyError
	if !errors.As(err, &notEmpty) || err.Error() != "container's cgroup is not empty: 1 process(es) found" {
		t.Errorf("got %v", err)
	}
	if exists(cgs[0].Dir()) || exists(parentOf(cgs[0].Dir())) {
		t.Error("what was made before the refusal is still there")
	}
	if !exists(cgs[1].Dir()) {
		t.Error("a cgroup of somebody else was removed")
	}
}

func TestCreateRefusesAProcessBelow(t *testing.T) {
	cgs := place(t, "")
	below := []plan.Cgroup{cgs[0]}
	below[0].Path += "/below"
	inner, err := Create(below, false)
	if err != nil {
		t.Fatal(err)
	}
	sleeper(t, inner)
	var notEmpty *NotEmptyError
	if _, err := Create(cgs, false); !errors.As(err, &notEmpty) {
		t.Errorf("got %v", err)
	}
}

func TestCreateRefusesAFrozenCgroup(t *testing.T) {
	for name, file := range map[string][2]string{
		"v1 freezer": {"freezer", "freezer.state=FROZEN"},
		"v2":         {"", "cgroup.freeze=1"},
	} {
		t.Run(name, func(t *testing.T) {
			cgs := place(t, file[0])
			s, err := Create(cgs, false)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Freeze(); err != nil {
				t.Fatal(err)
			}
			if _, err := Create(cgs, false); !errors.Is(err, ErrFrozen) {
				t.Errorf("with %s: got %v", file[1], err)
			}
			if err := s.Thaw(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestCreateUndoesWhatItMade(t *testing.T) {
	cgs := place(t, "memory", "pids")
	cgs[1].Path += "/" + string(make([]byte, 300)) // no such name can be made
	if _, err := Create(cgs, false); err == nil {
		t.Fatal("an impossible name was made")
	}
	if exists(parentOf(cgs[0].Dir())) {
		t.Error("directories of the failed create are left")
	}
}

func TestCreateLeavesOutWhatTheCallerMayNotMake(t *testing.T) {
	// sysfs refuses every mkdir with EPERM, to root too.
	denying := plan.Cgroup{Hierarchy: "pids", Mount: "/sys", Path: "/gantry-test"}
	cgs := append(place(t, "memory"), denying)
	if _, err := Create(cgs, false); !denied(err) {
		t.Errorf("without optional: got %v", err)
	}
	s, err := Create(cgs, true)
	if err != nil {
		t.Fatal(err)
	}
	want := []state.CgroupPath{{Hierarchy: "memory", Path: cgs[0].Dir()}}
	if diff := cmp.Diff(want, s.Paths()); diff != "" {
		t.Errorf("paths:\n%s", diff)
	}
	err = s.Write(&plan.WriteCgroup{Hierarchy: "pids", File: "pids.max", Value: "5", MayMiss: true})
	if err == nil || err.Error() != "cannot set pids limit: container could not join or create cgroup" {
		t.Errorf("a limit in the hierarchy left out: got %v", err)
	}
}

func TestRemoveSparesTheRootOfAHierarchy(t *testing.T) {
	mount := hierarchy(t, "pids")
	cgs := place(t, "pids")
	if _, err := Create(cgs, false); err != nil {
		t.Fatal(err)
	}
	err := FromState([]state.CgroupPath{{Hierarchy: "pids", Path: mount}}).Remove()
	if err == nil {
		t.Error("removing a mount root was no error")
	}
	if !exists(cgs[0].Dir()) {
		t.Error("a cgroup below the root was removed")
	}
}

func TestRemoveTakesCgroupsThatTheContainerMade(t *testing.T) {
	s := create(t, "freezer", "")
	for i := range s.groups {
		if err := os.MkdirAll(s.groups[i].dir+"/a/b", dirMode); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Remove(); err != nil {
		t.Fatal(err)
	}
	for i := range s.groups {
		if exists(s.groups[i].dir) {
			t.Errorf("%s is left", s.groups[i].dir)
		}
	}
}

func TestRemoveTriesEveryHierarchy(t *testing.T) {
	s := create(t, "pids", "freezer")
	held := FromState(s.Paths()[:1])
	sleeper(t, held)
	if err := s.Remove(); !errors.Is(err, unix.EBUSY) {
		t.Errorf("a cgroup in use: got %v", err)
	}
	if exists(s.groups[1].dir) {
		t.Error("the free hierarchy was not removed")
	}
}
