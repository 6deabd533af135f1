package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/mountinfo"
	"github.com/gantry-containers/gantry/tests/harness"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// recorded makes a cgroup's directory of files that were recorded on a kernel.
func recorded(t testing.TB, archive string) (dir string) {
	t.Helper()
	a, err := txtar.ParseFile(archive)
	check(t, err)
	dir = t.TempDir()
	for _, f := range a.Files {
		check(t, os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600))
	}
	return dir
}

// group is a cgroup of the machine, in all of its hierarchies, with one process.
type group struct {
	name string
	dirs []string
	cmd  *exec.Cmd
}

// newGroup makes a cgroup; it goes with the test.
func newGroup(t testing.TB) *group {
	t.Helper()
	harness.NeedRoot(t)
	mounted, err := hierarchies(mountinfo.Self)
	check(t, err)
	g := &group{name: fmt.Sprintf("/gantry-shim-%d-%d", os.Getpid(), time.Now().UnixNano())}
	for _, h := range mounted {
		dir := h.point + g.name
		if h.has("cpuset") {
			continue // it has no processors before it is told so
		}
		check(t, os.Mkdir(dir, 0o755))
		g.dirs = append(g.dirs, dir)
	}
	t.Cleanup(func() { g.remove(t) })
	return g
}

// run starts a shell in the cgroup.
func (g *group) run(t testing.TB, script string) {
	t.Helper()
	g.cmd = exec.Command("sh", "-c", "read go; "+script)
	in, err := g.cmd.StdinPipe()
	check(t, err)
	check(t, g.cmd.Start())
	check(t, Join(g.name, g.cmd.Process.Pid))
	check(t, os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", g.cmd.Process.Pid), []byte("1000"), 0))
	_, err = in.Write([]byte("go\n"))
	check(t, err)
}

// end kills the processes.
func (g *group) end() {
	if g.cmd != nil {
		_ = g.cmd.Process.Kill()
		_ = g.cmd.Wait()
		g.cmd = nil
	}
	for _, dir := range g.dirs {
		procs, _ := os.ReadFile(dir + "/cgroup.procs")
		for pid := range strings.FieldsSeq(string(procs)) {
			n, _ := strconv.Atoi(pid)
			_ = unix.Kill(n, unix.SIGKILL)
		}
	}
}

// remove removes the cgroup. A process that was killed is in it for a moment more.
func (g *group) remove(t testing.TB) {
	t.Helper()
	g.end()
	for _, dir := range g.dirs {
		var err error
		if !harness.Until(10*time.Second, func() bool {
			err = os.Remove(dir)
			return err == nil || errors.Is(err, fs.ErrNotExist)
		}) {
			t.Error(err)
		}
	}
}

// set writes a file of a v1 controller, or of v2.
func (g *group) set(t testing.TB, controller, file, value string) {
	t.Helper()
	check(t, os.WriteFile(filepath.Join(g.dir(t, controller), file), []byte(value), 0))
}

// dir is the cgroup's directory in the hierarchy of a controller, "" being v2, or "" where that is not mounted.
func (g *group) dir(t testing.TB, controller string) string {
	t.Helper()
	mounted, err := hierarchies(mountinfo.Self)
	check(t, err)
	self := []member{{controller: controller, name: g.name}}
	for i := range mounted {
		place(&mounted[i], self)
	}
	return self[0].dir
}

// limited sets limits of memory, processes and processor time.
func (g *group) limited(t testing.TB) *Cgroup {
	t.Helper()
	c, err := g.find()
	check(t, err)
	if c.unified != "" {
		g.set(t, "", "memory.max", "67108864")
		g.set(t, "", "pids.max", "50")
		g.set(t, "", "cpu.max", "20000 100000")
		return c
	}
	for _, f := range [][3]string{
		{"memory", "memory.limit_in_bytes", "67108864"}, {"pids", "pids.max", "50"}, {"cpu", "cpu.cfs_quota_us", "20000"},
	} {
		g.set(t, f[0], f[1], f[2])
	}
	// Linux counts a device's requests here where one has a limit.
	var st unix.Stat_t
	check(t, unix.Stat("/var/tmp", &st))
	major, minor := uint64(unix.Major(st.Dev)), unix.Minor(st.Dev)
	if _, ok := deviceNames()[[2]uint64{major, uint64(minor)}]; ok {
		g.set(t, "blkio", "blkio.throttle.write_bps_device", fmt.Sprintf("%d:%d 1000000000", major, minor))
	}
	return c
}

// find is the cgroup as it is found for a process in it.
func (g *group) find() (*Cgroup, error) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if err := Join(g.name, cmd.Process.Pid); err != nil {
		return nil, err
	}
	return Of(cmd.Process.Pid)
}

// runBusy runs a process that uses processor, memory and disk, and waits until it rests.
func (g *group) runBusy(t testing.TB) {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "gantry-shim-") //nolint:usetesting // a temporary folder can be a tmpfs
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := dir + "/data"
	g.run(t, strings.ReplaceAll(busy, `"$0`, `"`+file))
	if !harness.Until(60*time.Second, func() bool { _, err := os.Stat(file + ".done"); return err == nil }) {
		t.Fatal("the process did not get ready")
	}
}
