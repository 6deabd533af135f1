package cgroup

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

func TestWritePutsLimitsInForce(t *testing.T) {
	s := create(t, "memory", "pids")
	for _, w := range []plan.WriteCgroup{
		{Hierarchy: "memory", File: "memory.limit_in_bytes", Value: "8388608"},
		{Hierarchy: "pids", File: "pids.max", Value: "17"},
	} {
		if err := s.Write(&w); err != nil {
			t.Fatal(err)
		}
		if got := content(t, s.named(w.Hierarchy).dir+"/"+w.File); got != w.Value {
			t.Errorf("%s is %s", w.File, got)
		}
	}
}

func TestWriteNamesTheFileAndTheErrno(t *testing.T) {
	s := create(t, "memory")
	err := s.Write(&plan.WriteCgroup{Hierarchy: "memory", File: "memory.swappiness", Value: "5000"})
	var file *FileError
	if !errors.As(err, &file) || !errors.Is(err, unix.EINVAL) || file.Path != s.groups[0].dir+"/memory.swappiness" {
		t.Fatalf("got %v", err)
	}
	want := "write 5000 to " + file.Path + ": invalid argument"
	if err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

func TestWriteForgivesAMissingFileOnlyWhenAsked(t *testing.T) {
	for _, name := range []string{"memory", ""} {
		t.Run("hierarchy "+name, func(t *testing.T) {
			s := create(t, name)
			w := plan.WriteCgroup{Hierarchy: name, File: "memory.no_such", Value: "1"}
			if err := s.Write(&w); !errors.Is(err, unix.ENOENT) {
				t.Errorf("got %v", err)
			}
			w.MayMiss = true
			if err := s.Write(&w); err != nil {
				t.Errorf("with MayMiss: got %v", err)
			}
		})
	}
}

func TestWriteTurnsOnAV2Controller(t *testing.T) {
	mount := hierarchy(t, "")
	if list := content(t, mount+"/cgroup.controllers"); list != "hugetlb" {
		t.Skipf("expects a v2 hierarchy with hugetlb only, not %q", list)
	}
	s := create(t, "")
	w := plan.WriteCgroup{File: "hugetlb.2MB.max", Value: "2097152"}
	if err := s.Write(&w); err != nil {
		t.Fatal(err)
	}
	if got := content(t, s.groups[0].dir+"/hugetlb.2MB.max"); got != w.Value {
		t.Errorf("limit is %s", got)
	}
	if err := s.Write(&plan.WriteCgroup{File: "memory.max", Value: "1"}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a controller that is not there: got %v", err)
	}
}

func TestCreateOfASoleV2CgroupTurnsOnAllControllers(t *testing.T) {
	mount := hierarchy(t, "")
	s := create(t, "")
	if got, want := content(t, s.groups[0].dir+"/cgroup.controllers"), content(t, mount+"/cgroup.controllers"); got != want {
		t.Errorf("controllers are %q, want %q", got, want)
	}
}

func TestWriteUsesTheFileOfTheSchedulerThatIsThere(t *testing.T) {
	s := create(t, "blkio")
	if exists(s.groups[0].dir+"/blkio.weight") || !exists(s.groups[0].dir+"/blkio.bfq.weight") {
		t.Skip("expects a kernel with the bfq scheduler")
	}
	if err := s.Write(&plan.WriteCgroup{Hierarchy: "blkio", File: "blkio.weight", Value: "321"}); err != nil {
		t.Fatal(err)
	}
	if got := content(t, s.groups[0].dir+"/blkio.bfq.weight"); got != "321" {
		t.Errorf("weight is %s", got)
	}
}

func TestAlternativeFiles(t *testing.T) {
	for _, c := range []struct{ file, value, wantFile, wantValue string }{
		{"blkio.weight", "500", "blkio.bfq.weight", "500"},
		{"blkio.weight_device", "8:0 500", "blkio.bfq.weight_device", "8:0 500"},
		{"io.bfq.weight", "10", "io.weight", "1"},
		{"io.bfq.weight", "500", "io.weight", "4950"},
		{"io.bfq.weight", "1000", "io.weight", "10000"},
		{"io.bfq.weight", "8:0 1000", "io.weight", "8:0 10000"},
		{"memory.max", "1", "", ""},
	} {
		file, value := alternative(&plan.WriteCgroup{File: c.file, Value: c.value})
		if file != c.wantFile || value != c.wantValue {
			t.Errorf("%s %q: got %s %q", c.file, c.value, file, value)
		}
	}
}
