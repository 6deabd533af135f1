package root_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

// needSystemd skips where systemd is not process 1: the tests here have it make scopes.
func needSystemd(t *testing.T) {
	t.Helper()
	harness.NeedRoot(t)
	harness.Need(t, harness.Systemd)
}

// show is one property of a unit.
func show(t *testing.T, unit, property string) string {
	t.Helper()
	args := []string{"show", "--value", "-p", property, unit}
	out, err := exec.Command("systemctl", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("systemctl %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func systemctl(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("systemctl", args...).CombinedOutput(); err != nil {
		t.Fatalf("systemctl %v: %v: %s", args, err, out)
	}
}

// wantNoUnit waits for systemd to have forgotten a unit, and wants its cgroup gone.
func wantNoUnit(t *testing.T, unit string) {
	t.Helper()
	eventually(t, unit+" is forgotten", func() bool { return show(t, unit, "LoadState") == "not-found" })
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == unit {
			t.Errorf("cgroup left: %s", path)
		}
		return nil
	})
}

// unified is the v2 cgroup of a process.
func unified(t *testing.T, pid int) string {
	t.Helper()
	for line := range strings.Lines(proc(t, pid, "cgroup")) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSpace(path)
		}
	}
	return ""
}

// inScope starts a container in a scope; later commands are not told of systemd.
func inScope(t *testing.T, edit change) *container {
	t.Helper()
	needSystemd(t)
	return startScope(t, harness.New(t), edit, "--systemd-cgroup")
}

func startScope(t *testing.T, e *harness.Env, edit change, flags ...string) *container {
	t.Helper()
	c := &container{Env: e, t: t, id: e.ID("c"), bundle: e.Bundle(sleeper, edit)}
	e.MustRun(append(flags, "run", "-d", "-b", c.bundle, c.id)...)
	c.pid = e.State(c.id).Pid
	return c
}

func TestSystemdScope(t *testing.T) {
	c := inScope(t, nil)
	unit := "runc-" + c.id + ".scope"
	at := "/system.slice/" + unit
	equal(t, "cgroup", at, unified(t, c.pid))
	equal(t, "state", "active", show(t, unit, "ActiveState"))
	equal(t, "slice", "system.slice", show(t, unit, "Slice"))
	equal(t, "delegated", "yes", show(t, unit, "Delegate"))
	equal(t, "cgroup of an exec'ed process", at, unified(t, c.execDetached("sleep", "1000")))
	if pids := c.MustRun("ps", "-f", "json", c.id); !strings.Contains(pids, fmt.Sprint(c.pid)) {
		t.Errorf("ps: %s lacks %d", pids, c.pid)
	}
	c.MustRun("pause", c.id)
	equal(t, "paused", specs.ContainerState("paused"), c.State(c.id).Status)
	c.MustRun("resume", c.id)
	c.MustRun("kill", c.id, "KILL")
	c.WaitStatus(c.id, specs.StateStopped)
	// systemd needs nobody to tell it that the scope is empty.
	wantNoUnit(t, unit)
	c.MustRun("delete", c.id)
}

// execDetached runs a program in the container and returns its pid on the host.
func (c *container) execDetached(args ...string) int {
	c.t.Helper()
	file := filepath.Join(c.t.TempDir(), "pid")
	c.MustRun(append([]string{"exec", "-d", "--pid-file", file, c.id}, args...)...)
	return int(atoi(c.t, read(c.t, file)))
}

func TestSystemdDeleteStopsTheScope(t *testing.T) {
	for name, end := range map[string]func(*container){
		"of a running container":  func(c *container) { c.MustRun("delete", "--force", c.id) },
		"of a frozen container":   func(c *container) { c.MustRun("pause", c.id); c.MustRun("delete", "--force", c.id) },
		"that has cgroups within": func(c *container) { makeSubCgroup(c); c.MustRun("delete", "--force", c.id) },
	} {
		t.Run(name, func(t *testing.T) {
			c := inScope(t, nil)
			end(c)
			equal(t, "LoadState", "not-found", show(t, "runc-"+c.id+".scope", "LoadState"))
			wantNoUnit(t, "runc-"+c.id+".scope")
		})
	}
}

func makeSubCgroup(c *container) {
	c.t.Helper()
	if err := os.MkdirAll("/sys/fs/cgroup"+unified(c.t, c.pid)+"/sub/deeper", 0o755); err != nil {
		c.t.Fatal(err)
	}
}

// hostCgroups leaves out the cgroup namespace that `spec` asks for on cgroup v2, ownCgroups
// adds it where it does not.
func hostCgroups(s *specs.Spec) {
	s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.CgroupNamespace })
}

func ownCgroups(s *specs.Spec) {
	hostCgroups(s)
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
}

func TestSystemdRunEndsWithoutAUnit(t *testing.T) {
	needSystemd(t)
	e := harness.New(t)
	for _, flags := range [][]string{{"--systemd-cgroup"}, {"--cgroup-manager", "systemd"}} {
		id := e.ID("c")
		out := e.MustRun(append(flags, "run", "-b", e.Bundle("grep ^0: /proc/self/cgroup", hostCgroups), id)...)
		equal(t, "cgroup", "0::/system.slice/runc-"+id+".scope\n", out)
		wantNoUnit(t, "runc-"+id+".scope")
	}
}

func TestSystemdCgroupsPath(t *testing.T) {
	needSystemd(t)
	e := harness.New(t)
	name := strings.ReplaceAll(e.ID("name"), "-", "_")
	c := startScope(t, e, func(s *specs.Spec) { s.Linux.CgroupsPath = "gantrytest-pods.slice:cri:" + name }, "--systemd-cgroup")
	t.Cleanup(func() { systemctl(t, "stop", "gantrytest.slice") })
	equal(t, "cgroup", "/gantrytest.slice/gantrytest-pods.slice/cri-"+name+".scope", unified(t, c.pid))
	c.MustRun("delete", "--force", c.id)
	wantNoUnit(t, "cri-"+name+".scope")
}

func TestSystemdCgroupNamespace(t *testing.T) {
	c := inScope(t, ownCgroups)
	equal(t, "cgroup inside", "0::/", c.exec("grep ^0: /proc/1/cgroup"))
	equal(t, "cgroup of an exec'ed process", "0::/", c.exec("grep ^0: /proc/self/cgroup"))
	if at := unified(t, c.pid); !strings.HasSuffix(at, ".scope") {
		t.Errorf("cgroup on the host is %q", at)
	}
	equal(t, "what is mounted", "1", c.exec("cat /sys/fs/cgroup/cgroup.procs | head -n 1"))
}

// limitFiles are what limited leaves in a cgroup.
var limitFiles = map[string]string{
	"memory.max": "67108864", "memory.low": "33554432", "memory.high": "50003968", "memory.swap.max": "67108864",
	"cpu.weight": "59", "cpu.max": "20000 50000", "cpuset.cpus": "0", "cpuset.mems": "0", "pids.max": "50",
}

func limited(s *specs.Spec) {
	s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: new(int64(64 << 20)), Reservation: new(int64(32 << 20)), Swap: new(int64(128 << 20))}
	s.Linux.Resources.CPU = &specs.LinuxCPU{Shares: new(uint64(512)), Quota: new(int64(20000)), Period: new(uint64(50000)), Cpus: "0", Mems: "0"}
	s.Linux.Resources.Pids = &specs.LinuxPids{Limit: new(int64(50))}
	s.Linux.Resources.Unified = map[string]string{"memory.high": "50003968"}
}

// wantLimits compares the files of a cgroup with limitFiles.
func wantLimits(t *testing.T, when, dir string) {
	t.Helper()
	for file, want := range limitFiles {
		equal(t, when+": "+file, want, read(t, filepath.Join("/sys/fs/cgroup", dir, file)))
	}
}

// TestSystemdLimitsSurviveDaemonReload: systemd writes its own idea of a unit at each reload,
// so it must have the container's.
func TestSystemdLimitsSurviveDaemonReload(t *testing.T) {
	c := inScope(t, limited)
	wantLimits(t, "at the start", unified(t, c.pid))
	equal(t, "MemoryMax", "67108864", show(t, "runc-"+c.id+".scope", "MemoryMax"))
	systemctl(t, "daemon-reload")
	// A change of another property makes systemd write them all.
	systemctl(t, "set-property", "--runtime", "runc-"+c.id+".scope", "CPUAccounting=yes")
	wantLimits(t, "after a reload", unified(t, c.pid))
	c.MustRun("delete", "--force", c.id)
}

// TestSystemdUpdateSurvivesDaemonReload: update changes what systemd knows, not the files alone.
func TestSystemdUpdateSurvivesDaemonReload(t *testing.T) {
	c := inScope(t, limited)
	unit, dir := "runc-"+c.id+".scope", filepath.Join("/sys/fs/cgroup", unified(t, c.pid))
	c.MustRun("update", c.id, "--memory", "96M", "--memory-swap", "192M", "--pids-limit", "77", "--cpu-quota", "33300", "--cpu-period", "100000")
	check := func(when string) {
		t.Helper()
		for file, want := range map[string]string{
			"memory.max": "100663296", "memory.swap.max": "100663296", "pids.max": "77", "cpu.weight": "59", "memory.high": "50003968",
		} {
			equal(t, when+": "+file, want, read(t, filepath.Join(dir, file)))
		}
	}
	check("after the update")
	equal(t, "cpu.max, which systemd would round", "33300 100000", read(t, filepath.Join(dir, "cpu.max")))
	equal(t, "MemoryMax", "100663296", show(t, unit, "MemoryMax"))
	equal(t, "TasksMax", "77", show(t, unit, "TasksMax"))
	systemctl(t, "daemon-reload")
	systemctl(t, "set-property", "--runtime", unit, "CPUAccounting=yes")
	check("after a reload")
	// One that the kernel refuses changes neither the files nor the unit.
	if r := c.Run("update", c.id, "--pids-limit", "55", "--cpuset-cpus", "4000"); r.Code == 0 {
		t.Error("a CPU that is not there was taken")
	}
	check("after a refusal")
	equal(t, "TasksMax after a refusal", "77", show(t, unit, "TasksMax"))
}

// TestSystemdDevicesSurviveDaemonReload: what the rules allow stays allowed, what they deny
// denied. The device is the kernel's log, which no default rule allows.
func TestSystemdDevicesSurviveDaemonReload(t *testing.T) {
	const kmsg = 11
	c := inScope(t, func(s *specs.Spec) {
		grant(s, "CAP_MKNOD", "CAP_SYSLOG")
		s.Linux.Resources.Devices = append(s.Linux.Resources.Devices,
			specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: new(int64(1)), Minor: new(int64(kmsg)), Access: "rwm"})
	})
	const try = "(: </dev/test-$n) 2>/tmp/e && echo $n allowed || grep -o 'not permitted' /tmp/e; "
	c.exec("mknod /dev/test-kmsg c 1 11; mknod /dev/test-console c 5 1; mknod /dev/test-zero c 1 5")
	check := func(when string) {
		t.Helper()
		got := c.exec("for n in kmsg zero console; do " + try + " done")
		equal(t, when, "kmsg allowed\nzero allowed\nnot permitted", got)
	}
	check("at the start")
	systemctl(t, "daemon-reload")
	systemctl(t, "set-property", "--runtime", "runc-"+c.id+".scope", "CPUAccounting=yes")
	check("after a reload")
}

func TestSystemdAnnotatedProperties(t *testing.T) {
	c := inScope(t, func(s *specs.Spec) {
		s.Annotations = map[string]string{
			"org.systemd.property.TimeoutStopSec": "7", "org.systemd.property.Description": "'my own'",
			"org.systemd.property.After": "['basic.target']",
		}
	})
	unit := "runc-" + c.id + ".scope"
	equal(t, "TimeoutStopUSec", "7s", show(t, unit, "TimeoutStopUSec"))
	equal(t, "Description", "my own", show(t, unit, "Description"))
	if after := show(t, unit, "After"); !strings.Contains(after, "basic.target") {
		t.Errorf("After=%s", after)
	}
	for name, value := range map[string]string{"Bogus": "true", "TimeoutStopSec": "'x'"} {
		e := harness.New(t)
		bundle := e.Bundle("echo started", func(s *specs.Spec) {
			s.Annotations = map[string]string{"org.systemd.property." + name: value}
		})
		id := e.ID("c")
		wantFailure(t, e.Run("--systemd-cgroup", "run", "-b", bundle, id), `annotations[\"org.systemd.property.`+name+`\"]`)
		wantNoUnit(t, "runc-"+id+".scope")
	}
}

func TestSystemdUnitInUse(t *testing.T) {
	first := inScope(t, nil)
	e := harness.New(t)
	bundle := e.Bundle("echo started", func(s *specs.Spec) { s.Linux.CgroupsPath = ":runc:" + first.id })
	r := e.Run("--systemd-cgroup", "run", "-b", bundle, e.ID("c"))
	wantFailure(t, r, "linux.cgroupsPath", "runc-"+first.id+".scope")
	equal(t, "the first container", specs.StateRunning, first.State(first.id).Status)
	equal(t, "its unit", "active", show(t, "runc-"+first.id+".scope", "ActiveState"))
}

func TestSystemdSmallestMemoryLimit(t *testing.T) {
	needSystemd(t)
	e := harness.New(t)
	id := e.ID("c")
	e.MustRun("--systemd-cgroup", "run", "-b", e.Bundle("", func(s *specs.Spec) {
		s.Process.Args = []string{"true"}
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: new(int64(256 << 10))}
	}), id)
	wantNoUnit(t, "runc-"+id+".scope")
}

func TestSystemdMemoryLimitTooLowToStart(t *testing.T) {
	needSystemd(t)
	e := harness.New(t)
	id := e.ID("c")
	r := e.Run("--systemd-cgroup", "run", "-b", e.Bundle("echo started", func(s *specs.Spec) {
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: new(int64(4096))}
	}), id)
	wantFailure(t, r, "linux.resources.memory.limit")
	wantNoUnit(t, "runc-"+id+".scope")
}

// TestSystemdCreateKilled kills create at many moments: what it made then ends by itself, or
// by delete --force.
func TestSystemdCreateKilled(t *testing.T) {
	needSystemd(t)
	e := harness.New(t)
	bundle := e.Bundle(sleeper, nil)
	for i := range 25 {
		id := e.ID(fmt.Sprintf("k%d", i))
		cmd := exec.Command(harness.Runtime(t), "--root", e.Root, "--systemd-cgroup", "create", "-b", bundle, id)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(harness.Slow(time.Duration(i) * 2 * time.Millisecond))
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		e.MustRun("delete", "--force", id)
		wantNoUnit(t, "runc-"+id+".scope")
	}
}

// user is the ordinary user that the virtual machine has, with a service manager of its own.
const user = 1000

// newUserSession is a runtime as that user has it.
func newUserSession(t *testing.T) *rootless {
	t.Helper()
	needSystemd(t)
	dir := fmt.Sprintf("/run/user/%d", user)
	if _, err := os.Stat(dir + "/systemd/private"); err != nil {
		t.Skipf("user %d has no service manager: %v", user, err)
	}
	home := t.TempDir()
	return newRootlessAs(t, user, home, dir)
}

func TestSystemdRootless(t *testing.T) {
	r := newUserSession(t)
	id := r.ID("c")
	bundle := r.bundle(sleeper, func(s *specs.Spec) {
		s.Linux.Resources = &specs.LinuxResources{}
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: new(int64(64 << 20))}
		s.Linux.Resources.Pids = &specs.LinuxPids{Limit: new(int64(50))}
		ownCgroups(s)
	})
	r.must("--systemd-cgroup", "run", "-d", "-b", bundle, id)
	pid := r.State(id).Pid
	at := unified(t, pid)
	want := fmt.Sprintf("/user.slice/user-%d.slice/user@%d.service/user.slice/runc-%s.scope", user, user, id)
	equal(t, "cgroup", want, at)
	equal(t, "memory.max", "67108864", read(t, "/sys/fs/cgroup"+at+"/memory.max"))
	equal(t, "pids.max", "50", read(t, "/sys/fs/cgroup"+at+"/pids.max"))
	equal(t, "cgroup inside", "0::/", r.must("exec", id, "grep", "^0:", "/proc/1/cgroup"))
	equal(t, "cgroup of an exec'ed process", "0::/", r.must("exec", id, "grep", "^0:", "/proc/self/cgroup"))
	r.must("pause", id)
	equal(t, "paused", specs.ContainerState("paused"), r.State(id).Status)
	r.must("resume", id)
	r.must("kill", id, "KILL")
	r.WaitStatus(id, specs.StateStopped)
	r.must("delete", id)
	if _, err := os.Stat("/sys/fs/cgroup" + at); err == nil {
		t.Error("the cgroup outlives the container")
	}
}

func TestSystemdRootlessDelete(t *testing.T) {
	r := newUserSession(t)
	id := r.ID("c")
	r.must("--systemd-cgroup", "run", "-d", "-b", r.bundle(sleeper, nil), id)
	at := unified(t, r.State(id).Pid)
	r.must("delete", "--force", id)
	if _, err := os.Stat("/sys/fs/cgroup" + at); err == nil {
		t.Error("the cgroup outlives the container")
	}
}

func TestSystemdRootlessInOwnCgroup(t *testing.T) {
	r := newUserSession(t)
	id := r.ID("c")
	bundle := r.bundle(sleeper, hostCgroups)
	// As a terminal of the user's own, or conmon, has it: below user@.service already.
	own := func(args ...string) string {
		t.Helper()
		res := r.RunWith(func(cmd *exec.Cmd) {
			r.become(cmd)
			cmd.Args = append([]string{"systemd-run", "--user", "--scope", "-q", cmd.Path}, cmd.Args[1:]...)
			cmd.Path = "/usr/bin/systemd-run"
		}, args...)
		if res.Code != 0 {
			t.Fatalf("%v: %+v", args, res)
		}
		return strings.TrimSpace(res.Stdout)
	}
	own("--systemd-cgroup", "run", "-d", "-b", bundle, id)
	at := unified(t, r.State(id).Pid)
	equal(t, "cgroup of an exec'ed process", "0::"+at, own("exec", id, "grep", "^0:", "/proc/self/cgroup"))
	own("delete", "--force", id)
}

func TestSystemdOfNobody(t *testing.T) {
	needSystemd(t)
	r := newRootless(t)
	res := r.as("--systemd-cgroup", "run", "-b", r.bundle("echo started", nil), r.ID("c"))
	wantFailure(t, res, "linux.cgroupsPath", "systemd is not running as the service manager here for this user")
}

func TestNoSystemd(t *testing.T) {
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		t.Skip("systemd runs here")
	}
	e := harness.New(t)
	r := e.Run("--systemd-cgroup", "run", "-b", e.Bundle("echo started", nil), e.ID("c"))
	wantFailure(t, r, "--systemd-cgroup: systemd is not running")
}

// TestSystemdRestoreMakesAScope: what goes on after a checkpoint is in a scope of its own
// again, with the limits of its config.
func TestSystemdRestoreMakesAScope(t *testing.T) {
	needSystemd(t)
	harness.Need(t, harness.CRIU)
	e := harness.New(t)
	c := &checkpointed{&container{Env: e, t: t, id: e.ID("c"), bundle: e.Bundle(counting, limited)}, filepath.Join(t.TempDir(), "images")}
	e.MustRun("--systemd-cgroup", "run", "-d", "-b", c.bundle, c.id)
	c.counts()
	n := c.checkpoint()
	unit := "runc-" + c.id + ".scope"
	wantNoUnit(t, unit)
	c.succeed("--systemd-cgroup", "restore", "-d", "--image-path", c.images, "-b", c.bundle, c.id)
	if m := c.counts(); m < n {
		t.Errorf("it counted to %d before, and to %d after", n, m)
	}
	c.pid = c.State(c.id).Pid
	equal(t, "cgroup", "/system.slice/"+unit, unified(t, c.pid))
	equal(t, "MemoryMax", "67108864", show(t, unit, "MemoryMax"))
	wantLimits(t, "after the restore", unified(t, c.pid))
	c.MustRun("delete", "--force", c.id)
	wantNoUnit(t, unit)
}
