package launch

import (
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/procfs"
)

// homeSize is how long the string HOME=… in the scratch memory may be; what the child
// read of /etc/passwd follows it.
const homeSize = 4096

// perform carries out an operation of the runtime.
func (l *Launch) perform(op *plan.Op, p *Process) error {
	var err error
	switch a := op.Do.(type) {
	case *plan.OpenSources:
		return l.openSources(op, a)
	case *plan.WriteIDMaps:
		return p.writeIDMaps(op, a)
	case *plan.OwnStdio:
		OwnStdio(a)
	case *plan.FindHome:
		p.findHome(a)
	case *plan.SetRlimit:
		limit := &unix.Rlimit{Cur: a.Soft, Max: a.Hard}
		_, _, errno := unix.Syscall6(unix.SYS_PRLIMIT64, uintptr(p.PID), uintptr(rlimitNumber(a.Name)), uintptr(unsafe.Pointer(limit)), 0, 0, 0)
		err = l.opError(op, "prlimit64", errno)
	case *plan.SetScheduler:
		if err := unix.SchedSetAttr(p.PID, schedAttr(a), 0); err != nil {
			return &Error{Field: op.Field, Op: op.Do, Call: "sched_setattr", Errno: err}
		}
	case *plan.SetIOPriority:
		_, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, ioprioProcess, uintptr(p.PID), uintptr(ioPriority(a)))
		err = l.opError(op, "ioprio_set", errno)
	case *plan.SetOOMScore:
		err = p.writeProc("oom_score_adj", strconv.Itoa(a.Score))
		if err != nil {
			err = &Error{Field: op.Field, Op: op.Do, Call: "write oom_score_adj", Errno: err}
		}
	case *plan.CopyUp:
		return p.copyUp(op, a)
	case *plan.MoveNetDevice:
		return p.moveNetDevice(op)
	case *plan.SendSeccompFD:
		err = p.takeListener(op)
	default:
		return l.Perform(op, p)
	}
	return err
}

// OwnStdio performs the operation for the runtime's own stdio.
func OwnStdio(a *plan.OwnStdio) {
	for _, fd := range ownable(a.UID, false) {
		_ = unix.Fchown(fd, int(a.UID), -1) // a file that can't be given away stays as it is
	}
}

func (l *Launch) opError(op *plan.Op, call string, errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return &Error{Field: op.Field, Op: op.Do, Call: call, Errno: errno}
}

// writeProc writes a file of the child's directory in procfs.
func (p *Process) writeProc(name, value string) error {
	fs, err := procfs.Open()
	if err != nil {
		return err
	}
	defer func() { _ = fs.Close() }()
	return fs.WriteFile(strconv.Itoa(p.PID)+"/"+name, []byte(value))
}

// takeListener fetches the seccomp notification descriptor out of the child and has
// Perform send it on; Process.Listener is it meanwhile.
func (p *Process) takeListener(op *plan.Op) error {
	fd, err := unix.PidfdGetfd(p.PIDFD, int(int32(p.arena.slot(p.launch.notifySlot))), 0)
	if err != nil {
		return &Error{Field: op.Field, Op: op.Do, Call: "pidfd_getfd", Errno: err}
	}
	p.Listener = fd
	defer func() { _ = unix.Close(fd) }()
	return p.launch.Perform(op, p)
}

// moveNetDevice has Perform move a device. The first of them takes the socket that the child
// has handed over; it is closed with the launch, and what moves devices keeps a copy.
func (p *Process) moveNetDevice(op *plan.Op) error {
	if p.Netlink < 0 {
		fd, err := p.launch.received()
		if err != nil {
			return &Error{Field: op.Field, Op: op.Do, Call: "recvmsg", Errno: err}
		}
		p.Netlink = p.launch.keep(fd)
	}
	return p.launch.Perform(op, p)
}
