package libcontainer

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/state"
)

func TestKillReachesTheVeryProcessOnly(t *testing.T) {
	r := &Runtime{Root: t.TempDir()}
	p := startProgram(t)
	live := p.identify(t)
	reused := live
	reused.StartTime++
	made(t, r, &state.State{ID: "live", Init: live, PrivatePID: true})
	made(t, r, &state.State{ID: "reused", Init: reused, PrivatePID: true})
	made(t, r, &state.State{ID: "zombie", Init: zombie(t), PrivatePID: true})
	made(t, r, &state.State{ID: "unborn", PrivatePID: true})
	for _, id := range []string{"reused", "zombie", "unborn"} {
		if err := r.Kill(id, unix.SIGKILL, false); !errors.Is(err, ErrNotRunning) {
			t.Errorf("%s: %v, want ErrNotRunning", id, err)
		}
	}
	if !p.lives() {
		t.Fatal("the owner of a reused pid was killed")
	}
	if err := r.Kill("live", unix.SIGUSR1, false); err != nil {
		t.Fatal(err)
	}
	if got := p.diedOf(t); got != unix.SIGUSR1 {
		t.Errorf("died of %v", got)
	}
}

func TestKillOfAllProcesses(t *testing.T) {
	for _, c := range []struct {
		name         string
		sig          unix.Signal
		all, private bool
		others       bool // die too
	}{
		{"SIGKILL, own pid namespace: the kernel's business", unix.SIGKILL, false, true, false},
		{"SIGKILL, shared pid namespace", unix.SIGKILL, false, false, true},
		{"SIGTERM is for the first", unix.SIGTERM, false, false, false},
		{"--all is for all", unix.SIGTERM, true, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &Runtime{Root: t.TempDir()}
			cgroups := testCgroups(t)
			first, other := startProgram(t).join(t, cgroups), startProgram(t).join(t, cgroups)
			made(t, r, &state.State{ID: "c", Init: first.identify(t), CgroupPaths: cgroups, PrivatePID: c.private})
			if err := r.Kill("c", c.sig, c.all); err != nil {
				t.Fatal(err)
			}
			if got := first.diedOf(t); got != c.sig {
				t.Errorf("the first died of %v", got)
			}
			if c.others {
				if got := other.diedOf(t); got != c.sig {
					t.Errorf("the other died of %v", got)
				}
			} else if !other.lives() {
				t.Error("the other was killed, too")
			}
		})
	}
}

func TestKillOfWhatOutlivedTheFirstProcess(t *testing.T) {
	r := &Runtime{Root: t.TempDir()}
	cgroups := testCgroups(t)
	other := startProgram(t).join(t, cgroups)
	made(t, r, &state.State{ID: "c", Init: zombie(t), CgroupPaths: cgroups})
	pids, err := r.PIDs("c")
	if err != nil || len(pids) != 1 || pids[0] != other.cmd.Process.Pid {
		t.Errorf("processes %v, error %v", pids, err)
	}
	if err := r.Kill("c", unix.SIGTERM, false); !errors.Is(err, ErrNotRunning) {
		t.Errorf("SIGTERM: %v, want ErrNotRunning", err)
	}
	if err := r.Kill("c", unix.SIGKILL, false); err != nil {
		t.Fatal(err)
	}
	other.diedOf(t)
	if err := r.Kill("c", unix.SIGKILL, false); !errors.Is(err, ErrNotRunning) {
		t.Errorf("nobody is left: %v, want ErrNotRunning", err)
	}
}
