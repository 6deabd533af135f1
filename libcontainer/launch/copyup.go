package launch

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/copyup"
	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// copyUp has a process of its own fill a new file system from the directory that it will
// cover. Both came from the child as descriptors.
func (p *Process) copyUp(op *plan.Op, a *plan.CopyUp) error {
	fail := func(call string, err error) error {
		return &Error{Field: op.Field, Op: op.Do, Call: call, Errno: err}
	}
	from, err := p.launch.received()
	if err != nil {
		return fail("recvmsg", err)
	}
	defer unix.Close(from)
	to, err := p.launch.received()
	if err != nil {
		return fail("recvmsg", err)
	}
	defer unix.Close(to)
	if a.KeepOwner && isEmpty(from) || sameOwner(from, to) && isEmpty(from) {
		return nil // as most are, and a process takes two milliseconds
	}
	output, err := memfd("copyup-output", nil)
	if err != nil {
		return fail("memfd", err)
	}
	defer unix.Close(output)
	l := &Launch{
		Plan: p.launch.copyPlan(a), CgroupProcs: p.launch.CgroupProcs,
		Target: -1, Start: -1, Console: -1, Stdio: []int{from, to, output},
	}
	copier, err := l.Run()
	if err != nil {
		return fault.LaunchFailed.Atf(op.Field, "the process that copies: %w", err)
	}
	defer unix.Close(copier.PIDFD)
	status, err := copier.Wait()
	if err == nil && (!status.Exited() || status.ExitStatus() != 0) {
		err = errors.New(describe(status) + quote(output))
	}
	if err != nil {
		return fail(copyup.Name, err)
	}
	return nil
}

// copyPlan is the plan of the copying process. It stays in the runtime's mount and pid
// namespaces, where nothing of the container can see it.
func (l *Launch) copyPlan(a *plan.CopyUp) *plan.Plan {
	p := &plan.Plan{}
	add := func(actor plan.Actor, do plan.Action) {
		p.Ops = append(p.Ops, plan.Op{Actor: actor, Field: "mounts", Do: do})
	}
	add(plan.Runtime, &plan.Clone{})
	add(plan.Child, &plan.CloseFDs{})
	if len(a.Charged) > 0 {
		add(plan.Child, &plan.JoinCgroups{Hierarchies: a.Charged, MayFail: true})
	}
	if a.UserNS {
		space := plan.Namespace{Type: "user", Path: a.UserNSPath}
		if space.Path == "" {
			space.Path = "/proc/self/fd/" + itoa(l.userNS)
		}
		add(plan.Child, &plan.JoinNamespaces{Namespaces: []plan.Namespace{space}})
		add(plan.Child, &plan.BecomeRoot{KeepGroups: true})
	}
	add(plan.Child, &plan.SetUmask{Mask: 0})
	add(plan.Child, &plan.ResetSignals{})
	add(plan.Child, &plan.FindProgram{Name: "/proc/self/exe"})
	args := []string{copyup.Name}
	if a.KeepOwner {
		args = append(args, copyup.KeepOwner)
	}
	add(plan.Child, &plan.Execute{Args: args})
	return p
}

// isEmpty reports whether a directory has no entries; if it can't be told, it may have.
func isEmpty(dir int) bool {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	buf := make([]byte, 1024)
	for {
		n, err := unix.ReadDirent(fd, buf)
		if err != nil {
			return false
		}
		if n == 0 {
			return true
		}
		if _, _, names := unix.ParseDirent(buf[:n], -1, nil); len(names) > 0 {
			return false
		}
	}
}

func sameOwner(a, b int) bool {
	var x, y unix.Stat_t
	return unix.Fstat(a, &x) == nil && unix.Fstat(b, &y) == nil && x.Uid == y.Uid && x.Gid == y.Gid
}

// keepUserNS remembers the child's user namespace for the processes that copy: later, when
// the child is not dumpable, a rootless runtime may not open it.
func (p *Process) keepUserNS() error {
	if !p.launch.copiesUp {
		return nil
	}
	fd, err := unix.Open("/proc/"+itoa(p.PID)+"/ns/user", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		p.launch.userNS = p.launch.keep(fd)
	}
	return err
}
