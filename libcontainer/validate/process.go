package validate

import (
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// process checks a process object in the order of [specs.Process].
func (c *checker) process(p *specs.Process, path string) {
	if p == nil {
		c.add(path, refProcess, "must be specified")
		return
	}
	if path != "" {
		path += "."
	}
	c.consoleSize(p, path)
	c.user(&p.User, path+"user")
	c.args(p, path)
	c.add(path+"cwd", refProcess, absoluteRule(p.Cwd))
	c.rlimits(p.Rlimits, path+"rlimits")
	c.add(path+"apparmorProfile", refLinuxProcess, labelRule(p.ApparmorProfile))
	if n := p.OOMScoreAdj; n != nil && (*n < -1000 || *n > 1000) {
		c.add(path+"oomScoreAdj", refLinuxProcess, intRule(int64(*n), "from -1000 to 1000"))
	}
	if p.Scheduler != nil {
		c.scheduler(p.Scheduler, path+"scheduler")
	}
	c.add(path+"selinuxLabel", refLinuxProcess, labelRule(p.SelinuxLabel))
	if p.IOPriority != nil {
		c.ioPriority(p.IOPriority, path+"ioPriority")
	}
	if a := p.ExecCPUAffinity; a != nil {
		c.add(path+"execCPUAffinity.initial", refLinuxProcess, idListRule(a.Initial))
		c.add(path+"execCPUAffinity.final", refLinuxProcess, idListRule(a.Final))
	}
}

// consoleSize looks at the size only if there is a terminal: without one it must be ignored.
func (c *checker) consoleSize(p *specs.Process, path string) {
	if !p.Terminal || p.ConsoleSize == nil {
		return
	}
	// struct winsize has 16 bits each, ioctl_tty(2).
	const limit = 1<<16 - 1
	if h := p.ConsoleSize.Height; h > limit {
		c.add(path+"consoleSize.height", refProcess, "is "+strconv.FormatUint(uint64(h), 10)+", must be at most 65535")
	}
	if w := p.ConsoleSize.Width; w > limit {
		c.add(path+"consoleSize.width", refProcess, "is "+strconv.FormatUint(uint64(w), 10)+", must be at most 65535")
	}
}

func (c *checker) user(u *specs.User, path string) {
	c.add(path+".uid", refUser, c.unmappedRule(c.linux.UIDMappings, u.UID))
	c.add(path+".gid", refUser, c.unmappedRule(c.linux.GIDMappings, u.GID))
	if m := u.Umask; m != nil && *m > 0o777 {
		c.add(path+".umask", refUser, "is 0"+strconv.FormatUint(uint64(*m), 8)+" in octal, must be at most 0777")
	}
	// Without rights over groups none is set, as runc does: /etc/group of the image
	// is not the user's fault.
	if c.facts.UID != 0 {
		return
	}
	for i, gid := range u.AdditionalGids {
		c.addAt(path+".additionalGids", i, "", refUser, c.unmappedRule(c.linux.GIDMappings, gid))
	}
}

func (c *checker) args(p *specs.Process, path string) {
	if len(p.Args) == 0 {
		c.add(path+"args", refProcess, "args must not be empty")
	}
	for i, arg := range p.Args {
		c.addAt(path+"args", i, "", refProcess, nulRule(arg))
	}
	for i, env := range p.Env {
		c.addAt(path+"env", i, "", refProcess, envRule(env))
	}
}

func (c *checker) rlimits(list []specs.POSIXRlimit, path string) {
	for i, r := range list {
		if !knownRlimit(r.Type) {
			c.addAt(path, i, ".type", refPOSIXProcess, "is "+quote(r.Type)+", must be a limit of getrlimit(2)")
		} else if j := sameType(list[:i], r.Type); j >= 0 {
			c.addAt(path, i, ".type", refPOSIXProcess, "duplicated limit "+r.Type+", is already "+element(path, j))
		}
		if r.Soft > r.Hard {
			c.addAt(path, i, ".soft", refPOSIXProcess, "is "+strconv.FormatUint(r.Soft, 10)+
				", must be at most the hard limit "+strconv.FormatUint(r.Hard, 10))
		}
	}
}

// sameType is the index of the limit with the type, -1 for none.
func sameType(list []specs.POSIXRlimit, name string) int {
	for i := range list {
		if list[i].Type == name {
			return i
		}
	}
	return -1
}

// knownRlimit reports whether the kernel has the limit, getrlimit(2).
func knownRlimit(name string) bool {
	switch name {
	case "RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_LOCKS",
		"RLIMIT_MEMLOCK", "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_RSS",
		"RLIMIT_RTPRIO", "RLIMIT_RTTIME", "RLIMIT_SIGPENDING", "RLIMIT_STACK":
		return true
	}
	return false
}
