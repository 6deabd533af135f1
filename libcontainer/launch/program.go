package launch

import (
	"encoding/binary"
	"unsafe"

	"github.com/gantry-containers/gantry/libcontainer/internal/bug"

	"golang.org/x/sys/unix"
)

// program is a launch lowered to steps: what the child will do between clone3 and
// execve. It is written into an arena by the lower_*.go files.
type program struct {
	arena *arena
	// ops holds, for every step, the index of the plan's operation it belongs to.
	ops   []uint16
	op    uint16
	slots slot
	late  lateKind // not zero: steps report this instead of their index
}

// atFDCWD is AT_FDCWD as a system call's argument.
const atFDCWD = ^uint64(99)

func newProgram(a *arena) *program {
	return &program{arena: a, ops: make([]uint16, 0, 512)}
}

// stepAt is the step with the given index.
func (p *program) stepAt(i uint32) *step {
	return (*step)(pointer(p.arena.firstStep() + uintptr(i)*stepSize))
}

// slot reserves a word for a result.
func (p *program) slot() slot {
	p.slots++
	if p.slots >= maxSlots {
		p.arena.full = true
		p.slots = 1
	}
	return p.slots
}

// call appends a system call. Arguments are ints, uint64s (addresses), strings
// (copied to the arena, NUL-terminated) and slots.
func (p *program) call(nr int, args ...any) *step {
	s := p.arena.newStep()
	s.nr, s.id = uint64(nr), uint32(len(p.ops))
	if p.late != 0 {
		s.id = lateMark | uint32(p.late)
	}
	p.ops = append(p.ops, p.op)
	for i, arg := range args {
		switch v := arg.(type) {
		case int:
			s.a[i] = uint64(v)
		case uint64:
			s.a[i] = v
		case string:
			s.a[i] = p.str(v)
		case slot:
			s.a[i] = uint64(v)
			s.in |= 1 << i
		default:
			bug.Found("argument of a type that steps don't know")
		}
	}
	return s
}

// set appends a step that stores a constant, or jumps when nothing is stored.
func (p *program) set(value uint64) *step {
	s := p.call(0, value)
	s.nr = opSet
	return s
}

// bits appends a step whose result is those bits of a slot that are in keep, and add. It is
// positive unless that is 0.
func (p *program) bits(s slot, keep, add uint64) *step {
	b := p.call(0, add, s, keep)
	b.nr = opSet
	return b
}

// to stores the result in a slot.
func (s *step) to(dst slot) *step {
	s.out = uint16(dst) + 1
	return s
}

// ok accepts errors: they are no failure and skip what skipErr says.
func (s *step) ok(errnos ...unix.Errno) *step {
	for _, e := range errnos {
		s.accept |= 1 << e
	}
	return s
}

// okAny accepts every error below 64.
func (s *step) okAny() *step {
	s.accept = ^uint64(0)
	return s
}

// atLeast makes a smaller result a failure.
func (s *step) atLeast(n int) *step {
	s.min = uint64(n)
	return s
}

// skip counts the steps from the one after s up to here.
func (p *program) skip(s *step) uint16 {
	n := (p.arena.step - uintptr(unsafe.Pointer(s))) / stepSize
	if n-1 > 0xffff {
		p.arena.full = true
	}
	return uint16(n - 1)
}

// onError makes an accepted error of s continue here.
func (p *program) onError(s *step) { s.skipErr = p.skip(s) }

// onSuccess makes success of s continue here.
func (p *program) onSuccess(s *step) { s.skipOK = p.skip(s) }

// onPositive makes a positive result of s continue here.
func (p *program) onPositive(s *step) { s.skipPos = p.skip(s) }

// str copies a string, NUL-terminated, and returns its address.
func (p *program) str(s string) uint64 {
	b, addr := p.arena.alloc(len(s) + 1)
	copy(b, s)
	b[len(s)] = 0
	return addr
}

// bytes copies b and returns its address.
func (p *program) bytes(b []byte) uint64 {
	c, addr := p.arena.alloc(len(b))
	copy(c, b)
	return addr
}

// u64s lays out 64-bit words.
func (p *program) u64s(words ...uint64) uint64 {
	b, addr := p.arena.alloc(len(words) * 8)
	for i, w := range words {
		binary.NativeEndian.PutUint64(b[i*8:], w)
	}
	return addr
}

// u32s lays out 32-bit words.
func (p *program) u32s(words ...uint32) uint64 {
	b, addr := p.arena.alloc(len(words) * 4)
	for i, w := range words {
		binary.NativeEndian.PutUint32(b[i*4:], w)
	}
	return addr
}

// vector lays out a NULL-terminated array of strings, as execve(2) takes it. It
// returns the array's address.
func (p *program) vector(list []string, extra ...uint64) uint64 {
	words := make([]uint64, 0, len(list)+len(extra)+1)
	for _, s := range list {
		words = append(words, p.str(s))
	}
	words = append(words, extra...)
	return p.u64s(append(words, 0)...)
}
