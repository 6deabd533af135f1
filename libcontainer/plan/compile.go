package plan

import (
	"errors"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

// Input is everything that decides a container's plan.
type Input struct {
	Spec   *specs.Spec
	Facts  *host.Facts
	ID     string
	Bundle string // absolute
	Rootfs string // absolute
	// RootfsMount is the mount point that holds Rootfs; needed for a shared rootfsPropagation only.
	RootfsMount string
	Seccomp     *Seccomp // nil without a filter

	Start           bool // run: go on to the user's program without waiting for `start`
	NoPivot         bool
	NoNewKeyring    bool
	PreserveFDs     int  // descriptors from 3 on that reach the program
	OptionalCgroups bool // do without cgroups that the user may not make (rootless)
	Driver          Driver
	UserManager     bool // with DriverSystemd: the user's own service manager
}

// Seccomp is the compiled filter of linux.seccomp.
type Seccomp struct {
	Instructions     []byte // array of struct sock_filter
	Flags            uint
	Notify           bool
	ListenerPath     string
	ListenerMetadata string
}

// compiler collects the plan of one container.
type compiler struct {
	Plan
	*Input
	proc  *specs.Process
	linux *specs.Linux
	ns    namespaces
	errs  []error
	// everySource says that the child can't open any source of a bind mount itself.
	everySource bool
	// options are those of the spec's mounts, by index.
	options []mountOptions
	// readonlyDev is the index of a mount on /dev that becomes read-only after the device
	// nodes are made; -1 for none.
	readonlyDev int
	// handler executes the program in the kernel's place; "" without one. handlerField asked for it.
	handler, handlerField string
	// hasCgroups says that there are cgroups of the container's own.
	hasCgroups bool
	groups     []Cgroup // the container's, as far as they are known before it runs
	unit       *Unit    // with DriverSystemd
	properties []Property
	deadNodes  bool   // device rules without a cgroup
	hook       string // the program of a hook; "" for a container's
}

// Create compiles the plan of a new container. It is the table of contents of a
// launch: what happens, in this order.
func Create(in *Input) (*Plan, error) {
	c := newCompiler(in)
	c.checkLabels()
	c.chooseHandler()
	c.cgroups()
	c.resctrl()
	c.birth()
	c.session()
	if c.ns.has("mount") {
		c.root()
		c.mounts()
		c.devices()
		c.terminal()
		c.hooks()
		c.protectDev()
		c.paths()
		c.enterRoot()
		c.nullStdio()
	} else {
		c.mountsOnHost()
		c.hooks()
		c.protectDev()
		c.add(Child, "root.path", &Chroot{Rootfs: c.Rootfs})
		c.terminal()
	}
	c.names()
	c.process()
	c.commit()
	c.execute()
	if len(c.errs) > 0 {
		return nil, errors.Join(c.errs...)
	}
	return &c.Plan, nil
}

func newCompiler(in *Input) *compiler {
	c := &compiler{Input: in, proc: withEnvOnce(in.Spec.Process), linux: in.Spec.Linux, readonlyDev: -1}
	if c.linux == nil {
		c.linux = &specs.Linux{}
	}
	c.Ops = make([]Op, 0, 96)
	c.ns = collectNamespaces(c.linux.Namespaces)
	c.options = make([]mountOptions, len(c.Spec.Mounts))
	for i := range c.Spec.Mounts {
		c.options[i] = parseMountOptions(c.Spec.Mounts[i].Options)
	}
	return c
}

// fail records a problem with a field; compiling goes on, so that all are found.
func (c *compiler) fail(field, problem string) {
	c.errs = append(c.errs, &Problem{Field: field, What: problem})
}

// Problem says why a field can't be compiled.
type Problem struct {
	Field string // JSON path
	What  string
}

func (p *Problem) Error() string { return p.Field + ": " + p.What }

// cgroups makes the container's cgroups, with their limits, before any process exists.
func (c *compiler) cgroups() {
	var errs []error
	if c.properties, errs = annotatedProperties(c.Spec.Annotations); errs != nil {
		c.errs = append(c.errs, errs...)
	}
	var err error
	switch c.Driver {
	case DriverNone:
		c.withoutCgroups()
		return
	case DriverSystemd:
		if c.unit, err = unitFor(c.linux.CgroupsPath, c.ID, c.UserManager); err == nil {
			c.groups, err = unitCgroups(c.unit, c.Facts)
		}
	case DriverFiles:
		c.groups, err = cgroupsFor(c.Spec, c.ID, c.Facts)
	}
	if err != nil {
		c.errs = append(c.errs, err)
		return
	}
	c.hasCgroups = len(c.groups) > 0 || c.unit != nil
	if len(c.groups) > 0 {
		c.add(Runtime, cgroupsPathField, &CreateCgroups{Cgroups: c.groups, Optional: c.OptionalCgroups})
		if c.unit == nil {
			c.limits()
		}
	}
}

// limits puts resource limits and device rules in force.
func (c *compiler) limits() {
	writes, err := resourceWrites(c.linux.Resources, c.Facts)
	if err != nil {
		c.errs = append(c.errs, err)
		return
	}
	rules, err := deviceRules(c.Spec)
	if err != nil {
		c.errs = append(c.errs, err)
		return
	}
	if c.unit != nil {
		c.scope(writes, rules)
	}
	for i := range writes {
		c.add(Runtime, writes[i].Field, &writes[i].Write)
	}
	c.add(Runtime, devicesField, &SetDevices{Rules: rules})
}

// session detaches the child from the caller.
func (c *compiler) session() {
	c.add(Child, "process", &NewSession{})
	if !c.ns.user() {
		c.keyring()
	}
	c.add(Child, "process", &SetUmask{Mask: 0})
	if c.ns.isNew("network") {
		c.add(Child, "linux.namespaces", &LoopbackUp{})
	}
	c.netDevices()
}

// keyring keeps the caller's keys from the container. It counts against the quota of the
// user that the process has now: in a user namespace it is made before the process becomes
// one who may have 200 keys, keyrings(7).
func (c *compiler) keyring() {
	if c.NoNewKeyring {
		return
	}
	field := "process"
	if c.proc.SelinuxLabel != "" {
		field += ".selinuxLabel"
	}
	c.add(Child, field, &SessionKeyring{Name: "_ses." + c.ID, Label: c.proc.SelinuxLabel})
}

// hooks runs what must happen before the root is pivoted: prestart and createRuntime
// in the runtime's namespaces, createContainer in the container's.
func (c *compiler) hooks() {
	h := c.Spec.Hooks
	if h == nil {
		return
	}
	c.addHooks("prestart", len(h.Prestart), false) //nolint:staticcheck // deprecated, and still used by Docker
	c.addHooks("createRuntime", len(h.CreateRuntime), false)
	c.addHooks("createContainer", len(h.CreateContainer), true)
}

func (c *compiler) addHooks(kind string, n int, inContainer bool) {
	if n > 0 {
		c.add(Runtime, "hooks."+kind, &RunHooks{Kind: kind, InContainer: inContainer, Count: n})
	}
}

// names sets what the namespaces carry besides mounts.
func (c *compiler) names() {
	c.sysctls()
	if c.Spec.Hostname != "" {
		c.add(Child, "hostname", &SetHostname{Name: c.Spec.Hostname})
	}
	if c.Spec.Domainname != "" {
		c.add(Child, "domainname", &SetDomainname{Name: c.Spec.Domainname})
	}
}

// process prepares identity and limits of the user's process.
func (c *compiler) process() {
	byRuntime := c.ns.user() && c.machineRights()
	if !byRuntime {
		c.raise(Child)
	}
	c.identity(c.proc, c.ns.user(), c.keepGroups())
	late := c.lateCgroups()
	if len(late) > 0 {
		c.add(Child, "linux.resources.memory", &JoinCgroups{Hierarchies: late})
	}
	c.inherent()
	if byRuntime {
		c.raise(Runtime)
	}
}

// commit is the point from which on the container exists.
func (c *compiler) commit() {
	if c.wantsHome(c.proc) {
		c.add(Runtime, "process.user", &FindHome{UID: c.proc.User.UID})
	}
	if c.ns.user() {
		c.rlimits(Runtime, c.proc)
	}
	if c.confinedEarly() {
		c.confine(c.proc, c.Seccomp)
	}
	c.joinResctrl()
	c.add(Runtime, "process", &Commit{})
	if !c.Start {
		c.add(Child, "process", &AwaitStart{})
		return
	}
	if h := c.Spec.Hooks; h != nil {
		c.addHooks("startContainer", len(h.StartContainer), true)
	}
}

// confinedEarly reports whether the filter is loaded before the wait for `start`: only
// the runtime that made the child can fetch a listener out of it, and that one is gone then.
func (c *compiler) confinedEarly() bool {
	return !c.Start && c.Seccomp != nil && c.Seccomp.Notify
}

// execute ends in the user's program.
func (c *compiler) execute() {
	if c.confinedEarly() {
		c.program(c.proc)
		return
	}
	c.finish(c.proc, c.Seccomp)
}
