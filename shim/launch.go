package main

import (
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/bootstrap"
	"github.com/gantry-containers/gantry/shim/bundle"
	"github.com/gantry-containers/gantry/shim/cgroup"
)

// maxProcs is the variable by which Go's runtime is told how many threads may run Go code at a time.
const maxProcs = "GOMAXPROCS"

// launched is a server that start has started; nil where it has found one.
type launched struct {
	pid     int
	address string
}

// undo ends the server, which has no container yet.
func (l *launched) undo() error {
	if l == nil {
		return nil
	}
	err := unix.Kill(l.pid, unix.SIGKILL)
	_, waitErr := unix.Wait4(l.pid, nil, 0, nil)
	return errors.Join(err, waitErr, bootstrap.Remove(l.address))
}

// launch starts a server on the address, unless there is one. It leaves nothing behind where it fails.
func launch(p bootstrap.Params, b *bundle.Bundle, address string) (*launched, error) {
	listener, err := bootstrap.Listen(address)
	if errors.Is(err, bootstrap.ErrServed) {
		return nil, b.SetAddress(address)
	}
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	pid, err := func() (int, error) {
		if err := b.SetAddress(address); err != nil {
			return 0, err
		}
		if err := adjust(b); err != nil {
			return 0, err
		}
		return spawn(p, b, listener)
	}()
	if err != nil {
		return nil, errors.Join(err, bootstrap.Remove(address))
	}
	return &launched{pid, address}, nil
}

// adjust makes this process what the server shall be from its first instant: it inherits all of this.
func adjust(b *bundle.Bundle) error {
	if err := raiseOOMScore(); err != nil {
		return err
	}
	options, err := b.Options()
	if err != nil || options.ShimCgroup == "" {
		return err
	}
	if err := cgroup.Join(options.ShimCgroup, os.Getpid()); err != nil {
		return fmt.Errorf("option shim_cgroup: %w", err)
	}
	return nil
}

// raiseOOMScore makes the kernel choose the shim before the daemon, which is this process's parent.
func raiseOOMScore() error {
	const highest = 1000 // proc_pid_oom_score_adj(5)
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", os.Getppid()))
	if err != nil {
		return err
	}
	score, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("the daemon's oom_score_adj: %w", err)
	}
	err = os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(min(score+1, highest))), 0)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		return nil // it may not be lowered without CAP_SYS_RESOURCE
	}
	return err
}

// spawn starts this program again, to serve. The server keeps nothing of what start has from the daemon but its
// environment: the daemon waits for the end of start's output.
func spawn(p bootstrap.Params, b *bundle.Bundle, listener *net.UnixListener) (int, error) {
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return 0, os.NewSyscallError("close_range", err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	log, err := openLog(b, null)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	socket, err := listener.File()
	if err != nil {
		return 0, err
	}
	defer socket.Close()
	if os.Getenv("SCHED_CORE") != "" {
		defer runtime.UnlockOSThread()
		runtime.LockOSThread() // the thread that forks is the one whose cookie the server gets
		if err := unix.Prctl(unix.PR_SCHED_CORE, unix.PR_SCHED_CORE_CREATE, 0, unix.PR_SCHED_CORE_SCOPE_THREAD_GROUP, 0); err != nil {
			return 0, fmt.Errorf("SCHED_CORE: %w", os.NewSyscallError("prctl", err))
		}
	}
	pid, err := syscall.ForkExec("/proc/self/exe", serverArgs(p, b, listener), &syscall.ProcAttr{
		Dir:   "/",
		Env:   serverEnv(p),
		Files: []uintptr{null.Fd(), null.Fd(), log.Fd(), socket.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, fmt.Errorf("the server: %w", os.NewSyscallError("execve", err))
	}
	return pid, nil
}

// openLog opens the fifo from which the daemon reads the shim's log; nobody may ever wait for its reader, nor be
// killed when it goes.
func openLog(b *bundle.Bundle, instead *os.File) (*os.File, error) {
	fd, err := unix.Open(b.ShimLog(), unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		fd, err = unix.FcntlInt(instead.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("the log %s: %w", b.ShimLog(), err)
	}
	return os.NewFile(uintptr(fd), b.ShimLog()), nil
}

func serverArgs(p bootstrap.Params, b *bundle.Bundle, listener *net.UnixListener) []string {
	args := []string{
		os.Args[0], "-namespace", p.Namespace, "-id", p.ID, "-address", p.GRPCAddress,
		"-bundle", b.Path(), "-socket", listener.Addr().String(),
	}
	if p.Debug {
		args = append(args, "-debug")
	}
	return args
}

// serverEnv is the environment of start; the daemon's ttrpc socket comes by stdin from 2.3 on. The server runs on one CPU at a time, not on two
// as the daemon proposes: each has spans and caches of its own, 240 KiB of them.
func serverEnv(p bootstrap.Params) []string {
	env := []string{ttrpcAddress + "=" + p.TTRPCAddress, maxProcs + "=1"}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, ttrpcAddress+"=") && !strings.HasPrefix(e, maxProcs+"=") {
			env = append(env, e)
		}
	}
	return env
}
