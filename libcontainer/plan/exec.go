package plan

import (
	"errors"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

// ExecInput is everything that decides the plan of a process that joins a running
// container.
type ExecInput struct {
	Process *specs.Process
	Facts   *host.Facts
	ID      string
	Seccomp *Seccomp
	// Namespaces are the kinds in which the container's init differs from the runtime.
	Namespaces []string
	// Rootfs is entered by chroot(2) when the container has no mount namespace of its own.
	Rootfs string
	// Cgroups are the hierarchies in which the container has a cgroup.
	Cgroups []string
	// Resctrl is where the container is in resctrl; nil when it is nowhere.
	Resctrl *JoinResctrlGroup
	// Attach has systemd move the process there; nil when the process may join by itself.
	Attach       *AttachToUnit
	NoNewKeyring bool
	// NoMknod leaves out CAP_MKNOD: the container's device rules have no cgroup to hold them.
	NoMknod     bool
	PreserveFDs int
	// UIDMappings are those of the container's user namespace, where they are known.
	UIDMappings []specs.LinuxIDMapping
	// Personality and MemoryPolicy are the container's: no process object has them.
	Personality  *specs.LinuxPersonality
	MemoryPolicy *specs.LinuxMemoryPolicy
	// DenySetgroups is set where the container's user namespace denies setgroups(2).
	DenySetgroups bool
	// KeepGroups says that the container's processes have the runtime's groups: KeepsGroups.
	KeepGroups bool
	// Hook is the program of a hook, which is run in the place of Process.Args[0]: with stdio
	// of its own, and in Process.Env as it is. "" for other processes.
	Hook string
}

// Exec compiles the plan of an exec'ed process. Everything that needs rights happens
// before the process is forked into the container's pid namespace: there, processes of
// the container could trace it.
func Exec(in *ExecInput) (*Plan, error) {
	c := &compiler{
		Input: &Input{Facts: in.Facts, Seccomp: in.Seccomp, ID: in.ID, NoNewKeyring: in.NoNewKeyring},
		proc:  withEnvOnce(in.Process), hook: in.Hook, linux: &specs.Linux{Personality: in.Personality, MemoryPolicy: in.MemoryPolicy},
	}
	c.Ops = make([]Op, 0, 32)
	if in.NoMknod {
		c.proc = withoutMknod(c.proc)
	}
	c.checkLabels()
	ns := namespaces{created: in.Namespaces}
	memory := ""
	if h := in.Facts.Cgroup.Find("memory"); h != nil && in.Facts.Cgroup.Mode != host.CgroupV2 {
		memory = h.Name
	}
	c.enter(in, &ns, memory)
	c.identity(c.proc, ns.user(), in.DenySetgroups || in.KeepGroups)
	if memory != "" && len(in.Cgroups) > 0 {
		c.add(Child, "linux.resources.memory", &JoinCgroups{Hierarchies: []string{memory}})
	}
	c.finalAffinity()
	if ns.isNew("pid") {
		c.add(Child, "linux.namespaces", &Fork{})
	}
	c.add(Child, "process", &NewSession{})
	c.inherent()
	if !c.machineRights() {
		c.raise(Child)
	}
	if c.proc.Terminal {
		c.add(Child, "process.terminal", &ControlTerminal{})
	}
	if c.wantsHome(c.proc) {
		c.add(Runtime, "process.user", &FindHome{UID: c.proc.User.UID})
	}
	if ns.user() {
		c.rlimits(Runtime, c.proc)
	}
	if c.machineRights() {
		c.raise(Runtime) // the process has given up its own rights: a deadline can't be forked
	}
	c.finish(c.proc, in.Seccomp)
	if len(c.errs) > 0 {
		return nil, errors.Join(c.errs...)
	}
	return &c.Plan, nil
}

// enter joins the container's cgroups and namespaces.
func (c *compiler) enter(in *ExecInput, ns *namespaces, memory string) {
	privileged := in.Facts.UID == 0
	if ns.user() {
		c.ownStdio(c.proc, in.UIDMappings)
	}
	affine := c.proc.ExecCPUAffinity != nil && c.proc.ExecCPUAffinity.Initial != ""
	early, born, mayFail := in.Cgroups, false, false
	switch {
	case in.Attach != nil:
		early = nil
	case memory != "":
		early = without(early, memory)
	case affine: // it goes for the time before the cgroup
	case in.Facts.Cgroup.Mode == host.CgroupV2:
		early, born = nil, len(in.Cgroups) > 0
	}
	if tracksUnified(&in.Facts.Cgroup) && slices.Contains(early, "") && !affine {
		early, born, mayFail = without(early, ""), true, true
	}
	c.add(Runtime, "process", &Clone{IntoCgroup: born, MayFail: mayFail})
	c.add(Child, "process", &CloseFDs{Preserve: in.PreserveFDs})
	if privileged {
		c.add(Child, "root", &SealExe{})
		c.add(Child, "process", &Undumpable{})
	}
	if a := c.proc.ExecCPUAffinity; a != nil {
		c.affinity("process.execCPUAffinity.initial", a.Initial)
	}
	if len(early) > 0 {
		c.add(Child, cgroupsPathField, &JoinCgroups{Hierarchies: early})
	}
	if in.Attach != nil {
		c.add(Runtime, cgroupsPathField, in.Attach)
	}
	if in.Resctrl != nil {
		c.add(Runtime, intelRdtField, in.Resctrl)
	}
	if c.proc.OOMScoreAdj != nil {
		c.add(Child, "process.oomScoreAdj", &SetOOMScore{Score: *c.proc.OOMScoreAdj})
	}
	c.add(Child, "linux.namespaces", &JoinContainer{Types: in.Namespaces, KeepGroups: in.KeepGroups})
	if !ns.isNew("mount") {
		c.add(Child, "root.path", &Chroot{Rootfs: in.Rootfs})
	}
	if !privileged {
		c.add(Child, "root", &SealExe{})
		c.add(Child, "process", &Undumpable{})
	}
	if ns.user() {
		c.keyring()
		c.add(Child, "linux.uidMappings", &BecomeRoot{KeepGroups: in.DenySetgroups || in.KeepGroups})
	} else {
		c.keyring()
	}
	if c.proc.Terminal {
		c.add(Child, "process.terminal", console(c.proc, false))
	}
}
