package badinput_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// traceReport names the environment variable that makes the test binary a tracer: the file
// for its report. Its arguments are whom to kill, at which system call, and the command.
const traceReport = "BADINPUT_TRACE_REPORT"

// whoever is to be killed.
const (
	victimRuntime = "runtime"
	victimChild   = "child" // the process that becomes the container
)

// report is what a tracer saw.
type report struct {
	Calls  int // system calls that the victim began
	Killed bool
	Exit   int // of the runtime, 137 when it was killed
}

// tracer runs the runtime under ptrace(2) and kills the victim before its n-th system call.
type tracer struct {
	victim  string
	n       int
	runtime int
	child   int
	seen    map[int]bool
	report  report
}

func traceMain() int {
	runtime.LockOSThread() // the tracer is a thread
	n, err := strconv.Atoi(os.Args[2])
	if err != nil {
		return 2
	}
	t := &tracer{victim: os.Args[1], n: n, seen: map[int]bool{}}
	file := os.Getenv(traceReport)
	if err = os.Unsetenv(traceReport); err == nil {
		err = t.trace(os.Args[3:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tracer:", err)
		return 2
	}
	b, err := json.Marshal(t.report)
	if err != nil || os.WriteFile(file, b, 0o600) != nil {
		return 2
	}
	return 0
}

func (t *tracer) trace(argv []string) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	t.runtime = cmd.Process.Pid
	var ws unix.WaitStatus
	if _, err := unix.Wait4(t.runtime, &ws, 0, nil); err != nil {
		return err
	}
	options := unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE
	if t.victim == victimChild {
		// A clone3 whose exit signal is SIGCHLD counts as a fork.
		options |= unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEEXEC
	}
	if err := unix.PtraceSetOptions(t.runtime, options); err != nil {
		return err
	}
	t.seen[t.runtime] = true
	t.resume(t.runtime, 0)
	for {
		pid, err := unix.Wait4(-1, &ws, unix.WALL, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		switch {
		case ws.Stopped():
			t.stopped(pid, ws)
		case pid == t.runtime:
			// Whoever is still traced goes free with the tracer's end.
			t.report.Exit = ws.ExitStatus()
			if ws.Signaled() {
				t.report.Exit = 128 + int(ws.Signal())
			}
			return nil
		}
	}
}

// stopped deals with one stop of a tracee.
func (t *tracer) stopped(pid int, ws unix.WaitStatus) {
	const syscallStop = unix.SIGTRAP | 0x80
	sig := ws.StopSignal()
	switch {
	case sig == syscallStop:
		t.call(pid)
		sig = 0
	case sig == unix.SIGTRAP && ws.TrapCause() == unix.PTRACE_EVENT_EXEC && pid == t.child:
		_ = unix.PtraceDetach(pid) // the user's program
		return
	case sig == unix.SIGTRAP && ws.TrapCause() > 0:
		sig = 0
	case sig == unix.SIGSTOP && !t.seen[pid]: // how a new tracee begins
		t.seen[pid] = true
		if t.child == 0 && !t.isThread(pid) {
			t.child = pid
		}
		sig = 0
	}
	t.resume(pid, sig)
}

// isThread tells a thread of the runtime from its child.
func (t *tracer) isThread(pid int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d/task/%d", t.runtime, pid))
	return err == nil
}

func (t *tracer) isVictim(pid int) bool {
	if t.victim == victimChild {
		return pid == t.child
	}
	return true
}

// call counts a system call that begins, and kills.
func (t *tracer) call(pid int) {
	if !t.isVictim(pid) {
		return
	}
	nr, entry := syscallOf(pid)
	if !entry || t.victim == victimRuntime && idle(nr) {
		return
	}
	t.report.Calls++
	if t.report.Calls == t.n {
		victim := t.runtime
		if t.victim == victimChild {
			victim = t.child
		}
		t.report.Killed = unix.Kill(victim, unix.SIGKILL) == nil
	}
}

func (t *tracer) resume(pid int, sig syscall.Signal) {
	// The error is that it was killed meanwhile.
	if t.victim == victimChild && pid != t.child {
		_ = unix.PtraceCont(pid, int(sig))
		return
	}
	_ = unix.PtraceSyscall(pid, int(sig))
}

// syscallOf asks for the system call at which a tracee stopped, ptrace(2)
// PTRACE_GET_SYSCALL_INFO.
func syscallOf(pid int) (nr uint64, entry bool) {
	const getSyscallInfo, opEntry = 0x420e, 1
	var info struct {
		op                 uint8
		_                  [3]uint8
		arch               uint32
		instruction, stack uint64
		nr                 uint64
		args               [6]uint64
		_                  [2]uint64
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, getSyscallInfo, uintptr(pid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	return info.nr, errno == 0 && info.op == opEntry
}

// idle reports whether a call is of Go's own housekeeping: whoever dies there dies as if at
// the next one.
func idle(nr uint64) bool {
	switch nr {
	case unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_MMAP, unix.SYS_MADVISE, unix.SYS_MUNMAP, unix.SYS_RT_SIGACTION,
		unix.SYS_RT_SIGPROCMASK, unix.SYS_SIGALTSTACK, unix.SYS_EPOLL_PWAIT, unix.SYS_SCHED_YIELD, unix.SYS_GETTID,
		unix.SYS_TGKILL, unix.SYS_CLONE, unix.SYS_RT_SIGRETURN, unix.SYS_GETPID:
		return true
	}
	return false
}
