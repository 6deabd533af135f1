// Package launch carries out a plan. It lowers the child's operations to a
// straight-line program of raw system calls, forks a child that replays it without
// ever returning to the Go runtime, and meets the child at the barriers where the
// plan's actor changes.
//
// Reading order: launch.go (the two processes' meeting), lower.go (operations to
// steps), program.go and step.go (steps), arena.go and page.go (where they live),
// spawn.go and loop_*.s (the child).
package launch

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/internal/bug"
	"github.com/gantry-containers/gantry/libcontainer/internal/poller"
	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// Launch is a plan with the descriptors that it needs. Descriptors that are not used
// are -1; Launch closes none of them but those it opened itself.
type Launch struct {
	Plan *plan.Plan
	// Perform carries out the operations of the runtime that need more than the child's
	// pid: cgroups, hooks, the state.
	Perform func(op *plan.Op, p *Process) error
	// CgroupProcs opens cgroup.procs of the container's cgroups, by hierarchy; called after
	// CreateCgroups. The descriptors are closed by Launch.
	CgroupProcs func(hierarchies []string) (map[string]int, error)
	// CgroupDir opens the cgroup v2 directory to be born in.
	CgroupDir func() (int, error)
	// CgroupElsewhere opens another one when the kernel refuses that, or returns the errno;
	// nil when there is none.
	CgroupElsewhere func(refused unix.Errno) (int, error)
	Target          int // pidfd of the container's init, for JoinContainer
	Start           int // listening socket, for AwaitStart
	Console         int // socket that receives the master, for Console
	// ConsoleAnswers makes the child wait for a byte on Console after it sent the master.
	ConsoleAnswers bool
	Handler        *Handler // nil where the kernel executes the program
	Stdio          []int    // what stdin, stdout and stderr become; nil keeps the runtime's own

	sync         int // child's end
	exe          int
	sealed       bool // the runtime's own binary is a sealed copy: exe need not be swapped
	procFS       int
	named        int // becomes a copy of the mount that mount(2) is to change, see nameMount
	cgroupFDs    map[string]int
	namespaceFDs map[string]int
	sources      map[int]int
	spaces       map[string]int // user namespaces that were made for their mappings, by those
	links        map[int]string // what the symlinks that are to be copied say, by mount
	handOver     [2]int         // sockets for descriptors: the runtime's end and the child's
	handOvers    int            // operations of the child that use them
	copiesUp     bool           // there is a CopyUp, which may need userNS
	userNS       int            // the container's user namespace
	opened       []int
	pidSlot      slot
	notifySlot   slot
}

// Process is a launched child.
type Process struct {
	PID   int
	PIDFD int
	// Netlink is a socket of the child's network namespace while MoveNetDevice is performed.
	Netlink int
	// Listener is the seccomp notification descriptor while SendSeccompFD is performed.
	Listener int

	launch *Launch
	arena  *arena
	sync   *os.File
	raw    int // sync's descriptor
	reply  int // what goes to the child with the answer to its request; -1 for nothing
	words  *lowering
	ops    []plan.Op // behind Clone
	first  int       // the first process of a Fork, until it is reaped
}

// source is the opened source of a bind mount, or -1.
func (l *Launch) source(mount int) int {
	if fd, ok := l.sources[mount]; ok {
		return fd
	}
	return -1
}

// childFDs are the descriptors that the child's steps use.
func (l *Launch) childFDs() []int {
	fds := []int{l.sync, l.exe}
	for _, fd := range []int{l.procFS, l.named, l.Target, l.Start, l.Console} {
		if fd >= 0 {
			fds = append(fds, fd)
		}
	}
	if l.Handler != nil {
		fds = append(fds, l.Handler.fd())
	}
	fds = append(fds, l.Stdio...)
	for _, m := range []map[string]int{l.cgroupFDs, l.namespaceFDs} {
		for _, fd := range m {
			fds = append(fds, fd)
		}
	}
	if l.handOvers > 0 {
		fds = append(fds, l.handOver[1])
	}
	for _, fd := range l.sources {
		fds = append(fds, fd)
	}
	return fds
}

// Run carries out the plan. It returns when the child executes the user's program, or,
// in a plan with AwaitStart, waits for it. On error nothing of the child is left; what
// Perform made is the caller's to undo.
func (l *Launch) Run() (*Process, error) {
	l.sync, l.exe, l.procFS, l.named = -1, -1, -1, -1
	if err := poller.Open(); err != nil {
		return nil, err
	}
	defer l.closeOpened()
	before, clone, after := l.split()
	for i := range before {
		if err := l.perform(&before[i], nil); err != nil {
			return nil, err
		}
	}
	a, err := newArena()
	if err != nil {
		return nil, &Error{Field: "process", Op: clone.Do, Call: "mmap", Errno: err}
	}
	p := &Process{launch: l, arena: a, ops: after, PIDFD: -1, Netlink: -1, reply: -1}
	defer a.free()
	if err := p.start(clone); err != nil {
		p.abandon()
		return nil, err
	}
	return p, nil
}

// start lowers, forks and serves.
func (p *Process) start(clone *plan.Op) error {
	if err := p.prepare(clone); err != nil {
		return err
	}
	p.words = lower(p.launch, p.arena, p.ops)
	if p.arena.full {
		return &Error{Field: "process", Op: clone.Do, Call: "lower", Errno: errArenaFull}
	}
	if err := p.fork(clone); err != nil {
		return err
	}
	return p.serve()
}

// split finds Clone: the operations before it are the runtime's, those behind it are
// the child's and the barriers.
func (l *Launch) split() (before []plan.Op, clone *plan.Op, after []plan.Op) {
	for i := range l.Plan.Ops {
		if _, ok := l.Plan.Ops[i].Do.(*plan.Clone); ok {
			return l.Plan.Ops[:i], &l.Plan.Ops[i], l.Plan.Ops[i+1:]
		}
	}
	bug.Found("a plan without Clone")
	return nil, nil, nil
}

func (l *Launch) closeOpened() {
	for _, fd := range l.opened {
		_ = unix.Close(fd)
	}
	l.opened = nil
}

// keep remembers a descriptor to be closed when Run returns.
func (l *Launch) keep(fd int) int {
	l.opened = append(l.opened, fd)
	return fd
}
