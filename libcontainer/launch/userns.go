package launch

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/procfs"
)

// newUserNamespace makes a user namespace that nobody lives in, for the mappings alone, and
// returns a descriptor of it. A child has to be born in it, for the maps to be written; it
// does nothing but wait for its end.
func newUserNamespace(uids, gids []plan.IDMapping) (fd int, err error) {
	a, err := newArena()
	if err != nil {
		return -1, fmt.Errorf("mmap: %w", err)
	}
	defer a.free()
	exe, err := a.mapCode()
	if err != nil {
		return -1, fmt.Errorf("memfd_create: %w", err)
	}
	_ = unix.Close(exe)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socketpair: %w", err)
	}
	pid, errno := spawn(&cloneArgs{
		flags: unix.CLONE_NEWUSER | unix.CLONE_CLEAR_SIGHAND, exitSignal: uint64(unix.SIGCHLD),
	}, a.code(), a.awaitEnd(pair))
	_ = unix.Close(pair[1])
	if errno != 0 {
		_ = unix.Close(pair[0])
		return -1, fmt.Errorf("clone3: %w", errno)
	}
	fd, err = mappedNamespace(int(pid), uids, gids)
	_ = unix.Close(pair[0]) // ends the child
	reap(int(pid))
	return fd, err
}

// awaitEnd writes the child's program: it lets go of its copy of the runtime's end, and
// waits until that is closed, be it because the runtime died. It returns where replay
// begins.
func (a *arena) awaitEnd(pair [2]int) uintptr {
	p := newProgram(a)
	p.call(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, p.u64s(0), 0, 8)
	p.call(unix.SYS_CLOSE, pair[0])
	p.call(unix.SYS_READ, pair[1], p.u64s(0), 8)
	p.call(unix.SYS_EXIT_GROUP, 0)
	*a.header() = header{
		steps: uint64(a.firstStep()), end: uint64(a.step),
		slots: uint64(a.word(0)), reportFD: uint64(pair[1]), report: [2]uint32{noReport, 0}, pidfd: -1,
	}
	return a.base
}

// mappedNamespace writes the maps of a child's user namespace and opens it.
func mappedNamespace(pid int, uids, gids []plan.IDMapping) (int, error) {
	fs, err := procfs.Open()
	if err != nil {
		return -1, err
	}
	defer func() { _ = fs.Close() }()
	dir := itoa(pid)
	if err := fs.WriteFile(dir+"/uid_map", []byte(mapLines(uids))); err != nil {
		return -1, err
	}
	if err := fs.WriteFile(dir+"/gid_map", []byte(mapLines(gids))); err != nil {
		return -1, err
	}
	return unix.Openat(fs.FD(), dir+"/ns/user", unix.O_RDONLY|unix.O_CLOEXEC, 0)
}
