package root_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// schedulerOf is what the kernel says of a process's scheduling.
func schedulerOf(t *testing.T, pid int) string {
	t.Helper()
	a, err := unix.SchedGetAttr(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("policy %d nice %d priority %d flags %#x deadline %d/%d/%d", a.Policy, a.Nice, a.Priority, a.Flags&0x7, a.Runtime, a.Deadline, a.Period)
}

// ioPriorityOf is class and level, ioprio_get(2).
func ioPriorityOf(t *testing.T, pid int) string {
	t.Helper()
	n, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, 1, uintptr(pid), 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	return fmt.Sprintf("class %d level %d", n>>13, n&7)
}

// execed starts a process in the container that sleeps, and returns its pid on the host.
// With a process object it is what --process is given, but for what every process needs.
func (c *container) execed(p *specs.Process, flags ...string) int {
	c.t.Helper()
	dir := c.t.TempDir()
	args := append([]string{"exec", "-d", "--pid-file", dir + "/pid"}, flags...)
	if p == nil {
		args = append(args, c.id, "sleep", "1002")
	} else {
		p.Args, p.Cwd, p.Env = []string{"sleep", "1002"}, "/", []string{"PATH=/bin"}
		text, err := json.Marshal(p)
		if err != nil {
			c.t.Fatal(err)
		}
		write(c.t, dir+"/process.json", string(text))
		args = append(args, "--process", dir+"/process.json", c.id)
	}
	c.MustRun(args...)
	return int(atoi(c.t, read(c.t, dir+"/pid")))
}

func TestScheduler(t *testing.T) {
	harness.NeedRoot(t)
	for name, tc := range map[string]struct {
		scheduler specs.Scheduler
		want      string
	}{
		"a lower priority":        {specs.Scheduler{Policy: "SCHED_OTHER", Nice: 7}, "policy 0 nice 7 priority 0 flags 0x0"},
		"a higher priority":       {specs.Scheduler{Policy: "SCHED_OTHER", Nice: -7}, "policy 0 nice -7 priority 0 flags 0x0"},
		"batch":                   {specs.Scheduler{Policy: "SCHED_BATCH", Nice: 19}, "policy 3 nice 19 priority 0 flags 0x0"},
		"idle":                    {specs.Scheduler{Policy: "SCHED_IDLE"}, "policy 5 nice 0 priority 0 flags 0x0"},
		"the children start anew": {specs.Scheduler{Policy: "SCHED_BATCH", Nice: -1, Flags: []specs.LinuxSchedulerFlag{"SCHED_FLAG_RESET_ON_FORK"}}, "policy 3 nice -1 priority 0 flags 0x1"},
	} {
		set := func(s *specs.Spec) { s.Process.Scheduler, s.Process.User.UID = &tc.scheduler, 1000 }
		for kind, edit := range map[string]change{"": set, " in a user namespace": func(s *specs.Spec) { mapped(s); set(s) }} {
			t.Run(name+kind, func(t *testing.T) {
				c := start(t, edit)
				equal(t, "init", true, strings.HasPrefix(schedulerOf(t, c.pid), tc.want))
				equal(t, "exec takes it from the config", schedulerOf(t, c.pid), schedulerOf(t, c.execed(nil)))
				equal(t, "exec of a process without one, too", schedulerOf(t, c.pid), schedulerOf(t, c.execed(&specs.Process{})))
				own := schedulerOf(t, c.execed(&specs.Process{Scheduler: &specs.Scheduler{Policy: "SCHED_OTHER", Nice: 3}}))
				equal(t, "exec of a process with its own", true, strings.HasPrefix(own, "policy 0 nice 3 "))
			})
		}
	}
}

// realTimeCgroup makes a cgroup that gives its processes real-time runtime: on v1 with
// RT_GROUP_SCHED a new one has none. It returns what cgroupsPath to use.
func realTimeCgroup(t *testing.T, e *harness.Env) change {
	t.Helper()
	const file = "/sys/fs/cgroup/cpu/cpu.rt_runtime_us"
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		return func(*specs.Spec) {}
	}
	return func(s *specs.Spec) {
		s.Linux.CgroupsPath = "/" + e.ID("rt")
		s.Linux.Resources.CPU = &specs.LinuxCPU{RealtimeRuntime: new(int64(10000)), RealtimePeriod: new(uint64(1000000))}
	}
}

func TestSchedulerRealTime(t *testing.T) {
	harness.NeedRoot(t)
	for policy, number := range map[specs.LinuxSchedulerPolicy]int{"SCHED_FIFO": 1, "SCHED_RR": 2} {
		t.Run(string(policy), func(t *testing.T) {
			e := harness.New(t)
			realTime := realTimeCgroup(t, e)
			c := startIn(t, e, e.Bundle(sleeper, func(s *specs.Spec) {
				realTime(s)
				s.Process.Scheduler = &specs.Scheduler{Policy: policy, Priority: 42}
			}))
			want := fmt.Sprintf("policy %d nice 0 priority 42 flags 0x0", number)
			equal(t, "init", true, strings.HasPrefix(schedulerOf(t, c.pid), want))
			equal(t, "exec", true, strings.HasPrefix(schedulerOf(t, c.execed(nil)), want))
		})
	}
	t.Run("without real-time runtime the cgroup is named", func(t *testing.T) {
		const file = "/sys/fs/cgroup/cpu/cpu.rt_runtime_us"
		if _, err := os.Stat(file); err != nil {
			t.Skip("needs cgroup v1 and a kernel with RT_GROUP_SCHED: there a new cgroup has no real-time runtime")
		}
		refuse(t, func(s *specs.Spec) { s.Process.Scheduler = &specs.Scheduler{Policy: "SCHED_FIFO", Priority: 1} },
			"process.scheduler", "SCHED_FIFO", "realtimeRuntime", "operation not permitted")
	})
}

func TestSchedulerDeadline(t *testing.T) {
	harness.NeedRoot(t)
	deadline := specs.Scheduler{Policy: "SCHED_DEADLINE", Runtime: 42000, Deadline: 100000, Period: 1000000}
	with := func(c *specs.LinuxCPU) change {
		return func(s *specs.Spec) {
			s.Process.Scheduler = &deadline
			s.Process.Args = []string{"sleep", "1002"} // a shell could not fork
			s.Linux.Resources.CPU = c
		}
	}
	const want = "policy 6 nice 0 priority 0 flags 0x0 deadline 42000/100000/1000000"
	t.Run("init and exec", func(t *testing.T) {
		c := start(t, with(nil))
		equal(t, "init", want, schedulerOf(t, c.pid))
		equal(t, "exec", want, schedulerOf(t, c.execed(nil)))
	})
	t.Run("on fewer than all CPUs the field is named", func(t *testing.T) {
		refuse(t, with(&specs.LinuxCPU{Cpus: "0", Mems: "0"}), "process.scheduler", "linux.resources.cpu.cpus", "operation not permitted")
	})
}

func TestIOPriority(t *testing.T) {
	harness.NeedRoot(t)
	for want, p := range map[string]specs.LinuxIOPriority{
		"class 1 level 2": {Class: "IOPRIO_CLASS_RT", Priority: 2},
		"class 2 level 6": {Class: "IOPRIO_CLASS_BE", Priority: 6},
		"class 3 level 0": {Class: "IOPRIO_CLASS_IDLE"},
	} {
		set := func(s *specs.Spec) { s.Process.IOPriority, s.Process.User.UID = &p, 1000 }
		for kind, edit := range map[string]change{"": set, " in a user namespace": func(s *specs.Spec) { mapped(s); set(s) }} {
			t.Run(string(p.Class)+kind, func(t *testing.T) {
				c := start(t, edit)
				equal(t, "init", want, ioPriorityOf(t, c.pid))
				equal(t, "exec takes it from the config", want, ioPriorityOf(t, c.execed(nil)))
				own := &specs.Process{IOPriority: &specs.LinuxIOPriority{Class: "IOPRIO_CLASS_BE", Priority: 1}}
				equal(t, "exec of a process with its own", "class 2 level 1", ioPriorityOf(t, c.execed(own)))
			})
		}
	}
}

func TestExecCPUAffinity(t *testing.T) {
	harness.NeedRoot(t)
	all := status(t, os.Getpid(), "Cpus_allowed_list")
	if all == "0" {
		t.Skip("needs two CPUs")
	}
	c := start(t, func(s *specs.Spec) {
		s.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: "0", Final: "1"}
	})
	affinity := func(p *specs.Process) string { return status(t, c.execed(p), "Cpus_allowed_list") }
	with := func(initial, final string) *specs.Process {
		return &specs.Process{ExecCPUAffinity: &specs.CPUAffinity{Initial: initial, Final: final}}
	}
	equal(t, "init has all CPUs", all, status(t, c.pid, "Cpus_allowed_list"))
	equal(t, "exec, from the config", "1", affinity(nil))
	equal(t, "a process without, from the config", "1", affinity(&specs.Process{}))
	stays := "0"
	if harness.KernelBefore(t, 6, 2) {
		stays = all // before Linux 6.2 joining a cgroup with a cpuset ends it
	}
	equal(t, "the initial one alone", stays, affinity(with("0", "")))
	equal(t, "the final one wins", "0", affinity(with("1", "0")))
	equal(t, "both CPUs", "0-1", affinity(with("", "0,1")))
	equal(t, "a list beyond any machine", "1", affinity(with("", "1,1024-1030,65535")))
	t.Run("CPUs that are not there", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "process.json")
		write(t, file, `{"args":["true"],"cwd":"/","env":["PATH=/bin"],"user":{"uid":0,"gid":0},"execCPUAffinity":{"initial":"4000"}}`)
		wantFailure(t, c.Run("exec", "--process", file, c.id), "process.execCPUAffinity.initial", "invalid argument")
	})
	t.Run("the initial one is set before the cgroup is joined", func(t *testing.T) {
		if _, err := os.Stat("/sys/fs/cgroup/cpuset/cpuset.cpus"); err != nil {
			t.Skip("needs cgroup v1 with a cpuset: a move into its cgroup ends an affinity that is not in it")
		}
		c := start(t, func(s *specs.Spec) { s.Linux.Resources.CPU = &specs.LinuxCPU{Cpus: "1", Mems: "0"} })
		equal(t, "CPU 0 is the caller's, not the container's", "1", status(t, c.execed(with("0", "")), "Cpus_allowed_list"))
	})
}

// policyOf is the memory policy of a process's stack, numa_maps(5).
func policyOf(t *testing.T, pid int) string {
	t.Helper()
	for line := range strings.Lines(proc(t, pid, "numa_maps")) {
		if words := strings.Fields(line); strings.Contains(line, " stack") && len(words) > 1 {
			return words[1]
		}
	}
	t.Fatalf("no stack in /proc/%d/numa_maps", pid)
	return ""
}

func TestMemoryPolicy(t *testing.T) {
	harness.NeedRoot(t)
	if _, err := os.Stat("/proc/self/numa_maps"); err != nil {
		t.Skip("needs a kernel with NUMA")
	}
	before := policyOf(t, os.Getpid())
	for want, p := range map[string]specs.LinuxMemoryPolicy{
		"default":             {Mode: "MPOL_DEFAULT"},
		"bind:0":              {Mode: "MPOL_BIND", Nodes: "0"},
		"bind=static:0":       {Mode: "MPOL_BIND", Nodes: "0", Flags: []specs.MemoryPolicyFlagType{"MPOL_F_STATIC_NODES"}},
		"interleave:0":        {Mode: "MPOL_INTERLEAVE", Nodes: "0"},
		"prefer:0":            {Mode: "MPOL_PREFERRED", Nodes: "0"},
		"prefer=relative:0":   {Mode: "MPOL_PREFERRED", Nodes: "0", Flags: []specs.MemoryPolicyFlagType{"MPOL_F_RELATIVE_NODES"}},
		"local":               {Mode: "MPOL_LOCAL"},
		"prefer (many):0":     {Mode: "MPOL_PREFERRED_MANY", Nodes: "0"},
		"weighted interleave": {Mode: "MPOL_WEIGHTED_INTERLEAVE", Nodes: "0"},
	} {
		t.Run(want, func(t *testing.T) {
			ask := func(s *specs.Spec) { s.Linux.MemoryPolicy = &p }
			if _, err := os.Stat("/sys/kernel/mm/mempolicy/weighted_interleave"); err != nil && p.Mode == specs.MpolWeightedInterleave {
				refuse(t, ask, "linux.memoryPolicy", "set_mempolicy", "invalid argument") // before Linux 6.9
				return
			}
			e := harness.New(t)
			bundle := e.Bundle(sleeper, ask)
			c := startIn(t, e, bundle)
			equal(t, "init", strings.Fields(want)[0], strings.Fields(policyOf(t, c.pid))[0])
			equal(t, "exec", policyOf(t, c.pid), policyOf(t, c.execed(nil)))
		})
	}
	equal(t, "the caller's", before, policyOf(t, os.Getpid()))
	t.Run("a node that is not there", func(t *testing.T) {
		refuse(t, func(s *specs.Spec) { s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: "MPOL_BIND", Nodes: "63"} },
			"linux.memoryPolicy", "set_mempolicy", "invalid argument")
	})
}

func TestMemoryPolicyOfSeveralNodes(t *testing.T) {
	harness.NeedRoot(t)
	harness.Need(t, harness.NUMA)
	c := start(t, func(s *specs.Spec) {
		s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: "MPOL_INTERLEAVE", Nodes: "0,1"}
	})
	equal(t, "init", "interleave:0-1", policyOf(t, c.pid))
	equal(t, "exec", "interleave:0-1", policyOf(t, c.execed(nil)))
}

func TestPersonality(t *testing.T) {
	harness.NeedRoot(t)
	native := strings.TrimSpace(commandOutput(t, "uname", "-m"))
	compat := strings.TrimSpace(commandOutput(t, "setarch", "linux32", "uname", "-m"))
	for domain, want := range map[specs.LinuxPersonalityDomain][2]string{
		specs.PerLinux: {"00000000", native}, specs.PerLinux32: {"00000008", compat},
	} {
		t.Run(string(domain), func(t *testing.T) {
			c := start(t, func(s *specs.Spec) { s.Linux.Personality = &specs.LinuxPersonality{Domain: domain} })
			equal(t, "init", want[0], proc(t, c.pid, "personality"))
			equal(t, "uname -m", want[1], c.exec("uname -m"))
			equal(t, "exec", want[0], proc(t, c.execed(&specs.Process{}), "personality"))
		})
	}
	t.Run("the caller's flags end", func(t *testing.T) {
		e := harness.New(t)
		bundle := e.Bundle("cat /proc/self/personality", func(s *specs.Spec) {
			s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux}
			s.Process.User.UID = 0
		})
		r := e.RunWith(func(cmd *exec.Cmd) {
			cmd.Args = append([]string{"setarch", "-R", cmd.Path}, cmd.Args[1:]...)
			cmd.Path = "/usr/bin/setarch"
		}, "run", "-b", bundle, e.ID("c"))
		equal(t, "personality", "00000000", strings.TrimSpace(r.Stdout))
	})
}

func commandOutput(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		t.Skipf("%s: %v", name, err)
	}
	return string(out)
}

func TestUmask(t *testing.T) {
	harness.NeedRoot(t)
	mask := func(s *specs.Spec) { s.Process.User.Umask = new(uint32(0o137)) }
	for name, edit := range map[string]change{
		"with a mount namespace": mask,
		"without": func(s *specs.Spec) {
			plain(s)
			mask(s)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, edit)
			equal(t, "init", "0137", status(t, c.pid, "Umask"))
			equal(t, "exec takes it from the config", "0137", status(t, c.execed(nil), "Umask"))
			equal(t, "a process without one, too", "0137", status(t, c.execed(&specs.Process{}), "Umask"))
			own := &specs.Process{User: specs.User{Umask: new(uint32(0o007))}}
			equal(t, "a process with its own", "0007", status(t, c.execed(own), "Umask"))
		})
	}
}
