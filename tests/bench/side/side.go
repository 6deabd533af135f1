// Package side is what the benchmarks of shims and managers compare: a manager with one shim and one OCI runtime.
package side

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

// Side is a manager of its own with one shim and one OCI runtime, in a cgroup that counts what they all cost.
type Side struct {
	*compat.Client
	t       testing.TB
	Name    string
	Version string // of the shim
	ctr     string
	cgroup  string // DIR/daemon holds containerd and the shims, DIR/ID each container
	count   int    // of container ids given out
	lasting int    // processes in DIR/daemon between two turns
}

// Cost is what a command took until the last process that it started had ended.
type Cost struct {
	CPU, Wall time.Duration // Wall is of the command alone
}

// Setup is what a side is made of.
type Setup struct {
	Name       string
	Generation compat.Generation
	Shim       string // path
	Runtime    string // path of the OCI runtime
	Root       string // where the manager's root directory is, if not with the rest below $TMPDIR
}

// New starts a manager, or containerd. Leftovers are an error of t.
func New(t testing.TB, setup Setup) *Side {
	t.Helper()
	daemon := compat.StartContainerdOn(t, setup.Generation, setup.Shim, setup.Root)
	version, err := exec.Command(setup.Shim, "-v").Output()
	if err != nil {
		t.Fatal(err)
	}
	s := &Side{
		Client: daemon.Client(setup.Runtime), t: t, Name: setup.Name, ctr: setup.Generation.Program(t, "ctr"),
		Version: strings.Join(strings.Fields(string(version)), " "), cgroup: "/" + daemon.Marker + "-bench",
	}
	if err := os.MkdirAll(s.counter("daemon"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.Count()
	return s
}

// Count has the counter count a daemon that was started just now.
func (s *Side) Count() {
	s.t.Helper()
	pid := strconv.Itoa(s.PID())
	if err := os.WriteFile(filepath.Join(s.counter("daemon"), "cgroup.procs"), []byte(pid), 0); err != nil {
		s.t.Fatal(err)
	}
	s.lasting = len(s.processes())
}

// counter is a cgroup of the side in the hierarchy that counts CPU time.
func (s *Side) counter(name string) string {
	top := "/sys/fs/cgroup"
	if _, err := os.Stat(top + "/cpuacct"); err == nil {
		top += "/cpuacct"
	}
	return filepath.Join(top, s.cgroup, name)
}

// Usage is the CPU time of a cgroup and those below it, dead ones included: cpuacct.usage of v1, cpu.stat of v2.
func (s *Side) Usage(name string) time.Duration {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.counter(name), "cpuacct.usage"))
	unit := time.Nanosecond
	if err != nil {
		text, err = os.ReadFile(filepath.Join(s.counter(name), "cpu.stat"))
		text = []byte(strings.TrimPrefix(strings.SplitN(string(text), "\n", 2)[0], "usage_usec "))
		unit = time.Microsecond
	}
	if err != nil {
		s.t.Fatal(err)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return time.Duration(n) * unit
}

// processes are containerd, and the shims and what they run outside of containers.
func (s *Side) processes() []string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.counter("daemon"), "cgroup.procs"))
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.Fields(string(text))
}

// settle waits until only processes remain that were there before.
func (s *Side) settle() {
	s.t.Helper()
	for deadline := time.Now().Add(harness.Limit(30 * time.Second)); len(s.processes()) > s.lasting; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: processes %v don't end", s.Name, s.processes())
		}
	}
}

// NewID gives out an id for a container, and the options that put it into the side's cgroup.
func (s *Side) NewID() (id string, options []string) {
	s.count++
	id = fmt.Sprintf("bench-%d", s.count)
	return id, []string{"--cgroup", s.cgroup + "/" + id, "--runc-binary", s.Runtime, "--runc-root", s.Env["RUNC_ROOT"], "--fifo-dir", s.Env["FIFOS"]}
}

// Measure runs ctr, and waits for what it has set off.
func (s *Side) Measure(args ...string) Cost {
	s.t.Helper()
	before := s.Usage("")
	cmd := s.Command(s.ctr, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	begin := time.Now()
	err := cmd.Run()
	c := Cost{Wall: time.Since(begin)}
	if err != nil {
		s.t.Fatalf("%s: %v: %v: %s", s.Name, args, err, stderr.String())
	}
	s.settle()
	c.CPU = s.Usage("") - before + cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return c
}

// Run runs `true` in a container.
func (s *Side) Run() Cost {
	s.t.Helper()
	id, options := s.NewID()
	return s.Measure(append(append([]string{"run", "--rm"}, options...), compat.ImageName, id, "true")...)
}

// Sleep starts a container that stays, with more options of `ctr run`, and returns its id.
func (s *Side) Sleep(more ...string) string {
	s.t.Helper()
	id, options := s.NewID()
	s.Ctr(append(append(append([]string{"run", "--detach"}, options...), more...), compat.ImageName, id, "sleep", "100000")...)
	s.Keep()
	return id
}

// Keep takes the processes that there are now for those that last.
func (s *Side) Keep() {
	s.t.Helper()
	s.lasting = len(s.processes())
}

// Remove ends a container that stayed.
func (s *Side) Remove(ids ...string) {
	s.t.Helper()
	for _, id := range ids {
		s.Ctr("tasks", "rm", "-f", id)
		s.Ctr("containers", "rm", id)
	}
	if !harness.Until(30*time.Second, func() bool { return len(s.processes()) <= s.lasting-len(ids) }) {
		s.t.Errorf("%s: shims of %v stay", s.Name, ids)
	}
	s.lasting = len(s.processes())
}
