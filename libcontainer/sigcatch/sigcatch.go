//go:build amd64 || arm64 || riscv64

// Package sigcatch catches the signals that are sent to the process, for a tenth of
// what os/signal costs.
//
// os/signal hands each signal that is asked for through a thread of its own, which for
// all of them takes more time than a container's whole start. Here the kernel calls 8
// instructions that write the signal's number into a pipe, and the Go runtime is left out.
package sigcatch

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// writeEnd is the pipe's descriptor that the handler writes to.
var writeEnd int32 = -1

// handlerAddress and restorerAddress are the addresses of the handler and of what it
// returns to, 0 where the kernel provides that.
func handlerAddress() uintptr
func restorerAddress() uintptr

// last is the highest signal number, SIGRTMAX.
const last = 64

// Catcher catches signals between Start and Stop.
type Catcher struct {
	pipe  *os.File
	old   [last + 1]action
	taken uint64 // bit n-1: old[n] is to be put back
}

// Start begins to catch some signals; where none is named, every signal that a process may be sent, but: those that report
// a fault of the program itself (SIGSEGV and the like), SIGURG and SIGPROF, which the Go
// runtime sends to itself; SIGPIPE, which is the process's own doing; SIGTTIN and SIGTTOU, whose default (stop) is what a read or
// write in the background must do, and not be repeated for ever; SIGCHLD, see Add.
// There is one Catcher at a time, EBUSY otherwise.
func Start(signals ...unix.Signal) (*Catcher, error) {
	if writeEnd >= 0 {
		return nil, fmt.Errorf("catch signals: %w", unix.EBUSY)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, fmt.Errorf("catch signals: pipe2: %w", err)
	}
	writeEnd = int32(pipe[1])
	c := &Catcher{pipe: os.NewFile(uintptr(pipe[0]), "signals")}
	if len(signals) == 0 {
		signals = all()
	}
	var set unix.Sigset_t
	for _, sig := range signals {
		set.Val[0] |= bit(sig)
		if err := c.Add(sig); err != nil {
			c.Stop()
			return nil, err
		}
	}
	// What the caller had blocked must arrive, too. One thread that takes it is enough.
	if err := unix.PthreadSigmask(unix.SIG_UNBLOCK, &set, nil); err != nil {
		c.Stop()
		return nil, fmt.Errorf("catch signals: sigprocmask: %w", err)
	}
	return c, nil
}

func all() (signals []unix.Signal) {
	for sig := unix.Signal(1); sig <= last; sig++ {
		if ours(sig) {
			signals = append(signals, sig)
		}
	}
	return signals
}

func ours(sig unix.Signal) bool {
	switch sig {
	case unix.SIGILL, unix.SIGTRAP, unix.SIGBUS, unix.SIGFPE, unix.SIGSEGV, unix.SIGSYS,
		unix.SIGKILL, unix.SIGSTOP, unix.SIGPIPE, unix.SIGTTIN, unix.SIGTTOU, unix.SIGURG, unix.SIGPROF,
		unix.SIGCHLD,
		32, 33: // the C library's own
		return false
	default:
		return true
	}
}

// Add catches one more signal.
func (c *Catcher) Add(sig unix.Signal) error {
	const onStack, restart = 0x08000000, 0x10000000 // SA_ONSTACK, SA_RESTART
	// All others wait while the handler runs: it has only so much stack.
	a := newAction(handlerAddress(), onStack|restart, ^uint64(0))
	if err := setAction(sig, &a, &c.old[sig]); err != nil {
		return fmt.Errorf("catch signal %d: %w", int(sig), err)
	}
	c.taken |= bit(sig)
	return nil
}

// Read parks until signals arrived and stores their numbers in buf. It returns how many,
// at least one. Signals of one number that came at once may count as one, signal(7).
func (c *Catcher) Read(buf []byte) (int, error) { return c.pipe.Read(buf) }

// Stop puts back what signals did before.
func (c *Catcher) Stop() {
	for sig := unix.Signal(1); sig <= last; sig++ {
		if c.taken&bit(sig) != 0 {
			_ = setAction(sig, &c.old[sig], nil)
		}
	}
	c.taken = 0
	_ = c.pipe.Close()
	_ = unix.Close(int(writeEnd))
	writeEnd = -1
}

func bit(sig unix.Signal) uint64 { return 1 << (sig - 1) }

func setAction(sig unix.Signal, set, old *action) error {
	const setSize = 8
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(set)),
		uintptr(unsafe.Pointer(old)), setSize, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
