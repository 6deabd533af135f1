package libcontainer

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/gantry-containers/gantry/libcontainer/state"
)

func TestDelete(t *testing.T) {
	for _, c := range []struct {
		name                   string
		live, started, paused  bool
		force                  bool
		want                   string // error
		processInSharedPIDOnly bool
	}{
		{name: "stopped"},
		{name: "stopped, forced", force: true},
		{name: "created", live: true},
		{name: "created, forced", live: true, force: true},
		{name: "running", live: true, started: true, want: "cannot delete container c that is not stopped: running"},
		{name: "running, forced", live: true, started: true, force: true},
		{name: "paused", live: true, started: true, paused: true, want: "cannot delete container c that is not stopped: paused"},
		{name: "paused, forced", live: true, started: true, paused: true, force: true},
		{name: "stopped, with a process left behind", processInSharedPIDOnly: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &Runtime{Root: t.TempDir()}
			cgroups := testCgroups(t)
			st := &state.State{ID: "c", Started: c.started, CgroupPaths: cgroups, PrivatePID: !c.processInSharedPIDOnly}
			p := startProgram(t)
			if c.live || c.processInSharedPIDOnly {
				p.join(t, cgroups)
			}
			st.Init = state.Process{PID: os.Getpid(), StartTime: 1} // one that ended
			if c.live {
				st.Init = p.identify(t)
			}
			made(t, r, st)
			if c.paused {
				pause(t, r)
			}
			err := r.Delete("c", c.force)
			if c.want != "" {
				refused(t, r, p, err, c.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			gone(t, r.Root+"/c")
			goneCgroups(t, cgroups)
			if c.live || c.processInSharedPIDOnly {
				p.diedOf(t)
			}
		})
	}
}

func TestDeleteOfAKilledCreationEndsNobodyElse(t *testing.T) {
	r := &Runtime{Root: t.TempDir()}
	cgroups := testCgroups(t)
	p := startProgram(t).join(t, cgroups)
	made(t, r, &state.State{ID: "c", CgroupPaths: cgroups})
	if err := r.Delete("c", true); err != nil {
		t.Error(err)
	}
	gone(t, r.Root+"/c")
	if !p.lives() {
		t.Error("a process that was in the cgroup before was killed")
	}
}

func pause(t *testing.T, r *Runtime) {
	t.Helper()
	if err := r.Pause("c"); err != nil {
		t.Fatal(err)
	}
}

func goneCgroups(t *testing.T, cgroups []state.CgroupPath) {
	t.Helper()
	for _, g := range cgroups {
		gone(t, g.Path)
	}
}

// refused checks that nothing happened but the error, then deletes by force.
func refused(t *testing.T, r *Runtime, p *program, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if !p.lives() {
		t.Error("the process was killed all the same")
	}
	if err := r.Delete("c", true); err != nil {
		t.Error(err)
	}
}

func TestDeleteOfAnUnknownContainer(t *testing.T) {
	r := &Runtime{Root: t.TempDir() + "/none"}
	if err := r.Delete("c", false); !errors.Is(err, ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist", err)
	}
	if err := r.Delete("c", true); err != nil {
		t.Errorf("forced: %v", err)
	}
	if err := r.Delete("../c", true); !errors.Is(err, ErrInvalidID) {
		t.Errorf("bad id, forced: %v, want ErrInvalidID", err)
	}
}

func TestForcedDeleteEndsACommandThatHoldsTheLock(t *testing.T) {
	r := &Runtime{Root: t.TempDir()}
	p := startProgram(t)
	made(t, r, &state.State{ID: "c", Init: p.identify(t), PrivatePID: true})
	holder, err := state.Open(r.Root, "c")
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Lock(0); err != nil {
		t.Fatal(err)
	}
	go func() { // as a start that waits for a hook in the container
		<-p.ended
		_ = holder.Close()
	}()
	if err := r.Delete("c", true); err != nil {
		t.Fatal(err)
	}
	gone(t, r.Root+"/c")
}

func TestForcedDeleteOfADamagedState(t *testing.T) {
	for _, c := range []struct{ name, state string }{
		{"empty", ""},
		{"cut off", `{"version":1,"id":"c","ini`},
		{"of another container", `{"version":1,"id":"other"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &Runtime{Root: t.TempDir(), Warn: func(text string) { t.Errorf("warning: %s", text) }}
			cgroups := testCgroups(t)
			p := startProgram(t).join(t, cgroups)
			name := cgroups[0].Path[strings.LastIndexByte(cgroups[0].Path, '/'):]
			keepDamaged(t, r, c.state, `{"ociVersion":"1.0.0","root":{"path":"r"},"process":{"args":["x"],"cwd":"/","user":{"uid":0,"gid":0}},
				"linux":{"cgroupsPath":"`+name+`"}}`)
			if err := r.Delete("c", false); err == nil {
				t.Fatal("deleted without force")
			}
			if !p.lives() {
				t.Fatal("killed without force")
			}
			if err := r.Delete("c", true); err != nil {
				t.Fatal(err)
			}
			p.diedOf(t)
			gone(t, r.Root+"/c")
			goneCgroups(t, cgroups)
		})
	}
}

func TestForcedDeleteOfADamagedStateWithoutConfig(t *testing.T) {
	warnings := 0
	r := &Runtime{Root: t.TempDir(), Warn: func(string) { warnings++ }}
	keepDamaged(t, r, "{", "{")
	if err := r.Delete("c", true); err != nil {
		t.Fatal(err)
	}
	gone(t, r.Root+"/c")
	if warnings != 1 {
		t.Errorf("%d warnings, want 1: the cgroups are unknown", warnings)
	}
}

func keepDamaged(t *testing.T, r *Runtime, stateJSON, configJSON string) {
	t.Helper()
	dir := r.Root + "/c"
	err := errors.Join(os.Mkdir(dir, 0o711), os.WriteFile(dir+"/state.json", []byte(stateJSON), 0o600),
		os.WriteFile(dir+"/config.json", []byte(configJSON), 0o600))
	if err != nil {
		t.Fatal(err)
	}
}
