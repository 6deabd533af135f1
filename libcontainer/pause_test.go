package libcontainer

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/state"
)

func TestPauseAndResume(t *testing.T) {
	for _, started := range []bool{false, true} {
		r := &Runtime{Root: t.TempDir()}
		before := Created
		if started {
			before = Running
		}
		t.Run(string(before), func(t *testing.T) {
			cgroups := testCgroups(t)
			p := startProgram(t).join(t, cgroups)
			made(t, r, &state.State{ID: "c", Init: p.identify(t), Started: started, CgroupPaths: cgroups, PrivatePID: true})
			if err := r.Resume("c"); !errors.Is(err, ErrNotPaused) {
				t.Errorf("resume before pause: %v", err)
			}
			if err := r.Pause("c"); err != nil {
				t.Fatal(err)
			}
			statusIs(t, r, "c", Paused)
			if err := r.Pause("c"); !errors.Is(err, ErrNotRunning) {
				t.Errorf("second pause: %v", err)
			}
			if err := r.Resume("c"); err != nil {
				t.Fatal(err)
			}
			statusIs(t, r, "c", before)
			if err := r.Delete("c", true); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSIGKILLReachesAPausedContainer(t *testing.T) {
	r := &Runtime{Root: t.TempDir()}
	cgroups := testCgroups(t)
	p := startProgram(t).join(t, cgroups)
	made(t, r, &state.State{ID: "c", Init: p.identify(t), Started: true, CgroupPaths: cgroups, PrivatePID: true})
	if err := r.Pause("c"); err != nil {
		t.Fatal(err)
	}
	if err := r.Kill("c", unix.SIGKILL, false); err != nil {
		t.Fatal(err)
	}
	p.diedOf(t)
	if err := r.Delete("c", false); err != nil {
		t.Error(err)
	}
}
