package root_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// TestUpdateByFlags sets every flag, before and behind the id.
func TestUpdateByFlags(t *testing.T) {
	needV1(t)
	c := start(t, nil)
	c.MustRun("update", c.id, "--memory", "50M", "--memory-swap", "100m", "--memory-reservation", "1.5MiB", "--pids-limit", "40",
		"--cpu-period", "50000", "--cpu-quota", "20000", "--cpu-burst", "10000", "--cpu-share", "300", "--cpuset-cpus", "0", "--cpuset-mems", "0")
	c.MustRun("update", "--cpu-rt-period", "900000", "--cpu-rt-runtime=500", "--blkio-weight", "300", c.id)
	for file, want := range map[string]string{
		"memory.limit_in_bytes": "52428800", "memory.memsw.limit_in_bytes": "104857600", "memory.soft_limit_in_bytes": "1572864",
		"pids.max": "40", "cpu.cfs_period_us": "50000", "cpu.cfs_quota_us": "20000", "cpu.cfs_burst_us": "10000", "cpu.shares": "300",
		"cpuset.cpus": "0", "cpuset.mems": "0", "cpu.rt_period_us": "900000", "cpu.rt_runtime_us": "500", "blkio.bfq.weight": "300",
	} {
		path := limitFile(t, c.pid, file)
		if _, err := os.Stat(path); err == nil {
			equal(t, file, want, read(t, path))
		}
	}
	c.MustRun("update", c.id, "--cpu-idle", "1")
	equal(t, "cpu.idle", "1", read(t, limitFile(t, c.pid, "cpu.idle")))
	c.MustRun("update", c.id, "--memory", "-1", "--pids-limit", "-1", "--cpu-quota=-1")
	equal(t, "memory", "9223372036854771712", read(t, limitFile(t, c.pid, "memory.memsw.limit_in_bytes")))
	equal(t, "pids", "max", read(t, limitFile(t, c.pid, "pids.max")))
	equal(t, "quota", "-1", read(t, limitFile(t, c.pid, "cpu.cfs_quota_us")))
}

// TestUpdateReadsAFile, also one that is no regular file.
func TestUpdateReadsAFile(t *testing.T) {
	c := start(t, nil)
	file := filepath.Join(t.TempDir(), "r.json")
	write(t, file, `{"pids":{"limit":33}}`)
	c.MustRun("update", c.id, "-r", file, "--pids-limit", "5")
	equal(t, "pids.max", "33", read(t, limitFile(t, c.pid, "pids.max")))
	r := c.RunWith(func(cmd *exec.Cmd) { cmd.Stdin = strings.NewReader(`{"pids":{"limit":34}}` + "\n") }, "update", "--resources=/proc/self/fd/0", c.id)
	equal(t, "from a pipe", harness.Result{}, r)
	equal(t, "pids.max", "34", read(t, limitFile(t, c.pid, "pids.max")))
}

// TestUpdateInEveryStatus: only a stopped container has no limits to change.
func TestUpdateInEveryStatus(t *testing.T) {
	e := harness.New(t)
	c := &container{Env: e, t: t, id: e.ID("c"), bundle: e.Bundle(sleeper, nil)}
	wantFailure(t, c.tryUpdate(`{}`), "container does not exist")
	e.MustRun("create", "-b", c.bundle, c.id)
	c.pid = e.State(c.id).Pid
	limit := limitFile(t, c.pid, "pids.max")
	c.update(t, `{"pids":{"limit":31}}`)
	equal(t, "created", "31", read(t, limit))
	e.MustRun("start", c.id)
	c.update(t, `{"pids":{"limit":32}}`)
	equal(t, "running", "32", read(t, limit))
	e.MustRun("pause", c.id)
	c.update(t, `{"pids":{"limit":33}}`)
	equal(t, "paused", "33", read(t, limit))
	equal(t, "status", "paused", string(e.State(c.id).Status))
	e.MustRun("resume", c.id)
	e.MustRun("kill", c.id, "KILL")
	e.WaitStatus(c.id, specs.StateStopped)
	wantFailure(t, c.tryUpdate(`{"pids":{"limit":34}}`), "container not running")
}

// TestUpdateIsAllOrNothing: the kernel refuses the last of many changes.
func TestUpdateIsAllOrNothing(t *testing.T) {
	c := start(t, func(s *specs.Spec) {
		s.Linux.Resources = &specs.LinuxResources{
			Pids: &specs.LinuxPids{Limit: new(int64(50))}, Memory: &specs.LinuxMemory{Limit: new(int64(64 << 20))},
			CPU: &specs.LinuxCPU{Shares: new(uint64(512)), Cpus: "0"},
		}
	})
	var files []string
	for _, name := range []string{"pids.max", "memory.limit_in_bytes", "memory.max", "cpu.shares", "cpu.weight", "cpu.cfs_quota_us", "cpu.max", "cpuset.cpus"} {
		if path := limitFile(t, c.pid, name); unix.Access(path, unix.R_OK) == nil {
			files = append(files, path)
		}
	}
	values := func() (list []string) {
		for _, f := range files {
			list = append(list, f+": "+read(t, f))
		}
		return list
	}
	before, config := values(), read(t, filepath.Join(c.Root, c.id, "config.json"))
	const change = `{"pids":{"limit":60},"memory":{"limit":33554432},"cpu":{"shares":1000,"quota":50000,"cpus":"4095"}}`
	wantFailure(t, c.tryUpdate(change), "linux.resources.cpu.cpus")
	equal(t, "limits", before, values())
	equal(t, "config", config, read(t, filepath.Join(c.Root, c.id, "config.json")))
	// By a flag, its name is the one to tell.
	wantFailure(t, c.Run("update", c.id, "--pids-limit", "60", "--cpuset-cpus", "4095"), "--cpuset-cpus: ")
	equal(t, "limits", before, values())
}

// TestUpdateIsRemembered: what is not told again is what earlier updates made of it.
func TestUpdateIsRemembered(t *testing.T) {
	c := start(t, func(s *specs.Spec) {
		s.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(64 << 20)), Swap: new(int64(64 << 20))}}
	})
	c.update(t, `{"memory":{"limit":33554432,"swap":33554432},"cpu":{"quota":40000}}`)
	// Above the updated limit on both, below the original one.
	wantFailure(t, c.tryUpdate(`{"memory":{"limit":50331648}}`), "linux.resources.memory.swap")
	var spec specs.Spec
	if err := json.Unmarshal([]byte(read(t, filepath.Join(c.Root, c.id, "config.json"))), &spec); err != nil {
		t.Fatal(err)
	}
	equal(t, "kept limit", int64(32<<20), *spec.Linux.Resources.Memory.Limit)
	equal(t, "kept quota", int64(40000), *spec.Linux.Resources.CPU.Quota)
	equal(t, "kept command", sleeper, spec.Process.Args[2])
	equal(t, "exec still works", "ok", c.exec("echo ok"))
}

// TestUpdateAtTheSameTime: two changes do not lose each other.
func TestUpdateAtTheSameTime(t *testing.T) {
	c := start(t, nil)
	var wait sync.WaitGroup
	for i := range 10 {
		wait.Go(func() {
			change := fmt.Sprintf(`{"pids":{"limit":%d}}`, 100+i)
			if i%2 == 0 {
				change = fmt.Sprintf(`{"cpu":{"shares":%d}}`, 100+i)
			}
			cmd := exec.Command(harness.Runtime(t), "--root", c.Root, "update", "-r", "-", c.id)
			cmd.Stdin = strings.NewReader(change)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v %s", change, err, out)
			}
		})
	}
	wait.Wait()
	var spec specs.Spec
	if err := json.Unmarshal([]byte(read(t, filepath.Join(c.Root, c.id, "config.json"))), &spec); err != nil {
		t.Fatal(err)
	}
	if r := spec.Linux.Resources; r.Pids == nil || r.CPU == nil {
		t.Errorf("one change overwrote another: %+v", r)
	}
}

// TestUpdateDeviceRules changes what a running container may open.
func TestUpdateDeviceRules(t *testing.T) { deviceRulesUpdate(t, nil) }

// TestUpdateDeviceRulesV2 does so on a pure v2 machine, whatever this one is.
func TestUpdateDeviceRulesV2(t *testing.T) { deviceRulesUpdate(t, onV2) }

func deviceRulesUpdate(t *testing.T, with func(*exec.Cmd)) {
	e := harness.New(t)
	// /dev/zero is c 1:5, and the runtime allows it unless linux.devices names it.
	bundle := e.Bundle(`mknod /tmp/z c 1 5; `+sleeper, func(s *specs.Spec) {
		grant(s, "CAP_MKNOD")
		s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/zero", Type: "c", Major: 1, Minor: 5}}
		s.Linux.Resources = &specs.LinuxResources{}
	})
	id := e.ID("c")
	run := func(stdin string, args ...string) harness.Result {
		t.Helper()
		return e.RunWith(func(cmd *exec.Cmd) {
			cmd.Stdin = strings.NewReader(stdin)
			if with != nil {
				with(cmd)
			}
		}, args...)
	}
	must := func(stdin string, args ...string) string {
		t.Helper()
		r := run(stdin, args...)
		if r.Code != 0 {
			t.Fatalf("%v: %+v", args, r)
		}
		return strings.TrimSpace(r.Stdout)
	}
	defer run("", "delete", "--force", id) // where it finds the cgroup
	must("", "run", "-d", "-b", bundle, id)
	zero := func(want string) {
		t.Helper()
		const try = `while [ ! -e /tmp/z ]; do sleep 0.01; done; (head -c 1 /tmp/z >/dev/null && echo r) 2>/dev/null; (: >/tmp/z && echo w) 2>/dev/null; true`
		equal(t, "access", want, strings.ReplaceAll(must("", "exec", id, "sh", "-c", try), "\n", ""))
	}
	zero("")
	must(`{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":5,"access":"r"}]}`, "update", "-r", "-", id)
	zero("r")
	must(`{"pids":{}}`, "update", "-r", "-", id) // no devices: untouched
	zero("r")
	must(`{"devices":[{"allow":true,"type":"c","major":1,"minor":5,"access":"rw"}]}`, "update", "-r", "-", id)
	zero("rw")
	if r := run(`{"devices":[{"allow":true,"access":"x"}]}`, "update", "-r", "-", id); r.Code == 0 {
		t.Error("a wrong rule was accepted")
	}
	zero("rw")
	must(`{"devices":[]}`, "update", "-r", "-", id)
	zero("")
}

// TestUpdateLeavesRulesThatDoNotChange: a hook gave the container a GPU, and an engine sends the
// rules of the config along with a change of something else.
func TestUpdateLeavesRulesThatDoNotChange(t *testing.T) {
	needV1(t)
	const rules = `"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"b","major":8,"minor":0,"access":"r"}]`
	c := start(t, func(s *specs.Spec) {
		if err := json.Unmarshal([]byte("{"+rules+"}"), s.Linux.Resources); err != nil {
			t.Fatal(err)
		}
	})
	dir := cgroupOf(t, c.pid, "devices")
	if err := os.WriteFile(dir+"/devices.allow", []byte("c 195:0 rw"), 0); err != nil {
		t.Fatal(err)
	}
	c.update(t, `{`+rules+`,"pids":{"limit":77}}`)
	if list := read(t, dir+"/devices.list"); !strings.Contains(list, "c 195:0 rw") {
		t.Errorf("the hook's rule is lost:\n%s", list)
	}
	equal(t, "the change", "77", read(t, limitFile(t, c.pid, "pids.max")))
}

// TestUpdateMemoryInUseV1: the kernel refuses a limit that it can't free memory for.
func TestUpdateMemoryInUseV1(t *testing.T) {
	needV1(t)
	c := start(t, nil)
	wantFailure(t, c.Run("update", c.id, "--memory", "1k"), "--memory: unable to set memory limit to 1024 (current usage: ")
}

// TestUpdateMemoryCheckV2: with checkBeforeUpdate the same is refused on v2.
func TestUpdateMemoryCheckV2(t *testing.T) {
	c := start(t, nil)
	if unix.Access(limitFile(t, c.pid, "memory.current"), unix.R_OK) != nil {
		t.Skip("needs the memory controller of cgroup v2")
	}
	wantFailure(t, c.tryUpdate(`{"memory":{"limit":4096,"checkBeforeUpdate":true}}`), "linux.resources.memory.limit: rejecting memory limit 4096 < usage ")
	equal(t, "still runs", specs.StateRunning, c.State(c.id).Status)
}

// TestIntelRdtNeedsResctrl: this machine has none, so the field is refused before anything is made.
func TestIntelRdtNeedsResctrl(t *testing.T) {
	if b, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(b), " - resctrl ") {
		t.Skip("resctrl is mounted here")
	}
	refuse(t, func(s *specs.Spec) { s.Linux.IntelRdt = &specs.LinuxIntelRdt{ClosID: "/"} }, "linux.intelRdt: Intel RDT is not available")
	c := start(t, nil)
	wantFailure(t, c.Run("update", c.id, "--l3-cache-schema", "L3:0=f"), "--l3-cache-schema: Intel RDT/CAT: l3 cache schema is not enabled")
	wantFailure(t, c.Run("update", c.id, "--mem-bw-schema", "MB:0=20"), "--mem-bw-schema: Intel RDT/MBA: memory bandwidth schema is not enabled")
}
