package validate

import (
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// onProcess is a bad case that changes process only.
func onProcess(change func(*specs.Process), want ...string) badCase {
	return badCase{change: func(s *specs.Spec) { change(s.Process) }, want: want}
}

var processCases = map[string]badCase{
	"no process":          {change: func(s *specs.Spec) { s.Process = nil }, want: []string{"process: must be specified"}},
	"args that are empty": onProcess(func(p *specs.Process) { p.Args = []string{} }, "process.args: args must not be empty"),
	"an argument with a NUL": onProcess(func(p *specs.Process) { p.Args[1] = "a\x00b" },
		"process.args[1]: contains a NUL byte"),
	"environment entries that are none": onProcess(func(p *specs.Process) { p.Env = []string{"A=b", "secret", "=x", "", "A=\x00"} },
		`process.env[1]: has no "=", must be name=value`,
		`process.env[2]: has no name before "=", must be name=value`,
		`process.env[3]: has no "=", must be name=value`,
		"process.env[4]: contains a NUL byte"),
	"no cwd":         onProcess(func(p *specs.Process) { p.Cwd = "" }, "process.cwd: must not be empty"),
	"a relative cwd": onProcess(func(p *specs.Process) { p.Cwd = "tmp" }, `process.cwd: is "tmp", must be an absolute path`),
	"a cwd with a NUL": onProcess(func(p *specs.Process) { p.Cwd = "/\x00" },
		"process.cwd: contains a NUL byte"),
	"a console of too many characters": onProcess(func(p *specs.Process) { p.ConsoleSize = &specs.Box{Height: 65536, Width: 70000} },
		"process.consoleSize.height: is 65536, must be at most 65535",
		"process.consoleSize.width: is 70000, must be at most 65535"),
	"a umask of too many bits": onProcess(func(p *specs.Process) { p.User.Umask = new(uint32(0o1000)) },
		"process.user.umask: is 01000 in octal, must be at most 0777"),
	"ids that the user namespace lacks": onProcess(func(p *specs.Process) {
		p.User.UID, p.User.GID, p.User.AdditionalGids = 1001, 4294967295, []uint32{0, 2000}
	},
		"process.user.uid: is 1001, which the user namespace does not map",
		"process.user.gid: is 4294967295, which the user namespace does not map",
		"process.user.additionalGids[1]: is 2000, which the user namespace does not map"),
	"an rlimit of no kernel": onProcess(func(p *specs.Process) { p.Rlimits[0].Type = "RLIMIT_TEST" },
		`process.rlimits[0].type: is "RLIMIT_TEST", must be a limit of getrlimit(2)`),
	"an rlimit twice": onProcess(func(p *specs.Process) { p.Rlimits[1].Type = "RLIMIT_NOFILE" },
		"process.rlimits[1].type: duplicated limit RLIMIT_NOFILE, is already process.rlimits[0]"),
	"a soft limit over the hard one": onProcess(func(p *specs.Process) { p.Rlimits[0].Soft = 4097 },
		"process.rlimits[0].soft: is 4097, must be at most the hard limit 4096"),
	"labels with a NUL": onProcess(func(p *specs.Process) { p.ApparmorProfile, p.SelinuxLabel = "\x00", "a\x00" },
		"process.apparmorProfile: contains a NUL byte", "process.selinuxLabel: contains a NUL byte"),
	"labels that would be cut": onProcess(func(p *specs.Process) {
		p.ApparmorProfile, p.SelinuxLabel = "a\nb", strings.Repeat("x", 4001)
	},
		"process.apparmorProfile: contains a newline", "process.selinuxLabel: has 4001 bytes, must have at most 4000"),
	"an OOM score that is too low": onProcess(func(p *specs.Process) { p.OOMScoreAdj = new(-1001) },
		"process.oomScoreAdj: is -1001, must be from -1000 to 1000"),
	"an OOM score that is too high": onProcess(func(p *specs.Process) { p.OOMScoreAdj = new(1001) },
		"process.oomScoreAdj: is 1001, must be from -1000 to 1000"),
	"CPU lists that are none": onProcess(func(p *specs.Process) {
		p.ExecCPUAffinity = &specs.CPUAffinity{Initial: "3-1", Final: ","}
	},
		`process.execCPUAffinity.initial: has "3-1", must be a list like 0-3,7`,
		`process.execCPUAffinity.final: is ",", must be a list like 0-3,7`),
	"CPU lists with bad numbers": onProcess(func(p *specs.Process) {
		p.ExecCPUAffinity = &specs.CPUAffinity{Initial: "0,-1", Final: "65537"}
	},
		`process.execCPUAffinity.initial: has "-1", must be a list like 0-3,7`,
		`process.execCPUAffinity.final: has "65537", must be a list like 0-3,7`),
	"a CPU range without an end": onProcess(func(p *specs.Process) { p.ExecCPUAffinity.Final = "4-" },
		`process.execCPUAffinity.final: has "4-", must be a list like 0-3,7`),
}

// onScheduler is a bad case with another scheduler.
func onScheduler(s specs.Scheduler, want ...string) badCase {
	return onProcess(func(p *specs.Process) { p.Scheduler = &s }, want...)
}

var scheduleCases = map[string]badCase{
	"no policy": onScheduler(specs.Scheduler{}, "process.scheduler.policy: must not be empty"),
	"an unknown policy": onScheduler(specs.Scheduler{Policy: "SCHED_X"}, `process.scheduler.policy: is "SCHED_X", must be one of `+
		"SCHED_OTHER, SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_ISO, SCHED_IDLE, SCHED_DEADLINE"),
	"too nice":    onScheduler(specs.Scheduler{Policy: "SCHED_OTHER", Nice: 20}, "process.scheduler.nice: is 20, must be from -20 to 19"),
	"not nice":    onScheduler(specs.Scheduler{Policy: "SCHED_BATCH", Nice: -21}, "process.scheduler.nice: is -21, must be from -20 to 19"),
	"real time 0": onScheduler(specs.Scheduler{Policy: "SCHED_FIFO"}, "process.scheduler.priority: is 0, must be from 1 to 99 with SCHED_FIFO"),
	"real time 100": onScheduler(specs.Scheduler{Policy: "SCHED_RR", Priority: 100},
		"process.scheduler.priority: is 100, must be from 1 to 99 with SCHED_RR"),
	"a priority without real time": onScheduler(specs.Scheduler{Policy: "SCHED_IDLE", Priority: 1},
		"process.scheduler.priority: is 1, must be 0 unless policy is SCHED_FIFO or SCHED_RR"),
	"an unknown flag of the scheduler": onScheduler(specs.Scheduler{Policy: "SCHED_OTHER", Flags: []specs.LinuxSchedulerFlag{"SCHED_FLAG_KEEP_POLICY", "X"}},
		`process.scheduler.flags[1]: is "X", must be a SCHED_FLAG_ of the spec`),
	"deadlines without the policy": onScheduler(specs.Scheduler{Policy: "SCHED_OTHER", Runtime: 1, Deadline: 2, Period: 3},
		"process.scheduler.runtime: is 1, must be 0 unless policy is SCHED_DEADLINE",
		"process.scheduler.deadline: is 2, must be 0 unless policy is SCHED_DEADLINE",
		"process.scheduler.period: is 3, must be 0 unless policy is SCHED_DEADLINE"),
	"the policy without deadlines": onScheduler(specs.Scheduler{Policy: "SCHED_DEADLINE"},
		"process.scheduler.runtime: is 0, must be at least 1024 ns",
		"process.scheduler.deadline: is 0, must be from the runtime to 2^63-1 ns, and not 0"),
	"deadlines in the wrong order": onScheduler(specs.Scheduler{Policy: "SCHED_DEADLINE", Runtime: 5000, Deadline: 4000, Period: 3000},
		"process.scheduler.deadline: is 4000, must be from the runtime to 2^63-1 ns, and not 0",
		"process.scheduler.period: is 3000, must be 0, or from the deadline to 2^63-1 ns"),
	"deadlines of centuries": onScheduler(specs.Scheduler{Policy: "SCHED_DEADLINE", Runtime: 5000, Deadline: 1 << 63, Period: 1 << 63},
		"process.scheduler.deadline: is 9223372036854775808, must be from the runtime to 2^63-1 ns, and not 0",
		"process.scheduler.period: is 9223372036854775808, must be 0, or from the deadline to 2^63-1 ns"),
	"I/O priorities that are none": onProcess(func(p *specs.Process) {
		p.IOPriority = &specs.LinuxIOPriority{Class: "IOPRIO_CLASS_NONE", Priority: 8}
	},
		`process.ioPriority.class: is "IOPRIO_CLASS_NONE", must be one of IOPRIO_CLASS_RT, IOPRIO_CLASS_BE, IOPRIO_CLASS_IDLE`,
		"process.ioPriority.priority: is 8, must be from 0 to 7"),
	"a negative I/O priority": onProcess(func(p *specs.Process) { p.IOPriority.Priority = -1 },
		"process.ioPriority.priority: is -1, must be from 0 to 7"),
}
