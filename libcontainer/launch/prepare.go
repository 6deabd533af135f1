package launch

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/procfs"
)

// prepare opens what the child will use, before its program is lowered: descriptors
// are constants there.
func (p *Process) prepare(clone *plan.Op) error {
	l := p.launch
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return &Error{Field: clone.Field, Op: clone.Do, Call: "socketpair", Errno: err}
	}
	p.raw, l.sync = pair[0], l.keep(pair[1])
	_ = unix.SetNonblock(p.raw, true) // parks in the netpoller: a blocked read would keep sysmon awake
	p.sync = os.NewFile(uintptr(p.raw), "sync")
	exe, err := p.arena.mapCode()
	if err != nil {
		return &Error{Field: "root", Op: &plan.SealExe{}, Call: "memfd_create", Errno: err}
	}
	l.exe = l.keep(exe)
	for i := range p.ops {
		if err := l.prepareOp(&p.ops[i]); err != nil {
			return err
		}
	}
	return nil
}

func (l *Launch) prepareOp(op *plan.Op) error {
	if writesProc(op) {
		if err := l.openProcFS(op); err != nil {
			return err
		}
	}
	switch a := op.Do.(type) {
	case *plan.SealExe:
		l.sealed = swapRefused() != nil
		if err := ProtectExe(); err != nil {
			return &Error{Field: op.Field, Op: op.Do, Call: "prctl", Errno: err}
		}
	case *plan.AttributesByRemount:
		fd, err := unix.FcntlInt(uintptr(l.procFS), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			return &Error{Field: op.Field, Op: op.Do, Call: "dup", Errno: err}
		}
		l.named = l.keep(fd)
	case *plan.OpenNetlink:
		return l.openHandOver()
	case *plan.MakeFilesystem:
		if a.Copied {
			return l.openHandOver()
		}
	case *plan.CopyUp:
		l.copiesUp = true
	case *plan.JoinCgroups:
		fds, err := l.CgroupProcs(a.Hierarchies)
		if err != nil {
			return err
		}
		if l.cgroupFDs == nil {
			l.cgroupFDs = make(map[string]int, 12)
		}
		for name, fd := range fds {
			l.cgroupFDs[name] = l.keep(fd)
		}
	case *plan.JoinNamespaces:
		l.namespaceFDs = make(map[string]int, len(a.Namespaces))
		for _, n := range a.Namespaces {
			fd, err := openNamespace(n)
			if err != nil {
				return &Error{Field: op.Field, Op: op.Do, Call: "open " + n.Path, Errno: err}
			}
			l.namespaceFDs[n.Path] = l.keep(fd)
		}
	}
	return nil
}

// writesProc reports whether the child's part of an operation uses the private procfs.
func writesProc(op *plan.Op) bool {
	if op.Actor == plan.Runtime {
		return false
	}
	switch a := op.Do.(type) {
	case *plan.SetSysctl, *plan.SetOOMScore, *plan.SetTimeOffsets, *plan.ChangeProfile, *plan.SetExecLabel, *plan.AttributesByRemount:
		return true
	case *plan.SessionKeyring:
		return a.Label != ""
	}
	return false
}

// lastProcFS is the index of the last operation that uses the private procfs; -1 for none.
// Changes of mounts by name end with the root that they are in.
func lastProcFS(ops []plan.Op) int {
	last, remounts := -1, false
	for i := range ops {
		if writesProc(&ops[i]) {
			last = i
		}
		switch ops[i].Do.(type) {
		case *plan.AttributesByRemount:
			remounts = true
		case *plan.PivotRoot:
			if remounts {
				last = i
			}
		}
	}
	return last
}

// openProcFS opens a procfs for the child's steps, once.
func (l *Launch) openProcFS(op *plan.Op) error {
	if l.procFS >= 0 {
		return nil
	}
	fs, err := procfs.Open()
	if err != nil {
		return &Error{Field: op.Field, Op: op.Do, Call: "open procfs", Errno: err}
	}
	l.procFS = l.keep(fs.FD())
	return nil
}

// openNamespace opens a namespace file and makes sure that it is one of the asked-for
// type, ioctl_ns(2).
func openNamespace(n plan.Namespace) (int, error) {
	fd, err := unix.Open(n.Path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil || kind != namespaceFlag(n.Type) {
		_ = unix.Close(fd)
		return -1, unix.EINVAL
	}
	return fd, nil
}

// reopen opens a descriptor's file anew.
func reopen(fd int) (int, error) {
	return unix.Open("/proc/self/fd/"+strconv.Itoa(fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

func itoa(n int) string { return strconv.Itoa(n) }
