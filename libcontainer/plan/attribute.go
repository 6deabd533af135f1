package plan

// raise sets what may need a right over the machine: the scheduler and the I/O priority.
func (c *compiler) raise(actor Actor) {
	if s := c.proc.Scheduler; s != nil {
		do := &SetScheduler{
			Policy: string(s.Policy), Nice: s.Nice, Priority: s.Priority,
			Runtime: s.Runtime, Deadline: s.Deadline, Period: s.Period,
		}
		for _, f := range s.Flags {
			do.Flags = append(do.Flags, string(f))
		}
		c.add(actor, "process.scheduler", do)
	}
	if p := c.proc.IOPriority; p != nil {
		c.add(actor, "process.ioPriority", &SetIOPriority{Class: string(p.Class), Priority: p.Priority})
	}
}

// machineRights reports whether the runtime has rights over the machine that a process in
// a user namespace has lost. A runtime without them may do less to another user's process
// than that process to itself.
func (c *compiler) machineRights() bool { return c.Facts.UID == 0 && !c.Facts.UserNS }

// inherent sets what only a process itself can set, and hands on across execve(2). The
// memory policy comes last: it goes for the launch's own memory, too.
func (c *compiler) inherent() {
	if p := c.linux.Personality; p != nil {
		c.add(Child, "linux.personality", &SetPersonality{Domain: string(p.Domain)})
	}
	if p := c.linux.MemoryPolicy; p != nil {
		do := &SetMemoryPolicy{Mode: string(p.Mode), Nodes: idRanges(p.Nodes)}
		for _, f := range p.Flags {
			do.Flags = append(do.Flags, string(f))
		}
		c.add(Child, "linux.memoryPolicy", do)
	}
}

// finalAffinity is what an exec'ed process has from its cgroup on. A caller that names CPUs
// for the time before has the kernel decide about the time after, config.md "execCPUAffinity".
func (c *compiler) finalAffinity() {
	switch a := c.proc.ExecCPUAffinity; {
	case a == nil || a.Initial == "" && a.Final == "":
		c.add(Child, "process", &ResetCPUAffinity{})
	default:
		c.affinity("process.execCPUAffinity.final", a.Final)
	}
}

// affinity binds an exec'ed process to CPUs.
func (c *compiler) affinity(field, list string) {
	if list != "" {
		c.add(Child, field, &SetCPUAffinity{CPUs: idRanges(list)})
	}
}
