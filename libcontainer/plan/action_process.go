package plan

import "strings"

// NewSession makes the child the leader of a new session, setsid(2).
type NewSession struct{}

// SessionKeyring gives the container a session keyring of its own, keyctl(2).
type SessionKeyring struct {
	Name  string
	Label string // of SELinux; "" for the process's own
}

// LoopbackUp brings up the loopback device of a new network namespace.
type LoopbackUp struct{}

// SetHostname sets the host name, sethostname(2).
type SetHostname struct{ Name string }

// SetDomainname sets the NIS domain name, setdomainname(2).
type SetDomainname struct{ Name string }

// SetSysctl writes a kernel parameter of the container's namespaces.
type SetSysctl struct {
	Path  string // below /proc/sys
	Value string
}

// SetOOMScore sets the process's oom_score_adj, proc_pid_oom_score_adj(5).
type SetOOMScore struct{ Score int }

// Console makes the container's terminal, hands its master to the caller and makes
// the slave stdio and the controlling terminal.
type Console struct {
	Height, Width uint // characters; 0 leaves it
	UID           uint32
	// Mount binds the slave to /dev/console: a container's init has it, an exec'ed process not.
	Mount bool
}

// ControlTerminal makes stdin the controlling terminal of the session, ioctl_tty(2).
type ControlTerminal struct{}

// SetRlimit sets a resource limit, setrlimit(2).
type SetRlimit struct {
	Name       string // RLIMIT_…
	Soft, Hard uint64
}

// ResetSignals makes every signal's disposition the default: an ignored one would
// stay ignored across execve(2).
type ResetSignals struct{}

// DropBounding removes capabilities from the bounding set, capabilities(7).
type DropBounding struct {
	Drop CapSet
}

// SetUser takes the user's ids. Capabilities are kept until SetCapabilities.
type SetUser struct {
	UID, GID uint32
	Groups   []uint32
	// KeepGroups keeps the runtime's groups: setgroups(2) is denied, or they are wanted.
	KeepGroups bool
}

// OwnStdio gives the user the pipes and terminals that are its stdio, so that it can open
// /dev/stdout anew; plain files stay the caller's.
type OwnStdio struct{ UID uint32 }

// ReopenNull puts the container's own /dev/null, for reading and writing, in the place of
// the caller's on stdio. A caller may have opened that for reading only, and it lies on a
// mount that the container doesn't have, where nobody but this host can find it again.
//
// ByRuntime has the runtime open it, and see that it is one.
type ReopenNull struct{ ByRuntime bool }

// SetUmask sets the file mode creation mask, umask(2).
type SetUmask struct{ Mask uint32 }

// ChangeDir changes the working directory, never through a magic link. AsRoot it may be
// refused; without, it does nothing if that was not.
type ChangeDir struct {
	Path   string
	AsRoot bool
}

// FindProgram looks the program up, so that a missing one is an error of create.
type FindProgram struct {
	Name string
	Path string // value of PATH, used when Name has no slash
	// Readable is enough for a handler; else it must be executable.
	Readable bool `json:",omitempty"`
}

// KeepCapabilities narrows the sets to the final ones plus what the steps up to the
// seccomp filter need.
type KeepCapabilities struct {
	Capabilities
	Extra CapSet
}

// SetCapabilities sets the effective, permitted, inheritable and ambient sets.
type SetCapabilities struct {
	Capabilities
}

// NoNewPrivileges sets PR_SET_NO_NEW_PRIVS.
type NoNewPrivileges struct{}

// InstallSeccomp loads the filter, seccomp(2).
type InstallSeccomp struct {
	Instructions []byte `json:"-"`
	Flags        uint
	Notify       bool
}

// ReadPasswd reads the container's /etc/passwd for the runtime, to find the home directory.
type ReadPasswd struct{}

// AwaitStart blocks until `start` connects to the container's socket.
type AwaitStart struct{}

// Execute runs the user's program, execve(2).
type Execute struct {
	Args []string
	Env  []string
	// FindHome adds HOME from ReadPasswd: the environment has none.
	FindHome bool
	// Handler names what executes the program in the kernel's place; "" without one.
	Handler string `json:",omitempty"`
}

// RunHooks runs hooks of one kind, config.md "POSIX-platform Hooks".
type RunHooks struct {
	Kind string // prestart, createRuntime, createContainer, startContainer, poststart, poststop
	// InContainer runs them in the container's namespaces.
	InContainer bool
	Count       int
}

// FindHome picks the home directory of a uid from what ReadPasswd read.
type FindHome struct{ UID uint32 }

// Commit writes the container's state and pid: from here on it exists.
type Commit struct{}

// SendSeccompFD hands the filter's notification descriptor to the listener.
type SendSeccompFD struct {
	ListenerPath string
	Metadata     string
}

func (*NewSession) String() string      { return "start a new session" }
func (*LoopbackUp) String() string      { return "bring up the loopback device" }
func (a *SetHostname) String() string   { return "set hostname " + a.Name }
func (a *SetDomainname) String() string { return "set domainname " + a.Name }
func (a *SetSysctl) String() string     { return "write " + a.Value + " to /proc/sys/" + a.Path }
func (a *SetOOMScore) String() string   { return "set oom_score_adj " + count(a.Score) }
func (*Console) String() string         { return "make the terminal and hand over its master" }
func (*ControlTerminal) String() string { return "make stdin the controlling terminal" }
func (a *SetRlimit) String() string {
	return "set " + a.Name + " " + limit(a.Soft) + ":" + limit(a.Hard)
}
func (*ResetSignals) String() string { return "reset signal dispositions" }
func (a *DropBounding) String() string {
	return "drop from the bounding set: " + a.Drop.String()
}

func (a *SessionKeyring) String() string {
	return "join session keyring " + a.Name + labelSuffix(a.Label)
}

func (a *SetUser) String() string {
	s := "become user " + number(a.UID) + " group " + number(a.GID)
	if len(a.Groups) > 0 {
		s += " groups " + join(a.Groups, func(g *uint32) string { return number(*g) })
	}
	if a.KeepGroups {
		s += ", keep the runtime's groups"
	}
	return s
}
func (a *OwnStdio) String() string   { return "give stdio to user " + number(a.UID) }
func (a *ReopenNull) String() string { return "open /dev/null anew where it is stdio" }
func (a *SetUmask) String() string   { return "set umask " + octal(a.Mask) }
func (a *ChangeDir) String() string {
	if a.AsRoot {
		return "change directory to " + a.Path + " as root, if it may"
	}
	return "change directory to " + a.Path + ", if root may not"
}

func (a *FindProgram) String() string {
	if a.Readable {
		return "find readable file " + a.Name
	}
	return "find program " + a.Name
}

func (a *KeepCapabilities) String() string {
	return "keep capabilities " + (a.Permitted | a.Extra).String()
}

func (a *SetCapabilities) String() string {
	return "set capabilities effective " + a.Effective.String() + "; permitted " + a.Permitted.String() +
		"; inheritable " + a.Inheritable.String() + "; ambient " + a.Ambient.String()
}
func (*NoNewPrivileges) String() string  { return "set no_new_privs" }
func (a *InstallSeccomp) String() string { return "load the seccomp filter" }
func (*ReadPasswd) String() string       { return "read /etc/passwd" }
func (*AwaitStart) String() string       { return "wait for start" }
func (a *Execute) String() string {
	s := "execute " + strings.Join(a.Args, " ")
	if a.Handler != "" {
		s += " by the " + a.Handler + " handler"
	}
	return s
}

func (a *RunHooks) String() string {
	where := ""
	if a.InContainer {
		where = " in the container"
	}
	return "run " + count(a.Count) + " " + a.Kind + " hooks" + where
}
func (a *FindHome) String() string      { return "find the home directory of uid " + number(a.UID) }
func (*Commit) String() string          { return "write the state" }
func (a *SendSeccompFD) String() string { return "send the seccomp listener to " + a.ListenerPath }

func limit(n uint64) string {
	if n == ^uint64(0) {
		return "unlimited"
	}
	return number64(n)
}
