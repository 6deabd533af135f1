package libcontainer

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/cgroup"
	"github.com/gantry-containers/gantry/libcontainer/host"
	"github.com/gantry-containers/gantry/libcontainer/state"
)

// program is a process that stands for one of a container's.
type program struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

func startProgram(t *testing.T) *program {
	t.Helper()
	p := &program{cmd: exec.Command("sleep", "600"), ended: make(chan struct{})}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // it is always killed
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
	})
	return p
}

func (p *program) identify(t *testing.T) state.Process {
	t.Helper()
	process, err := state.Identify(p.cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return process
}

// diedOf waits for the end of the program and returns the signal that caused it.
func (p *program) diedOf(t *testing.T) unix.Signal {
	t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal()
	case <-time.After(10 * time.Second):
		t.Fatal("the process is still there")
		return 0
	}
}

func (p *program) lives() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// made keeps the state of a hand-made container below r.Root.
func made(t *testing.T, r *Runtime, st *state.State) {
	t.Helper()
	dir, err := state.Create(r.Root, st.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := dir.Save(st); err != nil {
		t.Fatal(err)
	}
}

func statusIs(t *testing.T, r *Runtime, id string, want Status) {
	t.Helper()
	info, err := r.State(id)
	if err != nil {
		t.Fatal(err)
	}
	if info.Status != want {
		t.Errorf("status %s, want %s", info.Status, want)
	}
}

func gone(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
}

// testCgroups makes an empty cgroup in every hierarchy that the verbs use.
func testCgroups(t *testing.T) []state.CgroupPath {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making cgroups takes root")
	}
	facts, err := host.Probe()
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("/gantry-verbs-test-%d", os.Getpid())
	var paths []state.CgroupPath
	for _, controller := range []string{"devices", "freezer", "pids"} {
		h := facts.Cgroup.Find(controller)
		if h == nil {
			continue
		}
		path := state.CgroupPath{Hierarchy: h.Name, Path: h.Mount + name}
		if len(paths) > 0 && paths[0] == path {
			continue // cgroup v2 has them all
		}
		if err := os.Mkdir(path.Path, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(path.Path) }) // mostly gone by then
		paths = append(paths, path)
	}
	if len(paths) == 0 {
		t.Skip("no cgroup hierarchy with devices, freezer or pids")
	}
	return paths
}

func (p *program) join(t *testing.T, cgroups []state.CgroupPath) *program {
	t.Helper()
	for _, c := range cgroups {
		if err := os.WriteFile(c.Path+"/cgroup.procs", []byte(strconv.Itoa(p.cmd.Process.Pid)), 0); err != nil {
			t.Fatal(err)
		}
	}
	// A process that a failed test leaves frozen could not be killed.
	t.Cleanup(func() { _ = cgroup.FromState(cgroups).Thaw() })
	return p
}
