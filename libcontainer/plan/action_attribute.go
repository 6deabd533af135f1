package plan

import "strings"

// SetScheduler gives the process a scheduling policy and its parameters, sched_setattr(2).
type SetScheduler struct {
	Policy                    string // SCHED_…
	Nice, Priority            int32
	Flags                     []string // SCHED_FLAG_…
	Runtime, Deadline, Period uint64   // nanoseconds, of SCHED_DEADLINE
}

// SetIOPriority sets the class and level of the process's I/O, ioprio_set(2).
type SetIOPriority struct {
	Class    string // IOPRIO_CLASS_…
	Priority int
}

// SetCPUAffinity binds an exec'ed process to CPUs, sched_setaffinity(2).
type SetCPUAffinity struct {
	CPUs []IDRange
}

// ResetCPUAffinity lets the process use every CPU of its cgroup, whatever the caller of the
// runtime was bound to. Since Linux 6.2 a cgroup no longer does that by itself.
type ResetCPUAffinity struct{}

// SetMemoryPolicy says from which NUMA nodes the process gets its memory, set_mempolicy(2).
type SetMemoryPolicy struct {
	Mode  string   // MPOL_…
	Flags []string // MPOL_F_…
	Nodes []IDRange
}

// SetPersonality sets the execution domain, personality(2).
type SetPersonality struct {
	Domain string // LINUX, LINUX32
}

func (a *SetScheduler) String() string {
	s := "set scheduler " + a.Policy
	add := func(set bool, what string) {
		if set {
			s += " " + what
		}
	}
	add(a.Nice != 0, "nice "+signed(int64(a.Nice)))
	add(a.Priority != 0, "priority "+signed(int64(a.Priority)))
	add(a.Runtime|a.Deadline|a.Period != 0,
		"runtime "+number64(a.Runtime)+" deadline "+number64(a.Deadline)+" period "+number64(a.Period))
	add(len(a.Flags) > 0, "with "+strings.Join(a.Flags, " "))
	return s
}

func (a *SetIOPriority) String() string {
	return "set I/O priority " + a.Class + " " + count(a.Priority)
}

func (a *SetCPUAffinity) String() string { return "bind to CPUs " + join(a.CPUs, (*IDRange).String) }

func (*ResetCPUAffinity) String() string { return "use all CPUs of the cgroup" }

func (a *SetMemoryPolicy) String() string {
	s := "set memory policy " + a.Mode
	if len(a.Nodes) > 0 {
		s += " nodes " + join(a.Nodes, (*IDRange).String)
	}
	if len(a.Flags) > 0 {
		s += " with " + strings.Join(a.Flags, " ")
	}
	return s
}

func (a *SetPersonality) String() string { return "set personality " + a.Domain }
