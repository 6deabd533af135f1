package cgroup

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// needV2 skips the test on a machine whose v2 hierarchy lacks one of the controllers.
func needV2(t *testing.T, controllers ...string) {
	t.Helper()
	have := strings.Fields(content(t, hierarchy(t, "")+"/"+controllersFile))
	for _, want := range controllers {
		if !slices.Contains(have, want) {
			t.Skipf("the v2 hierarchy has no controller %s, only %q", want, have)
		}
	}
}

func createV2(t *testing.T, controllers ...string) *Set {
	t.Helper()
	needV2(t, controllers...)
	return create(t, "")
}

func TestV2LimitsAreInForce(t *testing.T) {
	s := createV2(t, "memory", "pids", "cpu")
	for _, w := range []plan.WriteCgroup{
		{File: "memory.max", Value: "8388608"},
		{File: "pids.max", Value: "17"},
		{File: "cpu.max", Value: "20000 50000"},
	} {
		if err := s.Write(&w); err != nil {
			t.Fatal(err)
		}
		if got := content(t, s.groups[0].dir+"/"+w.File); got != w.Value {
			t.Errorf("%s is %s", w.File, got)
		}
	}
}

// TestV2WriteTurnsOnAControllerFromTheTop takes a controller from the whole chain first.
func TestV2WriteTurnsOnAControllerFromTheTop(t *testing.T) {
	s := createV2(t, "pids")
	for _, dir := range []string{parentOf(s.groups[0].dir), hierarchy(t, "")} {
		if err := writeFile(dir, subtreeFile, "-pids"); err != nil {
			t.Skip("the machine itself needs it: ", err)
		}
	}
	w := plan.WriteCgroup{File: "pids.max", Value: "17"}
	if exists(s.groups[0].dir + "/" + w.File) {
		t.Fatal("the controller is still on")
	}
	if err := s.Write(&w); err != nil {
		t.Fatal(err)
	}
	if got := content(t, s.groups[0].dir+"/"+w.File); got != w.Value {
		t.Errorf("limit is %s", got)
	}
}

// TestV2ParentWithProcesses wants a limit below a cgroup with processes to be refused: it
// can't hand on a controller.
func TestV2ParentWithProcesses(t *testing.T) {
	outer := createV2(t, "memory")
	sleeper(t, outer)
	inner := FromState(outer.Paths())
	inner.groups[0].dir += "/inner"
	if err := os.Mkdir(inner.groups[0].dir, dirMode); err != nil {
		t.Fatal(err)
	}
	err := inner.Write(&plan.WriteCgroup{File: "memory.max", Value: "8388608"})
	var file *FileError
	if !errors.As(err, &file) || !errors.Is(err, unix.EBUSY) {
		t.Errorf("got %v", err)
	}
}

func TestV2WriteNamesTheFileAndTheErrno(t *testing.T) {
	s := createV2(t, "cpu")
	err := s.Write(&plan.WriteCgroup{File: "cpu.weight", Value: "50000"})
	want := "write 50000 to " + s.groups[0].dir + "/cpu.weight: numerical result out of range"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestV2RemoveTakesCgroupsThatTheContainerMade(t *testing.T) {
	s := create(t, "")
	if err := os.MkdirAll(s.groups[0].dir+"/a/b", dirMode); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(); err != nil || exists(s.groups[0].dir) {
		t.Errorf("%v", err)
	}
}

func TestV2FrozenAncestorDoesNotCount(t *testing.T) {
	s := create(t, "")
	above := FromState(s.Paths())
	above.groups[0].dir = parentOf(above.groups[0].dir)
	if err := above.Freeze(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = above.Thaw() }()
	if frozen, err := s.State(); frozen || err != nil {
		t.Errorf("got %v, %v", frozen, err)
	}
}
