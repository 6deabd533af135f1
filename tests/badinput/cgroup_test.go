package badinput_test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

func TestALimitThatIsImpossible(t *testing.T) {
	e := harness.New(t)
	id := e.ID("a")
	bundle := e.Bundle(script, nil)
	for _, c := range []struct {
		name, want string
		resources  specs.LinuxResources
	}{
		{"swap below memory", "linux.resources.memory.swap: ", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(64 << 20)), Swap: new(int64(32 << 20))}}},
		{"a period that the kernel refuses", "linux.resources.cpu.period: ", specs.LinuxResources{CPU: &specs.LinuxCPU{Period: new(uint64(1))}}},
		{"a quota that the kernel refuses", "linux.resources.cpu.quota: ", specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: new(int64(1))}}},
		{"processors that are not there", "linux.resources.cpu.cpus: ", specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "4000"}}},
		{"processors that are no list", "linux.resources.cpu.cpus: ", specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "one"}}},
		{"memory nodes that are not there", "linux.resources.cpu.mems: ", specs.LinuxResources{CPU: &specs.LinuxCPU{Mems: "900"}}},
		{"huge pages of a size that is none", "linux.resources.hugepageLimits[0]: ", specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "3MB", Limit: 1}}}},
		{"pages of another file", "linux.resources.hugepageLimits", specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "../2MB", Limit: 1}}}},
		{"a unified file that is none", "linux.resources.unified", specs.LinuxResources{Unified: map[string]string{"memory.nothing": "1"}}},
		{"a unified file elsewhere", "linux.resources.unified", specs.LinuxResources{Unified: map[string]string{"../cgroup.procs": "1"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := at(e, t)
			e.EditConfig(bundle, func(s *specs.Spec) {
				s.Linux.Resources = &c.resources
			})
			for _, verb := range []string{"create", "run"} {
				refused(e, c.want, verb, "-b", bundle, id)
			}
		})
	}
	if ran(bundle) {
		t.Error("the program has run")
	}
}

func TestACgroupThatIsInUse(t *testing.T) {
	e := harness.New(t)
	id := e.ID("a")
	bundle := e.Bundle(script, func(s *specs.Spec) { s.Linux.CgroupsPath = "/" + id })
	t.Run("by a process", func(t *testing.T) {
		sleeper := exec.Command("sleep", "100")
		try(t, sleeper.Start())
		dir := ownCgroup(t, "pids", id)
		t.Cleanup(func() {
			_ = sleeper.Process.Kill()
			_ = sleeper.Wait()
			removeSoon(t, dir)
		})
		write(t, dir+"/cgroup.procs", []byte(strconv.Itoa(sleeper.Process.Pid)))
		a := &attempt{env: at(e, t), args: []string{"create", "-b", bundle, id}, leaves: true}
		a.refused("linux.cgroupsPath: container's cgroup is not empty: 1 process(es) found")
		onlyCgroup(a.env, dir)
	})
	t.Run("frozen", func(t *testing.T) {
		dir := ownCgroup(t, "freezer", id)
		t.Cleanup(func() { removeSoon(t, dir) })
		if harness.CgroupV2.Probe() == nil {
			write(t, dir+"/cgroup.freeze", []byte("1"))
		} else {
			write(t, dir+"/freezer.state", []byte("FROZEN"))
		}
		a := &attempt{env: at(e, t), args: []string{"create", "-b", bundle, id}, leaves: true}
		a.refused("linux.cgroupsPath: container's cgroup unexpectedly frozen")
		onlyCgroup(a.env, dir)
	})
	works(e, id, bundle)
}

// ownCgroup makes a cgroup in the controller's hierarchy of v1, or of v2 where that is alone.
func ownCgroup(t *testing.T, controller, name string) string {
	t.Helper()
	dir := "/sys/fs/cgroup/" + controller + "/" + name
	if harness.CgroupV2.Probe() == nil {
		dir = "/sys/fs/cgroup/" + name
	}
	try(t, os.Mkdir(dir, 0o755))
	return dir
}

func removeSoon(t *testing.T, dir string) {
	t.Helper()
	var err error
	if !harness.Until(time.Second, func() bool {
		err = unix.Rmdir(dir)
		return err == nil
	}) {
		t.Errorf("rmdir %s: %v", dir, err)
	}
}

// onlyCgroup wants nothing but the test's own cgroup to be left.
func onlyCgroup(e *harness.Env, dir string) {
	e.T.Helper()
	if left := e.Leftovers(); len(left) != 1 || left[0] != "cgroup "+dir {
		e.T.Errorf("left behind: %q", left)
	}
}

func TestCgroupsThatCannotBeWritten(t *testing.T) {
	e := harness.New(t)
	bundle, id := e.Bundle(script, nil), e.ID("a")
	const readOnly = `dirs=/sys/fs/cgroup; [ -e $dirs/cgroup.controllers ] || dirs=$(ls -d /sys/fs/cgroup/*/); for d in $dirs; do mount --bind $d $d; mount -o remount,bind,ro $d; done`
	for _, verb := range []string{"create", "run"} {
		a := &attempt{env: e, args: []string{verb, "-b", bundle, id}, change: privately(readOnly)}
		a.refused("linux.cgroupsPath: mkdir /sys/fs/cgroup/")
	}
}

func TestACgroupsPathThatIsTooLong(t *testing.T) {
	e := harness.New(t)
	id := e.ID("a")
	bundle := e.Bundle(script, func(s *specs.Spec) {
		s.Linux.CgroupsPath = "/" + id
		s.Linux.CgroupsPath += strings.Repeat("/x", 2100)
	})
	refused(e, "linux.cgroupsPath: mkdir /sys/fs/cgroup/", "create", "-b", bundle, id)
}

func TestAPidsLimitTooLowForTheContainer(t *testing.T) {
	e := harness.New(t)
	id := e.ID("a")
	// One process is the shell; it cannot fork.
	bundle := e.Bundle("touch /ran; ls /; exit 7", func(s *specs.Spec) {
		s.Linux.Resources = &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: new(int64(1))}}
	})
	if r := e.Run("run", "-b", bundle, id); r.Code == 0 {
		t.Errorf("exit %d, %s", r.Code, r.Stderr)
	}
	nothingLeft(e)
	// Nor can the runtime, when the limit is on itself.
	dir := ownCgroup(t, "pids", e.ID("caller"))
	defer removeSoon(t, dir)
	write(t, dir+"/pids.max", []byte("1"))
	a := &attempt{env: e, args: []string{"create", "-b", bundle, id}, leaves: true, change: privately("echo $$ >" + dir + "/cgroup.procs")}
	r := e.RunWith(a.change, a.args...)
	if r.Code == 0 {
		t.Error("create worked without a thread")
	}
	t.Logf("exit %d: %.200s", r.Code, r.Stderr)
	noState(e, id)
}

func TestAMemoryLimitTooLowForTheProgram(t *testing.T) {
	e := harness.New(t)
	id := e.ID("a")
	bundle := e.Bundle(script, func(s *specs.Spec) {
		s.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(4096))}}
	})
	// The kernel ends it where execve can fail no more.
	const text = "linux.resources.memory.limit: container init was OOM-killed (memory limit too low?)"
	for range 5 {
		refused(e, text, "run", "-b", bundle, id)
	}
	// So little is a limit that waiting for start can already be too much, and on cgroup v2 what
	// comes before.
	if r := e.Run("create", "-b", bundle, id); r.Code != 0 {
		if r.Code != 1 || !strings.Contains(r.Stderr, text) {
			t.Errorf("create: exit %d: %s", r.Code, r.Stderr)
		}
		nothingLeft(e)
		return
	}
	if r := e.Run("start", id); r.Code != 1 || !strings.Contains(r.Stderr, text) && !strings.Contains(r.Stderr, "has stopped") {
		t.Errorf("start: exit %d: %s", r.Code, r.Stderr)
	}
	e.WaitStatus(id, specs.StateStopped)
	e.MustRun("delete", id)
	nothingLeft(e)
	if ran(bundle) {
		t.Error("the program has run")
	}
}
