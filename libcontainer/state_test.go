package libcontainer

import (
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/state"
)

func TestStatusIsDerivedFromTheProcess(t *testing.T) {
	live := startProgram(t).identify(t)
	reused := live
	reused.StartTime--
	for _, c := range []struct {
		name string
		st   state.State
		want Status
	}{
		{"no process yet", state.State{}, Stopped},
		{"not started", state.State{Init: live}, Created},
		{"started", state.State{Init: live, Started: true}, Running},
		{"another process has the pid", state.State{Init: reused, Started: true}, Stopped},
		{"a zombie", state.State{Init: zombie(t), Started: true}, Stopped},
		{"its cgroups are gone", state.State{
			Init: live, Started: true, CgroupPaths: []state.CgroupPath{{Hierarchy: "freezer", Path: "/nonexistent"}},
		}, Running},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &Runtime{Root: t.TempDir()}
			c.st.ID = "c"
			made(t, r, &c.st)
			info, err := r.State("c")
			if err != nil {
				t.Fatal(err)
			}
			if info.Status != c.want {
				t.Errorf("status %s, want %s", info.Status, c.want)
			}
			if wantPID := c.want != Stopped; (info.PID != 0) != wantPID {
				t.Errorf("pid %d when %s", info.PID, info.Status)
			}
		})
	}
}

// zombie returns a process that ended and is not reaped before the end of the test.
func zombie(t *testing.T) state.Process {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	process, err := state.Identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if stat, err := state.ReadStat(process.PID); err != nil || stat.Dead() {
			return process
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("the process did not die")
	return process
}

func TestListGoesOnBehindWhatIsBroken(t *testing.T) {
	r := &Runtime{Root: t.TempDir()}
	made(t, r, &state.State{ID: "b"})
	made(t, r, &state.State{ID: "d"})
	if err := errors.Join(os.Mkdir(r.Root+"/a", 0o700), os.Mkdir(r.Root+"/c", 0o700)); err != nil {
		t.Fatal(err)
	}
	all, broken, err := r.List()
	if err != nil || len(all) != 2 || all[0].ID != "b" || all[1].ID != "d" || len(broken) != 2 {
		t.Errorf("got %+v, broken %v, error %v", all, broken, err)
	}
	if _, _, err := (&Runtime{Root: r.Root + "/none"}).List(); !errors.Is(err, unix.ENOENT) {
		t.Errorf("no root: %v", err)
	}
}
