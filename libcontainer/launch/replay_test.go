package launch

import (
	"encoding/binary"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// replayed is what came of a program.
type replayed struct {
	arena   *arena
	pid     int
	status  int         // exit status
	reports [][2]uint32 // what the child sent: id, errno
}

// marks are words that steps of a test set, to tell which of them ran.
type marks []slot

// replayProgram lets a child replay what build appends, with the loop at an address, or in
// its place in the arena for 0.
func replayProgram(t *testing.T, code uintptr, build func(*program)) *replayed {
	t.Helper()
	a, err := newArena()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.free)
	exe, err := a.mapCode()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(exe)
	if code == 0 {
		code = a.code()
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	reports := os.NewFile(uintptr(pipe[0]), "reports")
	defer reports.Close()
	p := newProgram(a)
	build(p)
	if a.full {
		t.Fatal("the program does not fit")
	}
	*a.header() = header{
		steps: uint64(a.firstStep()), end: uint64(a.step), slots: uint64(a.word(0)), reportFD: uint64(pipe[1]),
		report: [2]uint32{noReport, 0},
	}
	r := &replayed{arena: a, pid: forkReplay(t, code, a.base)}
	unix.Close(pipe[1])
	var status unix.WaitStatus
	if _, err := unix.Wait4(r.pid, &status, 0, nil); err != nil {
		t.Fatal(err)
	}
	if r.status = status.ExitStatus(); !status.Exited() {
		t.Fatalf("the child ended by %v", status.Signal())
	}
	text, err := io.ReadAll(reports)
	if err != nil {
		t.Fatal(err)
	}
	for ; len(text) >= 8; text = text[8:] {
		r.reports = append(r.reports, [2]uint32{binary.NativeEndian.Uint32(text), binary.NativeEndian.Uint32(text[4:])})
	}
	return r
}

// forkReplay makes the child: as a launch does, or where clone3 is missing (qemu's user
// emulation) by clone.
func forkReplay(t *testing.T, code, header uintptr) int {
	t.Helper()
	pid, errno := spawn(&cloneArgs{exitSignal: uint64(unix.SIGCHLD)}, code, header)
	if errno == unix.ENOSYS {
		pid, errno = spawnByClone(code, header)
	}
	if errno != 0 {
		t.Fatalf("fork: %v", errno)
	}
	return int(pid)
}

//go:noinline
//go:norace
//go:nosplit
func spawnByClone(code, header uintptr) (pid uintptr, errno unix.Errno) {
	runtimeBeforeFork()
	pid, errno = rawClone()
	if errno != 0 || pid != 0 {
		runtimeAfterFork()
		return pid, errno
	}
	enter(code, header)
	return 0, 0
}

//go:noinline
//go:norace
//go:nosplit
func rawClone() (uintptr, unix.Errno) {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	return pid, errno
}

// emulated reports whether the test runs under qemu's user emulation.
func emulated() bool {
	_, _, errno := unix.RawSyscall(unix.SYS_CLONE3, 0, 0, 0)
	return errno == unix.ENOSYS
}

// exit ends a program with success: what falls off its end exits with 1.
func (p *program) exit(status int) { p.call(unix.SYS_EXIT_GROUP, status) }

// mark appends a step that tells that it ran.
func (m *marks) mark(p *program) {
	s := p.slot()
	*m = append(*m, s)
	p.set(1).to(s)
}

// ran are the numbers of the marks that were set.
func (m marks) ran(a *arena) string {
	var list []string
	for i, s := range m {
		if a.slot(s) == 1 {
			list = append(list, strconv.Itoa(i))
		}
	}
	return strings.Join(list, " ")
}
