package plan

import (
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// defaultPath is searched when the environment has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// defaultUmask is what a process without process.user.umask gets, as in runc.
const defaultUmask = 0o022

// identity makes the child the user's process in all but the program: limits, ids,
// directory, capabilities.
func (c *compiler) identity(p *specs.Process, userNS, keepGroups bool) {
	if c.wantsHome(p) {
		c.add(Child, "process.user", &ReadPasswd{})
	}
	if !userNS {
		c.rlimits(Child, p)
	}
	c.add(Child, "process", &ResetSignals{})
	c.labels()
	caps := p.Capabilities
	if caps == nil {
		caps = &specs.LinuxCapabilities{}
	}
	last := c.Facts.LastCap
	c.add(Child, "process.capabilities.bounding", &DropBounding{Drop: allCaps(last) &^ capSet(caps.Bounding, last)})
	u := &p.User
	if !p.Terminal && c.hook == "" && !(userNS && c.Facts.UID == 0) {
		c.add(Child, "process.user", &OwnStdio{UID: u.UID})
	}
	// The user may lack the right to enter its directory (/root), and root may lack it where
	// the user has it (NFS): whoever can, as in runc.
	c.add(Child, "process.cwd", &ChangeDir{Path: p.Cwd, AsRoot: true})
	c.add(Child, "process.user", &SetUser{UID: u.UID, GID: u.GID, Groups: u.AdditionalGids, KeepGroups: keepGroups})
	mask := uint32(defaultUmask)
	if u.Umask != nil {
		mask = *u.Umask
	}
	c.add(Child, "process.user.umask", &SetUmask{Mask: mask})
	c.add(Child, "process.cwd", &ChangeDir{Path: p.Cwd})
	final := capabilities(caps, last)
	if c.seccompNeedsAdmin(p) {
		c.add(Child, "process.capabilities", &KeepCapabilities{Capabilities: final, Extra: 1 << capSysAdmin})
	} else {
		c.add(Child, "process.capabilities", &SetCapabilities{Capabilities: final})
	}
	// With the rights that it is executed with: CAP_DAC_OVERRIDE finds more.
	if c.hook != "" {
		c.add(Child, "path", &FindProgram{Name: c.hook})
		return
	}
	c.add(Child, "process.args[0]", &FindProgram{Name: p.Args[0], Path: searchPath(p.Env), Readable: c.handler != ""})
}

// nullStdio takes care of a stdio that leads nowhere; a terminal replaces all of it.
func (c *compiler) nullStdio() {
	if !c.proc.Terminal {
		c.add(Child, "process", &ReopenNull{ByRuntime: c.Facts.UID == 0})
	}
}

// ownStdio gives stdio to the user of a user namespace with the runtime's rights: within
// the namespace, files of the host's users can't be given away.
func (c *compiler) ownStdio(p *specs.Process, mappings []specs.LinuxIDMapping) {
	if p.Terminal || c.Facts.UID != 0 || c.hook != "" {
		return
	}
	for _, m := range mappings {
		if off := p.User.UID - m.ContainerID; p.User.UID >= m.ContainerID && off < m.Size {
			c.add(Runtime, "process.user", &OwnStdio{UID: m.HostID + off})
		}
	}
}

// seccompNeedsAdmin reports whether the filter can only be loaded with CAP_SYS_ADMIN,
// because no_new_privs is off, seccomp(2).
func (c *compiler) seccompNeedsAdmin(p *specs.Process) bool {
	return c.Seccomp != nil && !p.NoNewPrivileges
}

// finish loads the filter as late as possible and executes the program.
func (c *compiler) finish(p *specs.Process, filter *Seccomp) {
	c.confine(p, filter)
	c.program(p)
}

// confine takes the last privileges: from here on the filter holds.
func (c *compiler) confine(p *specs.Process, filter *Seccomp) {
	if p.NoNewPrivileges {
		c.add(Child, "process.noNewPrivileges", &NoNewPrivileges{})
	}
	if filter != nil {
		c.add(Child, "linux.seccomp", &InstallSeccomp{
			Instructions: filter.Instructions, Flags: filter.Flags, Notify: filter.Notify,
		})
		if filter.Notify {
			c.add(Runtime, "linux.seccomp.listenerPath", &SendSeccompFD{
				ListenerPath: filter.ListenerPath, Metadata: filter.ListenerMetadata,
			})
		}
	}
	if c.seccompNeedsAdmin(p) {
		caps := p.Capabilities
		if caps == nil {
			caps = &specs.LinuxCapabilities{}
		}
		c.add(Child, "process.capabilities", &SetCapabilities{Capabilities: capabilities(caps, c.Facts.LastCap)})
	}
}

func (c *compiler) program(p *specs.Process) {
	field := "process.args"
	switch {
	case c.handler != "":
		field = c.handlerField
	case c.hook != "":
		field = "path"
	}
	c.add(Child, field, &Execute{Args: p.Args, Env: p.Env, FindHome: c.wantsHome(p), Handler: c.handler})
}

func capabilities(caps *specs.LinuxCapabilities, last int) Capabilities {
	c := Capabilities{
		Effective:   capSet(caps.Effective, last),
		Permitted:   capSet(caps.Permitted, last),
		Inheritable: capSet(caps.Inheritable, last),
	}
	// The kernel raises no others; runc warns of them and goes on, and so does validate.
	c.Ambient = capSet(caps.Ambient, last) & c.Permitted & c.Inheritable
	return c
}

// rlimits sets the limits of the process. The runtime does it for a process in a user
// namespace, which may not raise its hard limits.
func (c *compiler) rlimits(actor Actor, p *specs.Process) {
	hasNoFile := false
	for i, r := range p.Rlimits {
		hasNoFile = hasNoFile || r.Type == "RLIMIT_NOFILE"
		c.add(actor, index("process.rlimits", i), &SetRlimit{Name: r.Type, Soft: r.Soft, Hard: r.Hard})
	}
	if orig := c.Facts.NoFile; !hasNoFile && orig.Hard != 0 {
		// Go's start-up raised the soft limit; the container shall see the caller's.
		c.add(actor, "process.rlimits", &SetRlimit{Name: "RLIMIT_NOFILE", Soft: orig.Soft, Hard: orig.Hard})
	}
}

// withEnvOnce is the process with each variable once, as it was said last. What two entries
// mean depends on who reads them: libc takes the first, shells the last.
func withEnvOnce(p *specs.Process) *specs.Process {
	if p == nil {
		return nil
	}
	last := make(map[string]int, len(p.Env))
	for i, e := range p.Env {
		last[envName(e)] = i
	}
	if len(last) == len(p.Env) {
		return p
	}
	once := *p
	once.Env = make([]string, 0, len(last))
	for i, e := range p.Env {
		if last[envName(e)] == i {
			once.Env = append(once.Env, e)
		}
	}
	return &once
}

func envName(e string) string {
	name, _, _ := strings.Cut(e, "=")
	return name
}

func searchPath(env []string) string {
	path := defaultPath
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			path = v
		}
	}
	return path
}

// wantsHome reports whether HOME is to be found for a process; a hook has the environment
// that it was given.
func (c *compiler) wantsHome(p *specs.Process) bool { return c.hook == "" && !hasHome(p.Env) }

func hasHome(env []string) bool {
	return slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "HOME=") && e != "HOME=" })
}
