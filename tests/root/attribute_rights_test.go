package root_test

import (
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

// attributed gives a process every attribute that an ordinary user may have.
func attributed(s *specs.Spec) {
	s.Process.Scheduler = &specs.Scheduler{Policy: "SCHED_BATCH", Nice: 5}
	s.Process.IOPriority = &specs.LinuxIOPriority{Class: "IOPRIO_CLASS_BE", Priority: 6}
	s.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: "0", Final: "0"}
	s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32}
	s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: "MPOL_BIND", Nodes: "0"}
}

// hasAttributes compares a process with what attributed asks for.
func hasAttributes(t *testing.T, what string, pid int) {
	t.Helper()
	equal(t, what+": scheduler", true, strings.HasPrefix(schedulerOf(t, pid), "policy 3 nice 5 priority 0"))
	equal(t, what+": I/O priority", "class 2 level 6", ioPriorityOf(t, pid))
	equal(t, what+": personality", "00000008", proc(t, pid, "personality"))
	equal(t, what+": memory policy", "bind:0", policyOf(t, pid))
}

func TestRootlessAttributes(t *testing.T) {
	r := newRootless(t)
	id, pid := r.running(attributed)
	hasAttributes(t, "init", pid)
	file := r.home + "/pid"
	r.must("exec", "-d", "--pid-file", file, id, "sleep", "1007")
	exec := int(atoi(t, read(t, file)))
	hasAttributes(t, "exec", exec)
	equal(t, "exec: CPUs", "0", status(t, exec, "Cpus_allowed_list"))
	bundle := r.bundle("true", func(s *specs.Spec) { s.Process.Scheduler = &specs.Scheduler{Policy: "SCHED_OTHER", Nice: -1} })
	wantFailure(t, r.as("run", "-b", bundle, r.ID("d")), "process.scheduler", "CAP_SYS_NICE", "operation not permitted")
	bundle = r.bundle("true", func(s *specs.Spec) { s.Process.IOPriority = &specs.LinuxIOPriority{Class: "IOPRIO_CLASS_RT"} })
	wantFailure(t, r.as("run", "-b", bundle, r.ID("e")), "process.ioPriority", "operation not permitted")
	r.must("kill", id, "KILL")
	r.WaitStatus(id, specs.StateStopped)
	r.must("delete", id)
}

// TestAttributesNeedNothingOfTheContainer: neither its capabilities, nor its filter, nor its
// user have a say in what the config gives it.
func TestAttributesNeedNothingOfTheContainer(t *testing.T) {
	harness.NeedRoot(t)
	errno := uint(1)
	c := start(t, func(s *specs.Spec) {
		attributed(s)
		s.Process.User.UID = 1000
		s.Process.Capabilities = &specs.LinuxCapabilities{}
		s.Linux.Seccomp = &specs.LinuxSeccomp{
			DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchAARCH64},
			Syscalls: []specs.LinuxSyscall{{
				Names:  []string{"sched_setattr", "ioprio_set", "sched_setaffinity", "set_mempolicy", "personality"},
				Action: specs.ActErrno, ErrnoRet: &errno,
			}},
		}
	})
	hasAttributes(t, "init", c.pid)
	pid := c.execed(nil)
	hasAttributes(t, "exec", pid)
	equal(t, "exec: CPUs", "0", status(t, pid, "Cpus_allowed_list"))
}
