package root_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

// cgroupMount is where a controller's hierarchy is: of v1, or v2 alone.
func cgroupMount(controller string) string {
	if harness.CgroupV2.Probe() == nil {
		return "/sys/fs/cgroup"
	}
	return filepath.Join("/sys/fs/cgroup", controller)
}

// cgroupOf is the directory of a process's cgroup in a controller's hierarchy.
func cgroupOf(t *testing.T, pid int, controller string) string {
	t.Helper()
	v2 := harness.CgroupV2.Probe() == nil
	for line := range strings.Lines(proc(t, pid, "cgroup")) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if f[1] == controller || f[1] == "name="+controller || v2 && f[1] == "" {
			return filepath.Join(cgroupMount(controller), f[2])
		}
	}
	t.Fatalf("process %d has no %s cgroup", pid, controller)
	return ""
}

func needV1(t *testing.T) {
	t.Helper()
	harness.NeedRoot(t)
	if _, err := os.Stat("/sys/fs/cgroup/memory/memory.limit_in_bytes"); err != nil {
		t.Skip("reads the files of cgroup v1, which is not mounted here")
	}
}

func TestResources(t *testing.T) {
	needV1(t)
	c := start(t, func(s *specs.Spec) {
		s.Linux.Resources = &specs.LinuxResources{
			Memory:  &specs.LinuxMemory{Limit: new(int64(64 << 20)), Reservation: new(int64(32 << 20)), Swap: new(int64(128 << 20)), Swappiness: new(uint64(10))},
			CPU:     &specs.LinuxCPU{Shares: new(uint64(512)), Quota: new(int64(20000)), Period: new(uint64(50000)), Cpus: "0", Mems: "0"},
			Pids:    &specs.LinuxPids{Limit: new(int64(50))},
			BlockIO: &specs.LinuxBlockIO{ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{throttle(t, 1<<20)}},
		}
	})
	for file, want := range map[string]string{
		"memory/memory.limit_in_bytes":       "67108864",
		"memory/memory.soft_limit_in_bytes":  "33554432",
		"memory/memory.memsw.limit_in_bytes": "134217728",
		"memory/memory.swappiness":           "10",
		"cpu/cpu.shares":                     "512",
		"cpu/cpu.cfs_quota_us":               "20000",
		"cpu/cpu.cfs_period_us":              "50000",
		"cpuset/cpuset.cpus":                 "0",
		"cpuset/cpuset.mems":                 "0",
		"pids/pids.max":                      "50",
	} {
		controller, name := filepath.Split(file)
		equal(t, file, want, read(t, filepath.Join(cgroupOf(t, c.pid, filepath.Clean(controller)), name)))
	}
	if got := read(t, filepath.Join(cgroupOf(t, c.pid, "blkio"), "blkio.throttle.read_bps_device")); !strings.HasSuffix(got, " 1048576") {
		t.Errorf("blkio.throttle.read_bps_device is %q", got)
	}
	equal(t, "processors allowed", "0", status(t, c.pid, "Cpus_allowed_list"))
	equal(t, "exec is in it too", "in", c.exec("cut -d: -f3 /proc/self/cgroup >/tmp/a; cut -d: -f3 /proc/1/cgroup >/tmp/b; cmp /tmp/a /tmp/b && echo in"))
}

// throttle limits a block device that is there.
func throttle(t *testing.T, rate uint64) specs.LinuxThrottleDevice {
	t.Helper()
	devices, err := filepath.Glob("/sys/block/*/dev")
	if err != nil || len(devices) == 0 {
		t.Skip("no block device to limit")
	}
	d := specs.LinuxThrottleDevice{Rate: rate}
	major, minor, _ := strings.Cut(read(t, devices[len(devices)-1]), ":")
	d.Major, d.Minor = atoi(t, major), atoi(t, minor)
	return d
}

func TestPidsLimitHolds(t *testing.T) {
	// A failed fork ends busybox's shell: the inner one; grep then has room again.
	expect(t, "(for i in 1 2 3 4 5 6 7 8; do sleep 1 & done) 2>/tmp/e; grep -o \"can't fork\" /tmp/e", "can't fork", func(s *specs.Spec) {
		s.Linux.Resources.Pids = &specs.LinuxPids{Limit: new(int64(5))}
	})
}

func TestCgroupsPath(t *testing.T) {
	harness.NeedRoot(t)
	mount := cgroupMount("memory")
	own := strings.TrimPrefix(cgroupOf(t, os.Getpid(), "memory"), mount)
	if harness.CgroupV2.Probe() == nil {
		own = strings.TrimSuffix(filepath.Dir("/"+own), "/") // a cgroup with processes can't hand controllers on
	}
	for _, tc := range []struct{ name, path, want string }{
		{"absolute", "/gantry-test/ID", "/gantry-test/ID"},
		{"relative", "gantry-test/ID", own + "/gantry-test/ID"},
		{"default", "", own + "/ID"},
		{"climbing out", "/gantry-test/../../../ID", "/ID"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := harness.New(t)
			id := e.ID("c")
			with := func(s string) string { return strings.Replace(s, "ID", id, 1) }
			bundle := e.Bundle(sleeper, func(s *specs.Spec) { s.Linux.CgroupsPath = with(tc.path) })
			e.MustRun("run", "-d", "-b", bundle, id)
			dir := cgroupOf(t, e.State(id).Pid, "memory")
			equal(t, "cgroup", filepath.Join(mount, with(tc.want)), dir)
			if harness.CgroupV2.Probe() == nil {
				equal(t, "its controllers", read(t, mount+"/cgroup.controllers"), read(t, dir+"/cgroup.controllers"))
			}
			e.MustRun("delete", "--force", id)
			if _, err := os.Stat(dir); err == nil {
				t.Error("the cgroup outlives the container")
			}
			removeParents(t)
		})
	}
}

// removeParents removes the directories above the containers' cgroups that a runtime makes
// on the way and, since others may use them, leaves.
func removeParents(t *testing.T) {
	t.Helper()
	for _, pattern := range []string{"/sys/fs/cgroup/gantry-test", "/sys/fs/cgroup/*/gantry-test", "/sys/fs/cgroup/*/*/gantry-test", "/sys/fs/cgroup/*/*/*/gantry-test"} {
		dirs, _ := filepath.Glob(pattern)
		for _, d := range dirs {
			if err := os.Remove(d); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestCgroupIsRemovedWithTheContainer(t *testing.T) {
	c := start(t, nil)
	dir := cgroupOf(t, c.pid, "memory")
	// What the container made below its cgroup goes with it.
	if err := os.MkdirAll(filepath.Join(dir, "sub", "deeper"), 0o755); err != nil {
		t.Fatal(err)
	}
	c.MustRun("kill", c.id, "KILL")
	c.WaitStatus(c.id, specs.StateStopped)
	c.MustRun("delete", c.id)
	if _, err := os.Stat(dir); err == nil {
		t.Error("the cgroup outlives the container")
	}
}

func TestCgroupThatIsInUse(t *testing.T) {
	first := start(t, nil)
	path := strings.TrimPrefix(cgroupOf(t, first.pid, "memory"), cgroupMount("memory"))
	e := harness.New(t)
	r := e.Run("run", "-b", e.Bundle("true", func(s *specs.Spec) { s.Linux.CgroupsPath = path }), e.ID("c"))
	wantFailure(t, r, "cgroup is not empty")
	equal(t, "the first container", specs.StateRunning, first.State(first.id).Status)
	equal(t, "its cgroup", filepath.Join(cgroupMount("memory"), path), cgroupOf(t, first.pid, "memory"))
}

func TestSmallestMemoryLimit(t *testing.T) {
	e := harness.New(t)
	bundle := e.Bundle("", func(s *specs.Spec) {
		s.Process.Args = []string{"true"}
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: new(int64(256 << 10))}
	})
	e.MustRun("run", "-b", bundle, e.ID("run"))
	id := e.ID("create")
	e.MustRun("create", "-b", bundle, id)
	e.MustRun("start", id)
	e.WaitStatus(id, specs.StateStopped)
	e.MustRun("delete", id)
}

func TestMemoryLimitTooLowToStart(t *testing.T) {
	refuse(t, func(s *specs.Spec) {
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: new(int64(4096))}
	}, "OOM-killed (memory limit too low?)")
}

// TestProgramThatIsKilledAtOnce takes more memory than it may as soon as it runs: that is
// the program's end, not a failure of the start.
func TestProgramThatIsKilledAtOnce(t *testing.T) {
	e := harness.New(t)
	bundle := e.Bundle("", func(s *specs.Spec) {
		s.Process.Args = []string{"dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"}
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: new(int64(1 << 20)), Swap: new(int64(1 << 20))}
	})
	for i := range 10 {
		id := e.ID(strconv.Itoa(i))
		r := e.Run("run", "-b", bundle, id)
		equal(t, "run", harness.Result{Code: 137}, r)
		e.MustRun("create", "-b", bundle, id)
		e.MustRun("start", id)
		e.WaitStatus(id, specs.StateStopped)
		e.MustRun("delete", id)
	}
}

func TestMemoryLimitHolds(t *testing.T) {
	e := harness.New(t)
	r := e.Run("run", "-b", e.Bundle("head -c 64m /dev/zero | tail -c 64m >/dev/null; echo survived $?", func(s *specs.Spec) {
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: new(int64(8 << 20)), Swap: new(int64(8 << 20))}
	}), e.ID("c"))
	// The kernel chooses whom it kills: nearly always tail, which has the memory.
	if r.Stdout != "survived 137\n" && (r.Stdout != "" || r.Code != 137) {
		t.Errorf("%+v", r)
	}
}

func TestBadResource(t *testing.T) {
	for name, tc := range map[string]struct {
		edit  func(*specs.LinuxResources)
		field string
	}{
		"cpus that don't exist": {func(r *specs.LinuxResources) { r.CPU = &specs.LinuxCPU{Cpus: "999"} }, "linux.resources.cpu.cpus"},
		"swap below memory": {func(r *specs.LinuxResources) {
			r.Memory = &specs.LinuxMemory{Limit: new(int64(64 << 20)), Swap: new(int64(32 << 20))}
		}, "linux.resources.memory.swap"},
		"an unknown huge page size": {func(r *specs.LinuxResources) {
			r.HugepageLimits = []specs.LinuxHugepageLimit{{Pagesize: "3MB", Limit: 1}}
		}, "linux.resources.hugepageLimits"},
	} {
		t.Run(name, func(t *testing.T) { refuse(t, func(s *specs.Spec) { tc.edit(s.Linux.Resources) }, tc.field) })
	}
}

// TestAnOldOOMKillIsNotOurs runs a short program in a cgroup that was there before, with a
// kill in its count: the end of the program must not be taken for one more.
func TestAnOldOOMKillIsNotOurs(t *testing.T) {
	e := harness.New(t)
	id := e.ID("c")
	limit, kills := "memory.limit_in_bytes", "memory.oom_control"
	if harness.CgroupV2.Probe() == nil {
		limit, kills = "memory.max", "memory.events"
		e.MustRun("run", "-b", e.Bundle("true", nil), e.ID("first")) // hands the controllers on
	}
	dir := filepath.Join(cgroupMount("memory"), id)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(dir) }) // the container's end removes it, too
	const hog = `echo 1048576 >$0/$1; echo $$ >$0/cgroup.procs; head -c 64m /dev/zero | tail -c 64m >/dev/null`
	_ = exec.Command("sh", "-c", hog, dir, limit).Run()
	if count := read(t, filepath.Join(dir, kills)); !strings.Contains(count, "oom_kill 1") {
		t.Fatalf("nothing was killed: %s", count)
	}
	bundle := e.Bundle("", func(s *specs.Spec) {
		s.Process.Args = []string{"true"}
		s.Linux.CgroupsPath = "/" + id
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: new(int64(64 << 20))}
	})
	e.MustRun("run", "-b", bundle, id)
}
