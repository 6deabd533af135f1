package launch

import (
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/internal/bug"
	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// lowering turns the child's part of a plan into a program.
type lowering struct {
	*program
	l *Launch
	// root is the container's root directory; cur, tmp and tree are scratch descriptors
	// that every operation closes again.
	root, cur, tmp, tree slot
	null, mask           slot // host's /dev/null and an empty read-only tmpfs, made when first needed
	haveNull, haveMask   bool
	exeName              slot // address of the path that FindProgram chose
	mode                 slot // of the target of a tmpfs, see targetDirMode; made when first needed
	byRemount            bool // mounts are changed by mount(2), see lower_remount.go
	statfs, flags        slot // of a mount that is changed so; made when first needed
	passed               slot // a descriptor from the runtime, see receive; made when first needed
	fork                 *step
	rootfs               string // on the host; "" before MakeRoot
	changed              slot   // 1 once ChangeDir succeeded as root
	waited               bool   // AwaitStart is behind: reports go to `start`
	userNS, joinedUserNS bool
	preserve             int // descriptors from 3 on that the program gets
	barriers             []barrier
	requests             []request
	met                  int // how many of them the child has passed
}

// barrier is a stop of the child: the runtime performs the operations and lets it go on.
type barrier struct {
	ops []plan.Op
	// last marks the barrier behind which the runtime is done with a container that
	// waits for `start`.
	last bool
}

// barrierMark in a report's second word tells a barrier from an errno.
const barrierMark = 1 << 31

// lower compiles ops, the part of the plan behind Clone. Runtime operations between
// two of the child's become barriers.
func lower(l *Launch, a *arena, ops []plan.Op) *lowering {
	w := &lowering{program: newProgram(a), l: l}
	for _, s := range []*slot{&w.root, &w.cur, &w.tmp, &w.tree, &w.null, &w.mask, &w.exeName} {
		*s = w.slot()
	}
	w.birth()
	last := lastProcFS(ops)
	for i := 0; i < len(ops); i++ {
		w.op = uint16(i)
		if ops[i].Actor == plan.Child {
			w.action(ops[i].Do)
			if i == last { // it shows all processes of the host: nobody shall find it in this one
				w.call(unix.SYS_CLOSE, w.l.procFS)
			}
			continue
		}
		first := i
		for i+1 < len(ops) && ops[i+1].Actor == plan.Runtime {
			i++
		}
		done := false
		if i+1 < len(ops) {
			_, done = ops[i+1].Do.(*plan.AwaitStart)
		}
		w.barrier(barrier{ops: ops[first : i+1], last: done})
	}
	w.end()
	return w
}

// lateStep names what the next steps do for `start`, which has no plan to look it up in.
func (w *lowering) lateStep(k lateKind) {
	if w.waited {
		w.late = k
	}
}

// birth is what a forked child of a Go program must do before all else: spawn left all
// signals blocked.
func (w *lowering) birth() {
	w.call(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, w.u64s(0), 0, 8)
	for i, fd := range w.l.Stdio {
		w.call(unix.SYS_DUP3, fd, i, 0)
	}
}

// barrier tells the runtime that the child waits, and waits. A runtime that died
// reads as EOF and ends the child: nothing goes on unobserved.
func (w *lowering) barrier(b barrier) {
	msg := w.u32s(uint32(len(w.barriers)), barrierMark)
	w.barriers = append(w.barriers, b)
	w.call(unix.SYS_WRITE, w.l.sync, msg, 8).atLeast(8)
	w.await()
}

// await waits until the runtime lets the child go on.
func (w *lowering) await() {
	_, buf := w.arena.alloc(8)
	w.call(unix.SYS_READ, w.l.sync, buf, 1).atLeast(1)
}

// end closes the program: the first process of a Fork ends here, with success.
func (w *lowering) end() {
	if w.fork != nil {
		w.onPositive(w.fork)
		w.call(unix.SYS_EXIT_GROUP, 0)
	}
}

// action lowers one operation of the child.
//
//nolint:funlen // a flat dispatch: one line an operation
func (w *lowering) action(do plan.Action) {
	switch a := do.(type) {
	case *plan.CloseFDs:
		w.closeFDs(a)
	case *plan.SealExe:
		w.sealExe()
	case *plan.Undumpable:
		w.call(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	case *plan.JoinCgroups:
		w.joinCgroups(a)
	case *plan.KillDeviceNodes:
		w.changeMount(w.root, plan.NoDev, 0)
	case *plan.JoinNamespaces:
		w.joinNamespaces(a)
	case *plan.JoinContainer:
		w.joinContainer(a)
	case *plan.Unshare:
		w.call(unix.SYS_UNSHARE, cloneFlags(a.New))
	case *plan.SetTimeOffsets:
		w.timeOffsets(a)
	case *plan.Fork:
		w.forkProcess(a)
	case *plan.BecomeRoot:
		w.becomeRoot(a)
	case *plan.NewSession:
		w.call(unix.SYS_SETSID)
	case *plan.SessionKeyring:
		w.sessionKeyring(a)
	case *plan.SetUmask:
		w.call(unix.SYS_UMASK, int(a.Mask))
	case *plan.LoopbackUp:
		w.loopbackUp()
	case *plan.AttributesByRemount:
		w.byRemount = true
	case *plan.SetPropagation:
		w.setPropagation(a)
	case *plan.MakeRoot:
		w.makeRoot(a)
	case *plan.Mount:
		w.mount(a)
	case *plan.BindMount:
		w.bindMount(a)
	case *plan.MakeFilesystem:
		w.makeFilesystem(a)
	case *plan.AttachFilesystem:
		w.attachFilesystem(a)
	case *plan.Unmount:
		w.unmount(a)
	case *plan.Exit:
		w.call(unix.SYS_EXIT_GROUP, 0)
	case *plan.OpenNetlink:
		w.openNetlink()
	case *plan.CgroupMount:
		w.cgroupMount(a)
	case *plan.LabelMount:
		w.labelMount(a)
	case *plan.MakeDevice:
		w.makeDevice(a)
	case *plan.MakeDevLinks:
		w.makeDevLinks()
	case *plan.MakeDir:
		w.makeDir(a)
	case *plan.Console:
		w.console(a)
	case *plan.ControlTerminal:
		w.call(unix.SYS_IOCTL, 0, unix.TIOCSCTTY, 0)
	case *plan.MaskPath:
		w.maskPath(a)
	case *plan.ReadonlyPath:
		w.readonlyPath(a)
	case *plan.ReadonlyRoot:
		w.changeMount(w.root, plan.ReadOnly, 0)
	case *plan.PivotRoot:
		w.pivotRoot(a)
	case *plan.Chroot:
		w.chroot(a)
	default:
		w.processAction(do)
	}
}

// processAction lowers what concerns the process alone.
func (w *lowering) processAction(do plan.Action) {
	switch a := do.(type) {
	case *plan.SetHostname:
		w.call(unix.SYS_SETHOSTNAME, a.Name, len(a.Name))
	case *plan.SetDomainname:
		w.call(unix.SYS_SETDOMAINNAME, a.Name, len(a.Name))
	case *plan.SetSysctl:
		w.procWrite("sys/"+a.Path, a.Value)
	case *plan.SetOOMScore:
		w.procWrite("self/oom_score_adj", itoa(a.Score))
	case *plan.SetRlimit:
		w.call(unix.SYS_PRLIMIT64, 0, rlimitNumber(a.Name), w.u64s(a.Soft, a.Hard), 0)
	case *plan.ResetSignals:
		w.resetSignals()
	case *plan.DropBounding:
		w.dropBounding(a)
	case *plan.SetUser:
		w.setUser(a)
	case *plan.OwnStdio:
		w.ownStdio(a)
	case *plan.ReopenNull:
		w.reopenNull(a)
	case *plan.ChangeDir:
		w.changeDir(a)
	case *plan.FindProgram:
		w.findProgram(a)
	case *plan.KeepCapabilities:
		w.keepCapabilities(a)
	case *plan.SetCapabilities:
		w.setCapabilities(&a.Capabilities)
	case *plan.NoNewPrivileges:
		w.lateStep(lateNoNewPrivileges)
		w.call(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	case *plan.InstallSeccomp:
		w.installSeccomp(a)
	case *plan.ReadPasswd:
		w.readPasswd()
	case *plan.AwaitStart:
		w.awaitStart()
	case *plan.Execute:
		w.exec(a)
	default:
		w.attributeAction(do)
	}
}

// attributeAction lowers what the program inherits, or becomes, beside ids and rights.
func (w *lowering) attributeAction(do plan.Action) {
	switch a := do.(type) {
	case *plan.SetScheduler:
		w.setScheduler(a)
	case *plan.SetIOPriority:
		w.call(unix.SYS_IOPRIO_SET, ioprioProcess, 0, ioPriority(a))
	case *plan.SetCPUAffinity:
		w.setCPUAffinity(a)
	case *plan.ResetCPUAffinity:
		w.resetCPUAffinity()
	case *plan.SetMemoryPolicy:
		w.setMemoryPolicy(a)
	case *plan.SetPersonality:
		w.call(unix.SYS_PERSONALITY, domain(a.Domain))
	case *plan.ChangeProfile:
		w.procWrite(profileFile, "exec "+a.Profile)
	case *plan.SetExecLabel:
		w.procWrite(labelFile, a.Label)
	default:
		bug.Found("no lowering for " + do.String())
	}
}

// close closes the descriptor in a slot.
func (w *lowering) close(s slot) { w.call(unix.SYS_CLOSE, s) }
