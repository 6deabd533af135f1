package launch

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// fork makes the child.
func (p *Process) fork(clone *plan.Op) error {
	l, do := p.launch, clone.Do.(*plan.Clone)
	h := p.arena.header()
	*h = header{
		steps: uint64(p.arena.firstStep()), end: uint64(p.arena.step),
		slots: uint64(p.arena.word(0)), reportFD: uint64(l.sync),
		report: [2]uint32{noReport, 0}, pidfd: -1,
	}
	args := &cloneArgs{
		flags:      uint64(cloneFlags(do.New)) | unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND,
		pidfd:      uint64(uintptr(unsafe.Pointer(&h.pidfd))),
		exitSignal: uint64(unix.SIGCHLD),
	}
	if do.IntoCgroup {
		dir, err := l.CgroupDir()
		if err != nil && !do.MayFail {
			return err
		}
		if err == nil {
			args.flags |= unix.CLONE_INTO_CGROUP
			args.cgroup = uint64(l.keep(dir))
		}
	}
	pid, errno := spawn(args, p.arena.code(), p.arena.base)
	if errno != 0 && do.MayFail && args.flags&unix.CLONE_INTO_CGROUP != 0 {
		args.flags &^= unix.CLONE_INTO_CGROUP
		args.cgroup = 0
		pid, errno = spawn(args, p.arena.code(), p.arena.base)
	}
	if errno != 0 && do.IntoCgroup && !do.MayFail && l.CgroupElsewhere != nil {
		dir, err := l.CgroupElsewhere(errno)
		if err != nil && err != errno {
			return err // it says itself what it could not do
		}
		if err != nil {
			return &Error{Field: clone.Field, Op: clone.Do, Call: "clone3", Errno: errno}
		}
		args.cgroup = uint64(l.keep(dir))
		pid, errno = spawn(args, p.arena.code(), p.arena.base)
	}
	if errno != 0 {
		return &Error{Field: clone.Field, Op: clone.Do, Call: "clone3", Errno: errno}
	}
	p.PID, p.PIDFD = int(pid), int(h.pidfd)
	if p.words.fork != nil {
		p.first = p.PID
	}
	_ = unix.Close(l.sync)
	l.opened = without(l.opened, l.sync)
	return nil
}

// noReport is the report's first word while there is none.
const noReport = ^uint32(0)

func without(fds []int, fd int) []int {
	rest := fds[:0]
	for _, x := range fds {
		if x != fd {
			rest = append(rest, x)
		}
	}
	return rest
}

// serve meets the child at its barriers, until it executes the program, waits for
// `start`, or fails.
func (p *Process) serve() error {
	var msg [8]byte
	for {
		n, err := p.sync.Read(msg[:])
		if errors.Is(err, io.EOF) || n == 0 {
			return p.ended()
		}
		if err != nil || n != len(msg) {
			return errors.Join(ErrVanished, err)
		}
		id, word := binary.NativeEndian.Uint32(msg[:]), binary.NativeEndian.Uint32(msg[4:])
		if word == requestMark {
			if err := p.answer(id); err != nil {
				return err
			}
			continue
		}
		if word&barrierMark == 0 {
			return p.words.failure(p.ops, id, word)
		}
		if int(id) >= len(p.words.barriers) {
			return ErrVanished
		}
		if err := p.meet(&p.words.barriers[id]); err != nil {
			return err
		}
		if p.words.barriers[id].last {
			p.release()
			return nil
		}
	}
}

// answer does what the child asked for, and lets it go on.
func (p *Process) answer(id uint32) error {
	if int(id) >= len(p.words.requests) {
		return ErrVanished
	}
	if err := p.adopt(); err != nil {
		return err
	}
	if err := p.words.requests[id](p); err != nil {
		return err
	}
	return p.letGo()
}

// letGo lets the child go on, with the descriptor that its request asked for.
func (p *Process) letGo() error {
	var err error
	if p.reply >= 0 {
		err = unix.Sendmsg(p.raw, []byte{'g'}, unix.UnixRights(p.reply), nil, unix.MSG_NOSIGNAL)
		_ = unix.Close(p.reply)
		p.reply = -1
	} else {
		_, err = unix.Write(p.raw, []byte{'g'})
	}
	if err != nil && !errors.Is(err, unix.EPIPE) {
		return err
	}
	return nil
}

// meet performs the runtime's part at a barrier and lets the child go on.
func (p *Process) meet(b *barrier) error {
	if err := p.adopt(); err != nil {
		return err
	}
	for i := range b.ops {
		if err := p.launch.perform(&b.ops[i], p); err != nil {
			return err
		}
	}
	p.words.met++
	return p.letGo()
}

// ended interprets the end of the sync connection: the program runs, or the child died.
// What it could not send, because a filter refused the write, lies in the shared header.
func (p *Process) ended() error {
	h := p.arena.header()
	if h.report[0] != noReport {
		return p.words.failure(p.ops, h.report[0], h.report[1])
	}
	if err := p.adopt(); err != nil {
		return err
	}
	// Beyond the last barrier, execve ended the connection, or a death that the program's
	// wait status tells. Before it, it can only be death, even if the process still seems
	// to live: it closes its descriptors before it can be waited for.
	if p.words.met < len(p.words.barriers) {
		return ErrVanished
	}
	p.release()
	return nil
}

// adopt takes over from the first process of a Fork the one that it made.
func (p *Process) adopt() error {
	if p.first == 0 || p.launch.pidSlot == 0 {
		return nil
	}
	pid := int(int32(p.arena.slot(p.launch.pidSlot)))
	if pid <= 0 {
		return nil // still before the fork
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return ErrVanished
	}
	// The word is shared with a process that others may trace by now: the pid must be a
	// child of ours.
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PIDFD, fd, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil || pid == p.first {
		_ = unix.Close(fd)
		return ErrVanished
	}
	_ = unix.Close(p.PIDFD)
	first := p.first
	p.PID, p.PIDFD, p.first = pid, fd, 0
	reap(first)
	return nil
}

// release lets go of what only the launch needed.
func (p *Process) release() {
	_ = p.sync.Close()
	p.sync = nil
}

// abandon kills and reaps what was made of the child.
func (p *Process) abandon() {
	_ = p.adopt()
	for _, pid := range slices.Compact([]int{p.first, p.PID}) { // one process before it forks; its pid is free once reaped
		if pid > 0 {
			_ = unix.Kill(pid, unix.SIGKILL)
			reap(pid)
		}
	}
	if p.PIDFD >= 0 {
		_ = unix.Close(p.PIDFD)
	}
	if p.sync != nil {
		_ = p.sync.Close()
	}
}

// Kill ends the process and reaps it.
func (p *Process) Kill() {
	_ = unix.PidfdSendSignal(p.PIDFD, unix.SIGKILL, nil, 0)
	reap(p.PID)
}

// Killed reports whether the process has ended by a signal. It stays to be waited for.
func (p *Process) Killed() bool {
	const byKill = 2 // CLD_KILLED, waitid(2)
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PIDFD, p.PIDFD, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err == nil && info.Signo != 0 && info.Code == byKill
}

func reap(pid int) {
	for {
		_, err := unix.Wait4(pid, nil, 0, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// Wait parks until the process ends and returns its wait status. The pid is then free.
func (p *Process) Wait() (unix.WaitStatus, error) {
	fd, err := unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK)
	if err != nil {
		return 0, err
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer func() { _ = f.Close() }()
	conn, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var status unix.WaitStatus
	var waitErr error
	err = conn.Read(func(uintptr) bool {
		var pid int
		pid, waitErr = unix.Wait4(p.PID, &status, unix.WNOHANG, nil)
		return pid != 0
	})
	return status, errors.Join(err, waitErr)
}
