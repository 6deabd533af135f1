package validate

import (
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// scheduler checks by the rules of sched_setattr(2).
func (c *checker) scheduler(s *specs.Scheduler, path string) {
	add := func(field, rule string) { c.add(path+field, refLinuxProcess, rule) }
	switch s.Policy {
	case specs.SchedOther, specs.SchedBatch:
		if s.Nice < -20 || s.Nice > 19 {
			add(".nice", intRule(int64(s.Nice), "from -20 to 19"))
		}
	case specs.SchedFIFO, specs.SchedRR, specs.SchedISO, specs.SchedIdle, specs.SchedDeadline:
	case "":
		add(".policy", "must not be empty")
	default:
		add(".policy", oneOf(string(s.Policy),
			"SCHED_OTHER, SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_ISO, SCHED_IDLE, SCHED_DEADLINE"))
	}
	if s.Policy == specs.SchedFIFO || s.Policy == specs.SchedRR {
		if s.Priority < 1 || s.Priority > 99 {
			add(".priority", intRule(int64(s.Priority), "from 1 to 99 with "+string(s.Policy)))
		}
	} else if s.Priority != 0 {
		add(".priority", intRule(int64(s.Priority), "0 unless policy is SCHED_FIFO or SCHED_RR"))
	}
	for i, f := range s.Flags {
		if !knownSchedulerFlag(f) {
			c.addAt(path+".flags", i, "", refLinuxProcess, "is "+quote(string(f))+", must be a SCHED_FLAG_ of the spec")
		}
	}
	c.deadline(s, path)
}

// deadline checks the times that SCHED_DEADLINE needs and the others must not have,
// sched(7): 1024 ns ≤ runtime ≤ deadline ≤ period, where period 0 means the deadline.
func (c *checker) deadline(s *specs.Scheduler, path string) {
	add := func(field string, n uint64, want string) {
		c.add(path+field, refLinuxProcess, "is "+strconv.FormatUint(n, 10)+", must be "+want)
	}
	if s.Policy != specs.SchedDeadline {
		const want = "0 unless policy is SCHED_DEADLINE"
		if s.Runtime != 0 {
			add(".runtime", s.Runtime, want)
		}
		if s.Deadline != 0 {
			add(".deadline", s.Deadline, want)
		}
		if s.Period != 0 {
			add(".period", s.Period, want)
		}
		return
	}
	if s.Runtime < 1024 {
		add(".runtime", s.Runtime, "at least 1024 ns")
	}
	if s.Deadline < s.Runtime || s.Deadline == 0 || s.Deadline >= 1<<63 {
		add(".deadline", s.Deadline, "from the runtime to 2^63-1 ns, and not 0")
	}
	if s.Period != 0 && s.Period < s.Deadline || s.Period >= 1<<63 {
		add(".period", s.Period, "0, or from the deadline to 2^63-1 ns")
	}
}

func knownSchedulerFlag(f specs.LinuxSchedulerFlag) bool {
	switch f {
	case specs.SchedFlagResetOnFork, specs.SchedFlagReclaim, specs.SchedFlagDLOverrun,
		specs.SchedFlagKeepPolicy, specs.SchedFlagKeepParams,
		specs.SchedFlagUtilClampMin, specs.SchedFlagUtilClampMax:
		return true
	}
	return false
}

func (c *checker) ioPriority(p *specs.LinuxIOPriority, path string) {
	switch p.Class {
	case specs.IOPRIO_CLASS_RT, specs.IOPRIO_CLASS_BE, specs.IOPRIO_CLASS_IDLE:
	default:
		c.add(path+".class", refLinuxProcess,
			oneOf(string(p.Class), "IOPRIO_CLASS_RT, IOPRIO_CLASS_BE, IOPRIO_CLASS_IDLE"))
	}
	if p.Priority < 0 || p.Priority > 7 {
		c.add(path+".priority", refLinuxProcess, intRule(int64(p.Priority), "from 0 to 7"))
	}
}
