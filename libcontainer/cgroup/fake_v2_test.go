package cgroup

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/state"
)

// fakeV2 is a directory with plain files by the names of cgroup v2, for what this machine's v2
// hierarchy has no controller for.
func fakeV2(t *testing.T, files map[string]string) *Set {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		fakeFile(t, dir, name, text)
	}
	return FromState([]state.CgroupPath{{Path: dir}})
}

func fakeFile(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestOOMWatchOnV2CountsKillsAlone: memory.events changes for other reasons, too.
func TestOOMWatchOnV2CountsKillsAlone(t *testing.T) {
	s := fakeV2(t, map[string]string{"memory.events": "low 0\nmax 0\noom 0\noom_kill 3\noom_group_kill 0\n"})
	w, err := s.WatchOOM()
	if err != nil || w == nil {
		t.Fatal(w, err)
	}
	defer w.Close()
	for _, step := range []struct {
		events string
		want   bool
	}{
		{"low 0\nmax 9\noom 1\noom_kill 3\n", false},
		{"low 0\nmax 9\noom 1\noom_kill 4\n", true},
		{"low 0\nmax 10\noom 1\noom_kill 4\n", false},
		{"low 0\nmax 10\noom 3\noom_kill 6\n", true},
	} {
		fakeFile(t, s.groups[0].dir, "memory.events", step.events)
		poll := []unix.PollFd{{Fd: int32(w.FD()), Events: unix.POLLIN}}
		if n, err := unix.Poll(poll, 5000); n != 1 || err != nil {
			t.Fatalf("%q: nobody was woken: %d, %v", step.events, n, err)
		}
		if got := w.Happened(); got != step.want {
			t.Errorf("%q: %v", step.events, got)
		}
	}
}

func TestPresentOnV2(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  plan.Present
	}{
		"limits":      {map[string]string{"cpu.max": "5000 50000\n", "memory.current": "4096\n", "cpu.idle": "1\n"}, plan.Present{MemoryLimit: plan.NoLimit, MemoryUsage: 4096, Quota: 5000, Period: 50000, Idle: true}},
		"no limits":   {map[string]string{"cpu.max": "max 100000\n", "cpu.idle": "0\n"}, plan.Present{MemoryLimit: plan.NoLimit, Quota: -1, Period: 100000}},
		"no controls": {nil, plan.Present{MemoryLimit: plan.NoLimit, Quota: -1}},
	} {
		if got := fakeV2(t, c.files).Present(); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestExchangeOnV2(t *testing.T) {
	s := fakeV2(t, map[string]string{"cgroup.controllers": "cpu io memory\n", "cpu.max": "max 100000", "io.max": "8:0 rbps=5 wbps=max riops=max wiops=max\n"})
	for value, want := range map[string]string{"8:0 rbps=9": "8:0 rbps=5 wbps=max riops=max wiops=max", "8:16 wiops=1": "8:16 rbps=max wbps=max riops=max wiops=max"} {
		fakeFile(t, s.groups[0].dir, "io.max", "8:0 rbps=5 wbps=max riops=max wiops=max\n")
		undo, err := s.Exchange(&plan.WriteCgroup{File: "io.max", Value: value})
		if err != nil || undo == nil || undo.Value != want {
			t.Errorf("%s: undone by %v, %v", value, undo, err)
		}
	}
	undo, err := s.Exchange(&plan.WriteCgroup{File: "cpu.max", Value: "5000 50000"})
	if err != nil || undo.Value != "max 100000" {
		t.Errorf("cpu.max: undone by %v, %v", undo, err)
	}
	if undo, err = s.Exchange(&plan.WriteCgroup{File: "memory.swap.max", Value: "0", MayMiss: true}); err != nil || undo != nil {
		t.Errorf("a file that is missing: undone by %v, %v", undo, err)
	}
}
