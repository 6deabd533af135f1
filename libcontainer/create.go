package libcontainer

import (
	"errors"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/cgroup"
	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/libcontainer/host"
	"github.com/gantry-containers/gantry/libcontainer/internal/bug"
	"github.com/gantry-containers/gantry/libcontainer/launch"
	"github.com/gantry-containers/gantry/libcontainer/netdev"
	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/resctrl"
	"github.com/gantry-containers/gantry/libcontainer/state"
)

// Create makes a container whose process waits for Start. On error nothing of it is left.
func (r *Runtime) Create(o *CreateOptions) error {
	if err := host.CheckKernel(); err != nil {
		return err
	}
	if err := launch.ProtectExe(); err != nil {
		return err
	}
	c, err := r.create(o, false)
	if err != nil {
		return err
	}
	return c.close()
}

// creation is a container in the making.
type creation struct {
	r   *Runtime
	o   *CreateOptions
	in  *intake
	dir *state.Dir
	st  *state.State
	tty *terminal
	set *cgroup.Set
	// scope is the unit that systemd made; nil without one, and until then.
	scope   *scope
	oom     oomWatch
	mounts  *hostMounts // nil for a container with a mount namespace
	proc    *launch.Process
	handler *launch.Handler // what executes the program in the kernel's place; nil without one
	// devices are the host's network devices that were moved in; nil without any.
	devices *netdev.Mover
	// notify is the container's socket for its service manager; nil without one, and until
	// the program is to run.
	notify *notifier
	stop   []func() // what ends with the command, whatever comes of it
}

// create carries a bundle through to a process that waits for Start, or with start set
// to one that runs the user's program. The container's directory stays locked until close.
func (r *Runtime) create(o *CreateOptions, start bool) (*creation, error) {
	in, err := r.takeIn(o, start)
	if err != nil {
		return nil, err
	}
	c := &creation{r: r, o: o, in: in}
	if c.handler, err = openHandler(in.plan); err != nil {
		return nil, err
	}
	defer c.handler.Close()
	if c.dir, err = state.Create(r.Root, o.ID); err != nil {
		return nil, err
	}
	if err := c.build(start); err != nil {
		return nil, errors.Join(err, c.undo())
	}
	return c, nil
}

// build does everything that leaves traces.
func (c *creation) build(start bool) error {
	if err := c.record(); err != nil {
		return err
	}
	if err := c.openNotify(start); err != nil {
		return err
	}
	l := &launch.Launch{
		Plan: c.in.plan, Perform: c.perform, CgroupProcs: c.cgroupProcs, CgroupDir: c.cgroupDir,
		Target: -1, Start: -1, Console: -1, Handler: c.handler,
	}
	if !start {
		fd, err := listenStart(c.dir)
		if err != nil {
			return fault.StateFailed.Errorf("start socket: %w", err)
		}
		defer unix.Close(fd)
		l.Start = fd
	}
	var err error
	if c.tty, err = openTerminal(c.in.spec.Process, &c.o.LaunchOptions); err != nil {
		return err
	}
	if c.tty != nil {
		l.Console = c.tty.socket
		l.ConsoleAnswers = c.tty.screen != nil
		c.stop = append(c.stop, c.tty.closeSocket)
	}
	if c.mounts, err = watchHostMounts(c.in.plan, c.in.rootfs); err != nil {
		return err
	}
	c.proc, err = l.Run()
	switch {
	case errors.Is(err, launch.ErrVanished) && c.oom.killed(), err == nil && start && c.oom.killedInit(c.st.Init) && c.proc.Killed():
		return oomError()
	case err != nil:
		return err
	}
	return c.handOver()
}

// openNotify makes what prepareNotify has mounted; the socket in it only when the program
// runs at once, else `start` does.
func (c *creation) openNotify(start bool) error {
	if c.o.NotifySocket == "" && !c.o.notifyDir {
		return nil
	}
	if err := makeNotifyDir(c.dir); err != nil || !start {
		return err
	}
	var err error
	c.notify, err = listenNotify(c.dir, c.o.NotifySocket)
	return err
}

// record writes down what a killed creation would leave, before it exists: delete --force
// finds the cgroups by it.
func (c *creation) record() error {
	in := c.in
	c.st = &state.State{
		OCIVersion: in.spec.Version, ID: c.o.ID, Bundle: in.dir, Rootfs: in.rootfs,
		Created: now(), Owner: in.facts.UID, Rootless: c.r.Rootless,
		PrivatePID:  in.newNamespace("pid"),
		Annotations: in.spec.Annotations,
	}
	recordCgroups(c.st, in.plan)
	if err := c.dir.SaveConfig(in.raw); err != nil {
		return err
	}
	return c.dir.Save(c.st)
}

// recordCgroups notes in a state what the plan will make.
func recordCgroups(st *state.State, p *plan.Plan) {
	for i := range p.Ops {
		switch a := p.Ops[i].Do.(type) {
		case *plan.CreateCgroups:
			for j := range a.Cgroups {
				g := &a.Cgroups[j]
				st.CgroupPaths = append(st.CgroupPaths, state.CgroupPath{Hierarchy: g.Hierarchy, Path: g.Dir()})
			}
		case *plan.CreateScope:
			st.Unit, st.UserUnit = a.Unit.Name, a.Unit.User
		}
	}
}

// handOver tells the caller about the process: a pidfd, then, as the last thing, the pid.
func (c *creation) handOver() error {
	if err := sendPidfd(c.o.PidfdSocket, c.proc.PIDFD); err != nil {
		return fault.FlagFailed.Atf("--pidfd-socket", "%s: %w", c.o.PidfdSocket, err)
	}
	if socket := c.in.spec.Annotations[pidfdAnnotation]; socket != "" {
		if err := sendPidfd(socket, c.proc.PIDFD); err != nil {
			return fault.Atf("annotations[\""+pidfdAnnotation+"\"]", "%s: %w", socket, err)
		}
	}
	if err := writePidFile(c.o.PidFile, c.proc.PID); err != nil {
		return fault.FlagFailed.Atf("--pid-file", "%s: %w", c.o.PidFile, err)
	}
	return nil
}

// perform carries out the runtime's operations of the plan.
func (c *creation) perform(op *plan.Op, p *launch.Process) error {
	switch a := op.Do.(type) {
	case *plan.CreateCgroups:
		return c.createCgroups(op, a)
	case *plan.CreateScope:
		return c.createScope(op, a, p)
	case *plan.WriteCgroup:
		return fault.CgroupFailed.At(op.Field, c.set.Write(a))
	case *plan.SetDevices:
		return fault.CgroupFailed.At(op.Field, c.set.SetDevices(a.Rules))
	case *plan.MakeResctrlGroup:
		return c.makeResctrl(op, a)
	case *plan.WriteSchemata:
		return fault.CgroupFailed.At(op.Field, resctrl.At(c.st.IntelRdt.Root).Write(a))
	case *plan.JoinResctrlGroup:
		return fault.CgroupFailed.At(op.Field, resctrl.At(c.st.IntelRdt.Root).Join(a, p.PID))
	case *plan.RunHooks:
		// Recorded first, so that delete --force can end a creation that hangs in a hook.
		if err := c.save(p); err != nil {
			return err
		}
		return c.runHooks(a, p)
	case *plan.MoveNetDevice:
		return fault.LaunchFailed.At(op.Field, c.moveNetDevice(a, p))
	case *plan.Commit:
		return c.commit(p)
	case *plan.SendSeccompFD:
		st := *c.st
		st.Init.PID = p.PID // not recorded yet: Commit comes later
		return sendListener(a, p, &st, Creating)
	}
	bug.Found("nobody performs " + op.Do.String())
	return nil
}

func (c *creation) createCgroups(op *plan.Op, a *plan.CreateCgroups) (err error) {
	if c.set, err = cgroup.Create(a.Cgroups, a.Optional); err != nil {
		return fault.CgroupFailed.At(op.Field, err)
	}
	c.oom = watchOOM(c.in.spec, c.set)
	if paths := c.set.Paths(); len(paths) != len(c.st.CgroupPaths) {
		c.st.CgroupPaths = paths
	}
	return nil
}

func (c *creation) cgroupProcs(hierarchies []string) (map[string]int, error) {
	procs, err := procsOf(c.set, hierarchies)
	return procs, fault.CgroupFailed.At("linux.cgroupsPath", err)
}

func (c *creation) cgroupDir() (int, error) { return c.set.DirFD() }

// commit records the process as the container's. If the runtime dies before this, so
// does the process.
func (c *creation) commit(p *launch.Process) error {
	c.st.Started = c.in.start
	return c.save(p)
}

func (c *creation) save(p *launch.Process) error {
	init, err := state.Identify(p.PID)
	if err != nil {
		return err
	}
	c.st.Init = init
	return c.dir.Save(c.st)
}

// oomError words what the errno, or the silence of a killed process, does not tell.
func oomError() error {
	return fault.OOMKilled.Atf("linux.resources.memory.limit", "container init was OOM-killed (memory limit too low?)")
}

// oomWatch notices that the kernel killed a process of the cgroups for want of memory. A
// cgroup that was there before has a count of its own.
type oomWatch struct {
	set    *cgroup.Set // nil when the container has no memory limit: nothing to ask
	before uint64
	tiny   bool // the limit is below execveNeeds
	tight  bool // a kill is the limit's fault, not the program's: it is tiny, or nothing has run
}

// execveNeeds is more memory, in bytes, than execve needs where it can fail no more. A
// process that is killed at once though it may have that much has run its program: how
// that ends is told by its status, as ever.
const execveNeeds = 1 << 20

func watchOOM(spec *specs.Spec, set *cgroup.Set) oomWatch {
	if set == nil || spec.Linux == nil || spec.Linux.Resources == nil || spec.Linux.Resources.Memory == nil {
		return oomWatch{}
	}
	before, err := set.OOMKills()
	if err != nil {
		return oomWatch{}
	}
	limit := spec.Linux.Resources.Memory.Limit
	tiny := limit != nil && *limit < execveNeeds
	return oomWatch{set: set, before: before, tiny: tiny, tight: tiny}
}

func (w oomWatch) killed() bool {
	if w.set == nil {
		return false
	}
	n, err := w.set.OOMKills()
	if err == nil && n > w.before {
		return true
	}
	// systemd removes a scope's cgroup when its last process has ended, and the count with it.
	return w.tiny && w.set.Gone()
}

// killedInit reports whether a limit was too small for execve itself: the process is
// killed after the point of no return, where it can report nothing.
func (w oomWatch) killedInit(init state.Process) bool {
	if !w.tight || !w.killed() {
		return false
	}
	pidfd, err := openInit(init)
	if err != nil {
		return errors.Is(err, ErrNotRunning)
	}
	defer unix.Close(pidfd)
	const dying = 100 * time.Millisecond // the kill is counted before its victim is gone
	dead, err := waitReadable(pidfd, dying)
	return err == nil && dead
}

// undo removes a container that did not come to be.
func (c *creation) undo() error {
	err := c.returnNetDevices()
	c.end()
	c.notify.close()
	if c.proc != nil {
		c.proc.Kill()
	}
	err = errors.Join(err, c.mounts.takeBack())
	if c.set != nil {
		err = errors.Join(err, c.r.removeCgroups(c.set, c.scope, true))
	}
	if c.st != nil {
		err = errors.Join(err, resctrl.Remove(&c.st.IntelRdt))
	}
	return errors.Join(err, c.dir.Remove(), c.dir.Close())
}

// close ends a creation that succeeded.
func (c *creation) close() error {
	c.end()
	return c.dir.Close()
}

func (c *creation) end() {
	for _, f := range c.stop {
		f()
	}
	c.stop = nil
}

func procsOf(set *cgroup.Set, hierarchies []string) (map[string]int, error) {
	fds, err := set.JoinFDs(hierarchies)
	if err != nil {
		return nil, err
	}
	procs := make(map[string]int, len(fds))
	for i, fd := range fds {
		if fd >= 0 {
			procs[hierarchies[i]] = fd
		}
	}
	return procs, nil
}
