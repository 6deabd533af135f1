package libcontainer

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/bundle"
	"github.com/gantry-containers/gantry/libcontainer/cgroup"
	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/libcontainer/host"
	"github.com/gantry-containers/gantry/libcontainer/inroot"
	"github.com/gantry-containers/gantry/libcontainer/internal/bug"
	"github.com/gantry-containers/gantry/libcontainer/launch"
	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/resctrl"
	"github.com/gantry-containers/gantry/libcontainer/state"
	"github.com/gantry-containers/gantry/libcontainer/validate"
)

// Exec runs a further process in a running container. Detached it returns 0 once the
// program runs, otherwise the program's exit status as Run does.
func (r *Runtime) Exec(o *ExecOptions) (int, error) {
	if err := host.CheckKernel(); err != nil {
		return 0, err
	}
	if err := launch.ProtectExe(); err != nil {
		return 0, err
	}
	dir, st, err := r.load(o.ID)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	e := &execution{r: r, o: o, st: st, status: Running}
	if err := e.checkStatus(); err != nil {
		return 0, err
	}
	if err := e.describe(dir); err != nil {
		return 0, err
	}
	return e.run()
}

// execution is a process on its way into a container.
type execution struct {
	r      *Runtime
	o      *ExecOptions
	st     *state.State
	facts  *host.Facts
	spec   *specs.Spec
	proc   *specs.Process
	filter *plan.Seccomp
	set    *cgroup.Set
	status Status // the container's, for a seccomp listener
	hook   string // the program, where the process is a hook
	stdio  []int  // nil for the runtime's own
}

func (e *execution) checkStatus() error {
	status, err := statusOf(e.st)
	switch {
	case err != nil:
		return err
	case status == Stopped:
		return ErrExecStopped
	case status == Paused && !e.o.IgnorePaused:
		return ErrPaused
	}
	return nil
}

// describe works out the process from the container's own and the options.
func (e *execution) describe(dir *state.Dir) error {
	raw, err := dir.Config()
	if err != nil {
		return err
	}
	spec, rawSeccomp, err := bundle.Decode(raw)
	if err != nil {
		return err
	}
	e.spec = spec
	if e.proc, err = e.process(); err != nil {
		return err
	}
	if err := e.probe(); err != nil {
		return err
	}
	if problems := validate.Process(e.proc, "process", e.facts); len(problems) > 0 {
		return &validate.Error{Problems: problems}
	}
	if err := checkDescriptors(e.o.PreserveFDs); err != nil {
		return err
	}
	e.filter, err = loadFilter(rawSeccomp, e.facts)
	e.r.traceFilter(e.filter)
	return err
}

// probe finds out what the plan must know of the machine.
func (e *execution) probe() (err error) {
	if e.facts, err = host.ProbeSelf(); err != nil {
		return err
	}
	e.facts.Cgroup = cgroupFacts(e.st.CgroupPaths)
	if plan.Labelled(e.proc, nil) {
		e.facts.LSM = host.ProbeLSM()
	}
	return nil
}

// process is the process object: from a file, or the container's changed by the options.
func (e *execution) process() (*specs.Process, error) {
	if e.o.ProcessFile != "" {
		p, err := loadProcess(e.o.ProcessFile)
		if err == nil {
			inherit(p, e.spec.Process)
		}
		return p, err
	}
	p := *e.spec.Process
	if len(e.o.Args) == 0 {
		return nil, fault.Usage.Errorf("exec args cannot be empty")
	}
	p.Args, p.Terminal, p.ConsoleSize = e.o.Args, e.o.TTY, nil
	if e.o.Cwd != "" {
		p.Cwd = e.o.Cwd
	}
	p.Env = slices.Concat(p.Env, e.o.Env)
	p.NoNewPrivileges = p.NoNewPrivileges || e.o.NoNewPrivs
	if e.o.AppArmor != "" {
		p.ApparmorProfile = e.o.AppArmor
	}
	if e.o.ProcessLabel != "" {
		p.SelinuxLabel = e.o.ProcessLabel
	}
	if e.o.User != "" {
		uid, gid, hasGID, err := parseUser(e.o.User)
		if err != nil {
			return nil, err
		}
		p.User.UID = uid
		if hasGID {
			p.User.GID = gid
		}
	}
	p.User.AdditionalGids = slices.Concat(p.User.AdditionalGids, e.o.AdditionalGIDs)
	p.Capabilities = withCaps(p.Capabilities, e.o.Caps)
	return &p, nil
}

// inherit fills in what a process object leaves open from the container's, as runc does: a
// process that says nothing of its confinement is not less confined than the container.
func inherit(p, from *specs.Process) {
	if p.ApparmorProfile == "" {
		p.ApparmorProfile = from.ApparmorProfile
	}
	if p.SelinuxLabel == "" {
		p.SelinuxLabel = from.SelinuxLabel
	}
	if p.Capabilities == nil {
		p.Capabilities = from.Capabilities
	}
	if len(p.Rlimits) == 0 {
		p.Rlimits = from.Rlimits
	}
	if p.User.Umask == nil {
		p.User.Umask = from.User.Umask
	}
	if p.Scheduler == nil {
		p.Scheduler = from.Scheduler
	}
	if p.IOPriority == nil {
		p.IOPriority = from.IOPriority
	}
	if a := p.ExecCPUAffinity; a == nil || a.Initial == "" && a.Final == "" {
		p.ExecCPUAffinity = from.ExecCPUAffinity
	}
}

// withCaps adds capabilities to the sets that make them usable. The inheritable set stays as
// it is: CVE-2022-29162. One that is in it becomes ambient too, as in runc: else a user other
// than root would not have it.
func withCaps(base *specs.LinuxCapabilities, extra []string) *specs.LinuxCapabilities {
	if len(extra) == 0 {
		return base
	}
	caps := specs.LinuxCapabilities{}
	if base != nil {
		caps = *base
	}
	for _, set := range []*[]string{&caps.Bounding, &caps.Effective, &caps.Permitted} {
		*set = slices.Concat(*set, extra)
	}
	for _, name := range extra {
		if slices.Contains(caps.Inheritable, name) {
			caps.Ambient = append(slices.Clip(caps.Ambient), name)
		}
	}
	return &caps
}

func loadProcess(file string) (*specs.Process, error) {
	raw, err := bundle.ReadFile(file)
	if err != nil {
		return nil, fault.FlagFailed.At("--process", err)
	}
	return bundle.DecodeProcess(raw)
}

func (e *execution) run() (int, error) {
	var relay *relay
	if !e.o.Detach {
		var err error
		if relay, err = newRelay(!e.o.NoSubreaper); err != nil {
			return 0, err
		}
		defer relay.stop()
	}
	tty, err := openTerminal(e.proc, &e.o.LaunchOptions)
	if err != nil {
		return 0, err
	}
	if tty != nil {
		defer tty.closeSocket()
	}
	p, err := e.launch(tty)
	if err != nil {
		return 0, err
	}
	defer unix.Close(p.PIDFD)
	if err := sendPidfd(e.o.PidfdSocket, p.PIDFD); err != nil {
		p.Kill()
		return 0, fault.FlagFailed.Atf("--pidfd-socket", "%s: %w", e.o.PidfdSocket, err)
	}
	if err := writePidFile(e.o.PidFile, p.PID); err != nil {
		p.Kill()
		return 0, fault.FlagFailed.Atf("--pid-file", "%s: %w", e.o.PidFile, err)
	}
	if e.o.Detach {
		return 0, nil
	}
	return relay.wait(p, tty)
}

func (e *execution) launch(tty *terminal) (*launch.Process, error) {
	pidfd, err := openInit(e.st.Init)
	if err != nil {
		return nil, ErrExecStopped
	}
	defer unix.Close(pidfd)
	target, err := launch.NewTarget(e.st.Init.PID, pidfd)
	if err != nil {
		return nil, err
	}
	if e.set, err = e.cgroups(); err != nil {
		return nil, err
	}
	if e.hook == "" {
		e.findHome()
	}
	in := &plan.ExecInput{
		Process: e.proc, Facts: e.facts, ID: e.o.ID, Seccomp: e.filter,
		Namespaces: target.Namespaces, Rootfs: e.st.Rootfs, PreserveFDs: e.o.PreserveFDs,
		Hook: e.hook, Resctrl: joinOf(&e.st.IntelRdt),
	}
	in.NoMknod = len(e.st.CgroupPaths) == 0 && plan.RestrictsDevices(e.spec)
	in.DenySetgroups = e.facts.NoSetgroups || slices.Contains(target.Namespaces, "user") && deniesSetgroups(e.st.Init.PID)
	in.KeepGroups = plan.KeepsGroups(e.st.Annotations)
	if l := e.spec.Linux; l != nil {
		in.UIDMappings, in.Personality, in.MemoryPolicy = l.UIDMappings, l.Personality, l.MemoryPolicy
	}
	for _, g := range e.set.Paths() {
		in.Cgroups = append(in.Cgroups, g.Hierarchy)
	}
	if in.Attach, err = e.attachment(); err != nil {
		return nil, err
	}
	l := &launch.Launch{
		CgroupProcs: e.cgroupProcs,
		CgroupDir:   e.cgroupDir, CgroupElsewhere: e.initCgroup,
		Perform: e.perform,
		Target:  pidfd, Start: -1, Console: -1, Stdio: e.stdio,
	}
	if tty != nil {
		l.Console, l.ConsoleAnswers = tty.socket, tty.screen != nil
	}
	if l.Plan, err = plan.Exec(in); err != nil {
		return nil, err
	}
	e.r.trace(l.Plan)
	p, err := l.Run()
	if errors.Is(err, unix.ESRCH) {
		err = fault.ContainerNotRunning.Of("", err) // it ended just now
	}
	return p, err
}

// deniesSetgroups reports whether setgroups(2) is denied in the user namespace of a
// process, which is so when its maps were written without privilege, user_namespaces(7).
func deniesSetgroups(pid int) bool {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/setgroups", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var b [8]byte
	n, err := unix.Read(fd, b[:])
	return err == nil && strings.HasPrefix(string(b[:max(n, 0)]), "deny")
}

// findHome adds HOME from the container's /etc/passwd, as the plan would in the middle of
// the launch if the runtime could not reach the container's root from here.
func (e *execution) findHome() {
	if slices.ContainsFunc(e.proc.Env, func(v string) bool { return strings.HasPrefix(v, "HOME=") }) {
		return
	}
	root, err := unix.Open("/proc/"+strconv.Itoa(e.st.Init.PID)+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(root)
	const limit = 1 << 20 // above any real one; a larger one counts as none
	passwd, err := inroot.ReadFile(root, "/etc/passwd", limit)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return
	}
	e.proc.Env = append(slices.Clip(e.proc.Env), "HOME="+launch.HomeOf(passwd, e.proc.User.UID))
}

func (e *execution) perform(op *plan.Op, p *launch.Process) error {
	switch a := op.Do.(type) {
	case *plan.SendSeccompFD:
		return sendListener(a, p, e.st, e.status)
	case *plan.JoinResctrlGroup:
		return fault.CgroupFailed.At(op.Field, resctrl.At(e.st.IntelRdt.Root).Join(a, p.PID))
	case *plan.AttachToUnit:
		return fault.CgroupFailed.At(op.Field, attachToUnit(a, p.PID))
	}
	bug.Found("nobody performs " + op.Do.String())
	return nil
}
