package launch

import (
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/internal/bug"
	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// namespaceFlag is the CLONE_NEW* flag of a namespace type in config.json.
func namespaceFlag(kind string) int {
	switch kind {
	case "pid":
		return unix.CLONE_NEWPID
	case "network":
		return unix.CLONE_NEWNET
	case "mount":
		return unix.CLONE_NEWNS
	case "ipc":
		return unix.CLONE_NEWIPC
	case "uts":
		return unix.CLONE_NEWUTS
	case "user":
		return unix.CLONE_NEWUSER
	case "cgroup":
		return unix.CLONE_NEWCGROUP
	case "time":
		return unix.CLONE_NEWTIME
	}
	bug.Found("unknown namespace type " + kind)
	return 0
}

func cloneFlags(kinds []string) int {
	flags := 0
	for _, k := range kinds {
		flags |= namespaceFlag(k)
	}
	return flags
}

// closeFDs closes all that neither the steps nor the program need: the child has a
// copy of every descriptor of the runtime, state locks and log files among them.
func (w *lowering) closeFDs(a *plan.CloseFDs) {
	w.preserve = a.Preserve
	keep := w.l.childFDs()
	for i := range a.Preserve {
		keep = append(keep, 3+i)
	}
	slices.Sort(keep)
	next := 3
	for _, fd := range keep {
		if fd > next {
			w.call(unix.SYS_CLOSE_RANGE, next, fd-1, 0)
		}
		next = max(next, fd+1)
	}
	w.call(unix.SYS_CLOSE_RANGE, next, uint64(^uint32(0)), 0)
}

// mmMap is struct prctl_mm_map, the argument of PR_SET_MM_MAP, in words: the kernel
// wants its addresses ordered and in user space, and shows nothing at them.
func (w *lowering) mmMap() uint64 {
	base := uint64(w.arena.base)
	words := make([]uint64, 0, 13)
	for i := range uint64(11) {
		words = append(words, base+i*8)
	}
	auxv, sizeAndFD := uint64(0), uint64(uint32(w.l.exe))<<32
	return w.u64s(append(words, auxv, sizeAndFD)...)
}

// userSpaceEnds are the sizes that the user's half of the address space may have.
func userSpaceEnds() []uint64 {
	switch runtime.GOARCH {
	case "amd64":
		return []uint64{1<<47 - 4096}
	case "arm64":
		return []uint64{1 << 52, 1 << 48, 1 << 47, 1 << 42, 1 << 39, 1 << 36}
	default: // riscv64: sv57, sv48, sv39; the last page is not the user's
		return []uint64{1 << 56, 1 << 47, 1 << 38}
	}
}

// sealExe cuts the child loose from the runtime's binary: it unmaps all but the arena,
// then its exe can be pointed at the sealed memfd, prctl(2) PR_SET_MM_MAP. From here on
// /proc/PID/exe, maps and map_files lead to nothing of the host. Where the swap is refused
// the runtime itself runs from a sealed copy, which may stay exe (ProtectExe).
func (w *lowering) sealExe() {
	w.call(unix.SYS_MUNMAP, 0, uint64(w.arena.base))
	top := uint64(w.arena.end())
	var done []*step
	for i, end := range userSpaceEnds() {
		s := w.call(unix.SYS_MUNMAP, top, end-top)
		if i < len(userSpaceEnds())-1 {
			s.ok(unix.EINVAL)
		}
		done = append(done, s)
	}
	for _, s := range done {
		w.onSuccess(s)
	}
	if !w.l.sealed {
		w.call(unix.SYS_PRCTL, unix.PR_SET_MM, unix.PR_SET_MM_MAP, w.mmMap(), 104, 0)
	}
	w.call(unix.SYS_CLOSE, w.l.exe)
}

func (w *lowering) joinCgroups(a *plan.JoinCgroups) {
	for _, name := range a.Hierarchies {
		if fd, ok := w.l.cgroupFDs[name]; ok {
			join := w.call(unix.SYS_WRITE, fd, "0", 1).atLeast(1)
			if a.MayFail {
				join.okAny()
			}
			w.call(unix.SYS_CLOSE, fd)
		}
	}
}

func (w *lowering) joinNamespaces(a *plan.JoinNamespaces) {
	for _, n := range a.Namespaces {
		fd := w.l.namespaceFDs[n.Path]
		if n.Type == "user" {
			w.leaveGroups(a.KeepGroups)
		}
		w.call(unix.SYS_SETNS, fd, namespaceFlag(n.Type))
	}
	for _, fd := range w.l.namespaceFDs {
		w.call(unix.SYS_CLOSE, fd)
	}
}

// joinContainer joins all namespaces at once: the kernel takes the user namespace first.
func (w *lowering) joinContainer(a *plan.JoinContainer) {
	if slices.Contains(a.Types, "user") {
		w.leaveGroups(a.KeepGroups)
	}
	if len(a.Types) > 0 {
		w.call(unix.SYS_SETNS, w.l.Target, cloneFlags(a.Types))
	}
	w.call(unix.SYS_CLOSE, w.l.Target)
	w.openRoot("/")
}

// leaveGroups drops the runtime's groups before a user namespace is joined, which may deny
// setgroups(2) for good, user_namespaces(7). A runtime without the right to do so keeps
// them, as it must.
func (w *lowering) leaveGroups(keep bool) {
	w.userNS, w.joinedUserNS = true, true
	if !keep {
		w.call(unix.SYS_SETGROUPS, 0, 0).ok(unix.EPERM)
	}
}

func (w *lowering) timeOffsets(a *plan.SetTimeOffsets) {
	var text strings.Builder
	for i := range a.Offsets {
		text.WriteString(a.Offsets[i].String() + "\n")
	}
	w.procWrite("self/timens_offsets", text.String())
}

// forkProcess makes the container's process a child of the runtime, not of the process
// that joined the namespaces; that one goes on at the program's end. The pid is stored by
// the kernel in a word of its own: both processes share the slots from here on.
func (w *lowering) forkProcess(a *plan.Fork) {
	w.l.pidSlot = w.slot()
	flags := uint64(unix.CLONE_PARENT|unix.CLONE_PARENT_SETTID) | uint64(cloneFlags(a.New))
	args := cloneArgs{flags: flags, parentTID: uint64(w.arena.word(w.l.pidSlot))}
	w.fork = w.call(unix.SYS_CLONE3, w.u64s(args.flags, 0, 0, args.parentTID, 0, 0, 0, 0, 0, 0, 0), int(cloneArgsSize))
}

// becomeRoot takes ids 0: they own the mounts, files and keyring made from here on.
func (w *lowering) becomeRoot(a *plan.BecomeRoot) {
	w.userNS = true
	if !a.KeepGroups && !w.joinedUserNS { // leaveGroups has done it
		w.call(unix.SYS_SETGROUPS, 0, 0)
	}
	w.call(unix.SYS_SETRESGID, 0, 0, 0)
	w.call(unix.SYS_SETRESUID, 0, 0, 0)
}

// loopbackUp sets IFF_UP on "lo", netdevice(7). Any socket serves for the ioctl.
func (w *lowering) loopbackUp() {
	ifreq := make([]byte, 40)
	copy(ifreq, "lo")
	ifreq[16] = unix.IFF_UP
	w.call(unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0).to(w.cur)
	w.call(unix.SYS_IOCTL, w.cur, unix.SIOCSIFFLAGS, w.bytes(ifreq))
	w.close(w.cur)
}

// procWrite writes a file below the private procfs handle: no symlink, no magic link, no
// other mount is crossed on the way.
func (w *lowering) procWrite(path, value string) {
	resolve := uint64(unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV)
	w.openat2(w.l.procFS, path, unix.O_WRONLY, resolve).to(w.cur)
	w.call(unix.SYS_WRITE, w.cur, value, len(value)).atLeast(len(value))
	w.close(w.cur)
}
