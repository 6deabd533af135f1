package launch

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// The tests of this file replay small programs for real, in a forked child of the test.
// hack/test-arches runs them as code of the other architectures, too.

func TestLoopStoresResults(t *testing.T) {
	var pid, last slot
	r := replayProgram(t, 0, func(p *program) {
		pid = p.slot()
		p.call(unix.SYS_GETPID).to(pid)
		for last < maxSlots-1 {
			last = p.slot()
		}
		p.set(1<<63 + 5).to(last)
		p.set(^uint64(0)).to(last - 1) // no error, though it looks like one
		p.exit(7)
	})
	if got := r.arena.slot(pid); r.status != 7 || int(got) != r.pid {
		t.Errorf("status %d, getpid stored %d; want 7 and %d", r.status, got, r.pid)
	}
	if got := r.arena.slot(last); got != 1<<63+5 {
		t.Errorf("the last slot holds %#x", got)
	}
	if got := r.arena.slot(last - 1); got != ^uint64(0) || len(r.reports) > 0 {
		t.Errorf("a constant of all ones is stored as %#x, reports %v", got, r.reports)
	}
}

// TestLoopPassesEveryArgument maps a page of a file over one of the arena, for which all
// six arguments count, and reads it.
func TestLoopPassesEveryArgument(t *testing.T) {
	const page, size = 64 << 10, 128 << 10
	file, err := memfd("loop-test", append(bytes.Repeat([]byte{'-'}, page), "the second page "...))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(file)
	if err := unix.Ftruncate(file, size); err != nil {
		t.Fatal(err)
	}
	for in := range 8 { // none, each alone, all from slots
		var seen uint64
		r := replayProgram(t, 0, func(p *program) {
			addr := p.arena.end() - page
			args := []any{uint64(addr), page, unix.PROT_READ, unix.MAP_PRIVATE | unix.MAP_FIXED, file, page}
			for i := range args {
				if in == i+1 || in == 7 {
					s := p.slot()
					v, ok := args[i].(uint64)
					if !ok {
						v = uint64(args[i].(int))
					}
					p.set(v).to(s)
					args[i] = s
				}
			}
			mapped := p.slot()
			p.call(unix.SYS_MMAP, args...).to(mapped)
			seen = uint64(p.arena.base) + scratchOffset
			var pipe [2]int
			if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Close(pipe[0]); unix.Close(pipe[1]) })
			p.call(unix.SYS_WRITE, pipe[1], mapped, 15).atLeast(15)
			p.call(unix.SYS_READ, pipe[0], seen, 15).atLeast(15)
			p.exit(0)
		})
		if got := string(r.arena.scratch()[:15]); got != "the second page" || r.status != 0 {
			t.Errorf("slots %d: read %q, status %d, reports %v", in, got, r.status, r.reports)
		}
	}
}

// TestLoopCombinesBits also jumps by what is left of them.
func TestLoopCombinesBits(t *testing.T) {
	const value = 0xf0f0_1234_5678_9abc
	var word, kept, added, none slot
	r := replayProgram(t, 0, func(p *program) {
		word, kept, added, none = p.slot(), p.slot(), p.slot(), p.slot()
		p.set(value).to(word)
		p.bits(word, 0xffff_0000_0000_ffff, 0).to(kept)
		p.bits(kept, ^uint64(0), 1<<63|3).to(added)
		some := p.bits(word, 4, 0)
		p.exit(1)
		p.onPositive(some)
		nothing := p.bits(word, 3, 0).to(none)
		p.exit(0)
		p.onPositive(nothing)
		p.exit(2)
	})
	got := []uint64{r.arena.slot(kept), r.arena.slot(added), r.arena.slot(none)}
	if diff := cmp.Diff([]uint64{0xf0f0_0000_0000_9abc, 0xf0f0_0000_0000_9abf, 0}, got); diff != "" || r.status != 0 {
		t.Errorf("status %d, reports %v, results (-want +got):\n%s", r.status, r.reports, diff)
	}
}

// badFD is a descriptor that is not open: EBADF.
const badFD = 1 << 20

func TestLoopSkips(t *testing.T) {
	for _, c := range []struct {
		name  string
		build func(p *program, m *marks)
		want  string // marks that are set
	}{
		{"steps run one after another", func(p *program, m *marks) {
			m.mark(p)
			m.mark(p)
		}, "0 1"},
		{"an accepted error goes on with the next step", func(p *program, m *marks) {
			p.call(unix.SYS_CLOSE, badFD).ok(unix.EBADF)
			m.mark(p)
		}, "0"},
		{"an accepted error skips", func(p *program, m *marks) {
			s := p.call(unix.SYS_CLOSE, badFD).ok(unix.ENOENT, unix.EBADF)
			m.mark(p)
			m.mark(p)
			p.onError(s)
			m.mark(p)
		}, "2"},
		{"success does not skip what an error skips", func(p *program, m *marks) {
			s := p.call(unix.SYS_UMASK, 0).okAny()
			m.mark(p)
			p.onError(s)
			m.mark(p)
		}, "0 1"},
		{"success skips", func(p *program, m *marks) {
			s := p.call(unix.SYS_UMASK, 0)
			m.mark(p)
			p.onSuccess(s)
			m.mark(p)
		}, "1"},
		{"an accepted error does not skip what success skips", func(p *program, m *marks) {
			s := p.call(unix.SYS_CLOSE, badFD).ok(unix.EBADF)
			m.mark(p)
			p.onSuccess(s)
			m.mark(p)
		}, "0 1"},
		{"each of two ways has its own skip", func(p *program, m *marks) {
			s := p.call(unix.SYS_CLOSE, badFD).ok(unix.EBADF)
			m.mark(p)
			p.onError(s)
			m.mark(p)
			p.onSuccess(s)
			m.mark(p)
		}, "1 2"},
		{"a positive result skips", func(p *program, m *marks) {
			s := p.call(unix.SYS_GETPID)
			m.mark(p)
			p.onPositive(s)
			m.mark(p)
		}, "1"},
		{"zero is not positive", func(p *program, m *marks) {
			s := p.set(0)
			m.mark(p)
			p.onPositive(s)
			m.mark(p)
		}, "0 1"},
		{"a step that only jumps", func(p *program, m *marks) {
			s := p.set(0)
			m.mark(p)
			p.onSuccess(s)
			m.mark(p)
		}, "1"},
		{"a skip over many steps", func(p *program, m *marks) {
			s := p.set(0)
			for range 0xffff {
				p.call(unix.SYS_CLOSE, badFD)
			}
			p.onSuccess(s)
			m.mark(p)
		}, "0"},
		{"the largest result that is enough", func(p *program, m *marks) {
			p.set(6).atLeast(6)
			m.mark(p)
		}, "0"},
		{"every error below 64 can be accepted", func(p *program, m *marks) {
			p.call(unix.SYS_CLOSE, badFD).okAny()
			m.mark(p)
		}, "0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m marks
			r := replayProgram(t, 0, func(p *program) {
				c.build(p, &m)
				p.exit(0)
			})
			if got := m.ran(r.arena); got != c.want || r.status != 0 || len(r.reports) > 0 {
				t.Errorf("ran %q, want %q; status %d, reports %v", got, c.want, r.status, r.reports)
			}
		})
	}
}

func TestLoopReports(t *testing.T) {
	for _, c := range []struct {
		name  string
		build func(p *program)
		want  [][2]uint32
	}{
		{"the end of the program is no success", func(*program) {}, nil},
		{"an error that is not accepted", func(p *program) {
			p.set(0)
			p.call(unix.SYS_CLOSE, badFD).ok(unix.ENOENT)
		}, [][2]uint32{{1, uint32(unix.EBADF)}}},
		{"a short result has no errno", func(p *program) { p.set(5).atLeast(6) }, [][2]uint32{{0, 0}}},
		{"an error is not taken for a short result", func(p *program) {
			p.call(unix.SYS_CLOSE, badFD).atLeast(1)
		}, [][2]uint32{{0, uint32(unix.EBADF)}}},
		{"errors from 64 on can't be accepted", func(p *program) {
			p.call(unix.SYS_LISTEN, emptyPipe(t), 1).okAny() // no socket
		}, [][2]uint32{{0, uint32(unix.ENOTSOCK)}}},
		{"errors far from zero are errors", func(p *program) {
			p.call(unix.SYS_SOCKET, 1000, unix.SOCK_DGRAM, 0)
		}, [][2]uint32{{0, uint32(unix.EAFNOSUPPORT)}}},
		{"a late step has its kind for an index", func(p *program) {
			p.late = lateSeccomp
			p.call(unix.SYS_CLOSE, badFD)
		}, [][2]uint32{{lateMark | uint32(lateSeccomp), uint32(unix.EBADF)}}},
		{"an interrupted call is not repeated for ever", func(p *program) {
			p.call(unix.SYS_READ, emptyPipe(t), p.u64s(0), 1)
		}, [][2]uint32{{0, uint32(unix.EAGAIN)}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m marks
			r := replayProgram(t, 0, func(p *program) {
				c.build(p)
				if c.want != nil {
					m.mark(p)
				}
			})
			if diff := cmp.Diff(c.want, r.reports); diff != "" || r.status != 1 || m.ran(r.arena) != "" {
				t.Errorf("status %d, want 1; went on %q; reports (-want +got):\n%s", r.status, m.ran(r.arena), diff)
			}
			want := [2]uint32{noReport, 0}
			if c.want != nil {
				want = c.want[0]
			}
			if got := r.arena.header().report; got != want {
				t.Errorf("the header holds %v, want %v", got, want)
			}
		})
	}
}

// emptyPipe is a descriptor that has nothing to read, and does not wait: EAGAIN.
func emptyPipe(t *testing.T) int {
	t.Helper()
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(pipe[0]); unix.Close(pipe[1]) })
	return pipe[0]
}

// TestLoopReportsWithoutAPipe is the case of a filter that refuses the write.
func TestLoopReportsWithoutAPipe(t *testing.T) {
	r := replayProgram(t, 0, func(p *program) {
		p.call(unix.SYS_CLOSE_RANGE, 3, uint64(^uint32(0)), 0).ok(unix.ENOSYS)
		p.call(unix.SYS_FCHDIR, badFD)
	})
	if got := r.arena.header().report; r.status != 1 || got != [2]uint32{1, uint32(unix.EBADF)} {
		t.Errorf("status %d, header %v", r.status, got)
	}
	if !emulated() && len(r.reports) > 0 {
		t.Errorf("a report through a closed pipe: %v", r.reports)
	}
}

// TestLoopRepeatsInterruptedCalls counts with the kernel's own counter of read calls,
// proc_pid_io(5).
func TestLoopRepeatsInterruptedCalls(t *testing.T) {
	const tries, half = 64, 2048
	r := replayProgram(t, 0, func(p *program) {
		io, to := p.slot(), uint64(p.arena.base)+scratchOffset
		count := func(to uint64) {
			p.call(unix.SYS_OPENAT, atFDCWD, "/proc/self/io", unix.O_RDONLY, 0).to(io)
			p.call(unix.SYS_READ, io, to, half).atLeast(1)
			p.call(unix.SYS_CLOSE, io)
		}
		count(to)
		p.call(unix.SYS_READ, emptyPipe(t), p.u64s(0), 1).ok(unix.EAGAIN)
		count(to + half)
		p.exit(0)
	})
	if r.status != 0 {
		t.Fatalf("status %d, reports %v", r.status, r.reports)
	}
	first, second := readCalls(t, r.arena.scratch()[:half]), readCalls(t, r.arena.scratch()[half:2*half])
	if got := second - first - 1; got != tries { // one was the read of the counter
		t.Errorf("tried %d times, want %d", got, tries)
	}
}

func readCalls(t *testing.T, text []byte) int {
	t.Helper()
	_, rest, ok := strings.Cut(string(text), "syscr: ")
	number, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.Atoi(number)
	if !ok || err != nil {
		t.Fatalf("no count of read calls: %v in %q", err, text)
	}
	return n
}

func TestLoopEndsAtItsMark(t *testing.T) {
	code := codeFrom(replayAddress())
	if len(code) == 0 || len(code) >= 4096 {
		t.Errorf("the loop has %d bytes", len(code))
	}
	after := *(*uint64)(unsafe.Add(unsafe.Pointer(&code[0]), len(code)))
	if after != endMark {
		t.Errorf("behind the loop is %#x, want the mark %#x", after, endMark)
	}
	mark := binary.NativeEndian.AppendUint64(nil, endMark)
	if bytes.Contains(code, mark) {
		t.Error("the mark is also in the loop")
	}
}

// TestLoopRunsAnywhere copies the code to odd places: it must refer to nothing around it.
func TestLoopRunsAnywhere(t *testing.T) {
	for _, offset := range []uintptr{0, 64, 2048} {
		r := replayProgram(t, copyOfCode(t, offset), func(p *program) {
			pid := p.slot()
			p.call(unix.SYS_GETPID).to(pid)
			p.call(unix.SYS_CLOSE, badFD).ok(unix.EBADF)
			p.call(unix.SYS_FCHDIR, badFD)
		})
		if diff := cmp.Diff([][2]uint32{{2, uint32(unix.EBADF)}}, r.reports); diff != "" || r.status != 1 {
			t.Errorf("offset %d: status %d, reports:\n%s", offset, r.status, diff)
		}
	}
}

// TestLoopDiesBySignals: the handler runs where the process has no stack, and ends it with
// the shell's exit code for the signal.
func TestLoopDiesBySignals(t *testing.T) {
	r := replayProgram(t, 0, func(p *program) {
		p.dieBySignals()
		p.call(unix.SYS_RT_SIGPROCMASK, 2, p.u64s(0), 0, 8) // SIG_SETMASK
		pid := p.slot()
		p.call(unix.SYS_GETPID).to(pid)
		p.call(unix.SYS_KILL, pid, int(unix.SIGTERM))
		p.call(unix.SYS_PPOLL, 0, 0, p.u64s(5, 0), 0, 0) // qemu delivers it late
	})
	if want := 128 + int(unix.SIGTERM); r.status != want || len(r.reports) > 0 {
		t.Errorf("status %d, want %d; reports %v", r.status, want, r.reports)
	}
}

// copyOfCode puts the loop into a page of its own, at an offset.
func copyOfCode(t *testing.T, offset uintptr) uintptr {
	t.Helper()
	size := uintptr(unix.Getpagesize())
	page, err := mmap(0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, -1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _, _ = unix.RawSyscall(unix.SYS_MUNMAP, page, size, 0) })
	code := codeFrom(replayAddress())
	copy(unsafe.Slice((*byte)(pointer(page+offset)), len(code)), code)
	if _, _, errno := unix.RawSyscall(unix.SYS_MPROTECT, page, size, unix.PROT_READ|unix.PROT_EXEC); errno != 0 {
		t.Fatal(errno)
	}
	return page + offset
}

// TestLoopRunsAlone takes everything away from the child but the arena, as SealExe does.
func TestLoopRunsAlone(t *testing.T) {
	if emulated() {
		t.Skip("qemu's own memory is in the way")
	}
	var m marks
	r := replayProgram(t, 0, func(p *program) {
		w := &lowering{program: p, l: &Launch{exe: badFD, sealed: true}}
		w.sealExe()
		p.stepAt(uint32(len(p.ops) - 1)).ok(unix.EBADF) // no descriptor to be closed here
		m.mark(p)
		p.exit(0)
	})
	if r.status != 0 || m.ran(r.arena) != "0" {
		t.Errorf("status %d, ran %q, reports %v", r.status, m.ran(r.arena), r.reports)
	}
}
