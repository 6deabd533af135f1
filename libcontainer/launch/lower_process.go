package launch

import (
	"encoding/binary"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/internal/bug"
	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// rlimitNumber is the number of a limit, getrlimit(2).
func rlimitNumber(name string) int {
	names := [...]string{
		"CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS",
		"LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
	}
	n := slices.Index(names[:], strings.TrimPrefix(name, "RLIMIT_"))
	if n < 0 {
		bug.Found("unknown limit " + name)
	}
	return n
}

func (w *lowering) resetSignals() {
	_, dfl := w.arena.alloc(32) // a zeroed struct sigaction is SIG_DFL
	for sig := 1; sig <= 64; sig++ {
		if sig != int(unix.SIGKILL) && sig != int(unix.SIGSTOP) {
			w.call(unix.SYS_RT_SIGACTION, sig, dfl, 0, 8)
		}
	}
}

func (w *lowering) dropBounding(a *plan.DropBounding) {
	for n := range 64 {
		if a.Drop.Has(n) {
			w.call(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, n, 0, 0, 0)
		}
	}
}

// setUser takes the ids and keeps the permitted capabilities for the steps to come.
func (w *lowering) setUser(a *plan.SetUser) {
	w.call(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0, 0, 0)
	if !a.KeepGroups {
		set := w.call(unix.SYS_SETGROUPS, len(a.Groups), w.u32s(a.Groups...))
		if w.joinedUserNS && len(a.Groups) == 0 {
			set.ok(unix.EPERM) // denied there, see leaveGroups
		}
	}
	w.call(unix.SYS_SETRESGID, int(a.GID), int(a.GID), int(a.GID))
	w.call(unix.SYS_SETRESUID, int(a.UID), int(a.UID), int(a.UID))
}

// reopenNull leaves a container without a null device what it has. The runtime opens it and
// looks at it first, for an image may have something else there, which the user must not get
// opened with root's rights (CVE-2026-88265). A rootless runtime can't reach into the child
// (docs/decisions/0015), and has no more rights than the container.
func (w *lowering) reopenNull(a *plan.ReopenNull) {
	fds := nullStdio()
	if len(fds) == 0 {
		return
	}
	const (
		resolve = inRoot | unix.RESOLVE_NO_SYMLINKS
		noFD    = 1<<31 - 1
	)
	null := w.cur
	if a.ByRuntime {
		null = w.receiving()
		w.set(noFD).to(null)
		root := w.root
		w.receive(func(p *Process) error {
			if fd, err := p.openInChild(root, "dev/null", unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOCTTY, resolve); err == nil {
				p.replyIfNull(fd)
			}
			return nil
		})
	} else {
		w.openat2(w.root, "dev/null", unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOCTTY, resolve).okAny().to(null)
	}
	for _, fd := range fds {
		w.call(unix.SYS_DUP3, null, fd, 0).ok(unix.EBADF)
	}
	w.call(unix.SYS_CLOSE, null).ok(unix.EBADF)
}

// nullStdio lists what of stdio is the null device.
func nullStdio() []int {
	var fds []int
	for fd := range 3 {
		if isNull(fd) {
			fds = append(fds, fd)
		}
	}
	return fds
}

func isNull(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3)
}

// replyIfNull sends a descriptor with the answer if it is the null device.
func (p *Process) replyIfNull(fd int) {
	if !isNull(fd) {
		_ = unix.Close(fd)
		return
	}
	p.reply = fd
}

// ownStdio changes the owner of what is stdio.
func (w *lowering) ownStdio(a *plan.OwnStdio) {
	for _, fd := range ownable(a.UID, w.userNS) {
		w.call(unix.SYS_FCHOWN, fd, int(a.UID), uint64(^uint32(0))).okAny()
	}
}

// ownable are the pipes, sockets and terminals among stdio that belong to somebody else
// than the user. In a user namespace the numbers of owners do not compare.
func ownable(uid uint32, userNS bool) []int {
	var fds []int
	for fd := range 3 {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			continue
		}
		kind := st.Mode & unix.S_IFMT
		isPTY := kind == unix.S_IFCHR && unix.Major(st.Rdev) >= 136 && unix.Major(st.Rdev) <= 143
		if (kind == unix.S_IFIFO || kind == unix.S_IFSOCK || isPTY) && (st.Uid != uid || userNS) {
			fds = append(fds, fd)
		}
	}
	return fds
}

// changeDir refuses magic links: /proc/self/fd/N could lead to the host (CVE-2024-21626).
// What came of the first try, as root, is kept in a slot.
func (w *lowering) changeDir(a *plan.ChangeDir) {
	open := func() *step {
		return w.openat2(w.root, relative(a.Path), unix.O_PATH|unix.O_DIRECTORY, inRoot).to(w.cur)
	}
	enter := func() *step { return w.call(unix.SYS_FCHDIR, w.cur) }
	if a.AsRoot {
		w.changed = w.slot()
		w.set(0).to(w.changed)
		opened := open().ok(unix.EACCES, unix.EPERM)
		entered := enter().ok(unix.EACCES, unix.EPERM)
		w.set(1).to(w.changed)
		w.onError(entered)
		w.close(w.cur)
		w.onError(opened)
		return
	}
	done := w.call(0, w.changed)
	done.nr = opSet
	open()
	enter()
	w.close(w.cur)
	w.onPositive(done)
}

// findProgram stores the address of the program's path. It is looked up before any
// filter is loaded and while create can still report that it is missing.
func (w *lowering) findProgram(a *plan.FindProgram) {
	const asUser = 0x200 // AT_EACCESS
	right := unix.X_OK
	if a.Readable {
		right = unix.R_OK
	}
	if strings.Contains(a.Name, "/") {
		name := w.str(a.Name)
		dir := w.call(unix.SYS_OPENAT, atFDCWD, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0).ok(unix.ENOTDIR, unix.ENOENT)
		w.call(unix.SYS_OPENAT, atFDCWD, name, unix.O_WRONLY|unix.O_CLOEXEC, 0) // answers EISDIR
		w.onError(dir)
		w.call(unix.SYS_FACCESSAT2, atFDCWD, name, right, asUser)
		w.set(name).to(w.exeName)
		return
	}
	var found []*step
	for dir := range strings.SplitSeq(a.Path, ":") {
		if dir == "" {
			dir = "."
		}
		name := w.str(dir + "/" + a.Name)
		access := w.call(unix.SYS_FACCESSAT2, atFDCWD, name, right, asUser).ok(unix.ENOENT, unix.EACCES, unix.ENOTDIR, unix.ELOOP)
		isDir := w.call(unix.SYS_OPENAT, atFDCWD, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0).ok(unix.ENOTDIR).to(w.cur)
		w.close(w.cur)
		next := w.set(0)
		w.onError(isDir)
		found = append(found, w.set(name).to(w.exeName))
		w.onError(access)
		w.onSuccess(next)
	}
	w.call(unix.SYS_FACCESSAT2, atFDCWD, w.str(""), right, asUser) // none: answers ENOENT
	for _, s := range found {
		w.onSuccess(s)
	}
}

func (w *lowering) capset(effective, permitted, inheritable plan.CapSet) {
	const version3 = 0x20080522
	header := w.u32s(version3, 0)
	data := w.u32s(uint32(effective), uint32(permitted), uint32(inheritable),
		uint32(effective>>32), uint32(permitted>>32), uint32(inheritable>>32))
	w.call(unix.SYS_CAPSET, header, data)
}

func (w *lowering) keepCapabilities(a *plan.KeepCapabilities) {
	permitted := a.Permitted | a.Extra
	w.capset(a.Effective|a.Extra, permitted, a.Inheritable)
}

func (w *lowering) setCapabilities(a *plan.Capabilities) {
	w.lateStep(lateCapabilities)
	w.capset(a.Effective, a.Permitted, a.Inheritable)
	w.call(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	for n := range 64 {
		if a.Ambient.Has(n) {
			w.call(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, n, 0, 0)
		}
	}
}

// installSeccomp loads the filter; struct sock_fprog is its length in instructions and
// its address. A notification descriptor lands in a slot for SendSeccompFD.
func (w *lowering) installSeccomp(a *plan.InstallSeccomp) {
	w.lateStep(lateSeccomp)
	const setModeFilter, instructionSize = 1, 8
	prog := w.u64s(uint64(len(a.Instructions)/instructionSize), w.bytes(a.Instructions))
	flags := uint64(a.Flags)
	if a.Notify {
		flags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	s := w.call(unix.SYS_SECCOMP, setModeFilter, flags, prog)
	if a.Notify {
		w.l.notifySlot = w.slot()
		s.to(w.l.notifySlot)
	}
}

// readPasswd copies the container's /etc/passwd into the shared scratch memory; a
// missing or unreadable one counts as empty. O_NONBLOCK: it may be a FIFO.
func (w *lowering) readPasswd() {
	first := w.openat2(w.root, "etc/passwd", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, inRoot).okAny().to(w.cur)
	buf := uint64(w.arena.base) + scratchOffset + homeSize
	w.call(unix.SYS_READ, w.cur, buf, scratchSize-homeSize-1).okAny()
	w.close(w.cur)
	w.onError(first)
}

// awaitStart waits for `start` on the container's socket. From then on reports of
// failure go to it: its connection takes the place of the sync socket.
func (w *lowering) awaitStart() {
	w.dieBySignals()
	_, buf := w.arena.alloc(8)
	w.call(unix.SYS_ACCEPT4, w.l.Start, 0, 0, unix.SOCK_CLOEXEC).to(w.cur)
	w.call(unix.SYS_READ, w.cur, buf, 1).atLeast(1)
	w.call(unix.SYS_DUP3, w.cur, w.l.sync, unix.O_CLOEXEC)
	w.close(w.cur)
	w.call(unix.SYS_CLOSE, w.l.Start)
	w.waited = true
}

// dieBySignals gives the process handlers for what a user ends a process by: the kernel keeps
// from the first process of a pid namespace what it has no handler for, pid_namespaces(7).
// Their stack is the scratch memory, for the process has no other, and nobody reads that
// after a handler has run. execve(2) undoes all.
func (p *program) dieBySignals() {
	const (
		onStack  = 0x08000000
		restorer = 0x04000000 // amd64 wants the flag, though nobody returns
	)
	// A filter that is in force already may have a say: it can do without.
	stack := p.u64s(uint64(p.arena.base)+scratchOffset, 0, scratchSize)
	p.call(unix.SYS_SIGALTSTACK, stack, 0).okAny()
	action := p.u64s(uint64(p.arena.dying()), onStack|restorer, 0, 0)
	for _, sig := range []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGABRT, unix.SIGTERM} {
		p.call(unix.SYS_RT_SIGACTION, int(sig), action, 0, 8).okAny()
	}
}

// exec executes the program. Only it knows whether the file can be executed.
func (w *lowering) exec(a *plan.Execute) {
	w.lateStep(lateExec)
	var home []uint64
	env := a.Env
	if a.FindHome {
		env = slices.DeleteFunc(slices.Clone(env), func(e string) bool { return e == "HOME=" })
		home = []uint64{uint64(w.arena.base) + scratchOffset}
	}
	if a.Handler != "" {
		w.call(unix.SYS_EXECVEAT, w.l.Handler.fd(), "", w.vector(a.Args), w.vector(env, home...), unix.AT_EMPTY_PATH)
		return
	}
	w.call(unix.SYS_EXECVE, w.exeName, w.vector(a.Args), w.vector(env, home...))
}

// console makes the terminal in the container's own devpts: no path and no number of a
// pty is ever trusted, the slave comes from the master by TIOCGPTPEER (Linux 4.13).
func (w *lowering) console(a *plan.Console) {
	master, slave := w.slot(), w.slot()
	w.openat2(w.root, "dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY, inRoot).to(master)
	w.call(unix.SYS_IOCTL, master, unix.TIOCSPTLCK, w.u32s(0))
	w.call(unix.SYS_IOCTL, master, unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC).to(slave)
	if a.Height != 0 || a.Width != 0 {
		size := make([]byte, 8)
		binary.NativeEndian.PutUint16(size, uint16(a.Height))
		binary.NativeEndian.PutUint16(size[2:], uint16(a.Width))
		w.call(unix.SYS_IOCTL, master, unix.TIOCSWINSZ, w.bytes(size))
	}
	if a.Mount {
		w.mountConsole(slave)
	}
	if a.UID != 0 {
		w.call(unix.SYS_FCHOWN, slave, int(a.UID), uint64(^uint32(0))).ok(unix.EINVAL, unix.EPERM)
	}
	w.sendConsole(master)
	for fd := range 3 {
		w.call(unix.SYS_DUP3, slave, fd, 0)
	}
	w.close(slave)
}

// mountConsole binds the slave to /dev/console. A symlink of that name is refused, never
// followed (CVE-2026-88264).
func (w *lowering) mountConsole(slave slot) {
	w.targetDir("/dev", inRoot)
	w.call(unix.SYS_MKNODAT, w.cur, "console", unix.S_IFREG|0o600, 0).ok(unix.EEXIST)
	w.openat2(w.cur, "console", unix.O_PATH, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS).to(w.tmp)
	w.call(unix.SYS_OPEN_TREE, slave, "", unix.OPEN_TREE_CLONE|unix.O_CLOEXEC|unix.AT_EMPTY_PATH).to(w.tree)
	w.moveMount(w.tree, w.tmp)
	w.close(w.tree)
	w.close(w.tmp)
	w.close(w.cur)
}

// sendConsole sends the master, and waits where the receiver has something to do first.
func (w *lowering) sendConsole(master slot) {
	w.sendFD(w.l.Console, master, "/dev/pts/ptmx")
	w.close(master)
	if w.l.ConsoleAnswers {
		_, buf := w.arena.alloc(8)
		w.call(unix.SYS_READ, w.l.Console, buf, 1).okAny()
	}
	w.call(unix.SYS_CLOSE, w.l.Console)
}
