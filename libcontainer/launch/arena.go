package launch

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The arena is the only memory that the child keeps: a region outside the Go heap,
// so that the child can unmap everything below and above it.
//
//	shared   header, slots, what the child reads for the parent   MAP_SHARED
//	code     the replay loop                                      r-x, from a sealed memfd
//	steps    the program                                          private
//	data     strings and structures that steps point to           private
//
// Untouched pages cost nothing, so the sizes are bounds, not needs.
const (
	sharedSize = 128 << 10
	codeSize   = 64 << 10 // one page of the largest page size
	stepsSize  = 8 << 20
	dataSize   = 24 << 20
	arenaSize  = sharedSize + codeSize + stepsSize + dataSize
)

// Offsets in the shared part.
const (
	slotsOffset   = 256
	maxSlots      = (4096 - slotsOffset) / 8
	scratchOffset = 4096 // scratch: passwd bytes from the child, the HOME string to it
	scratchSize   = sharedSize - scratchOffset
)

// errArenaFull says that a config is larger than any that the kernel would accept.
var errArenaFull = errors.New("launch program too large")

// arena is a mapping that holds one launch's program.
type arena struct {
	base uintptr // address of the shared part
	step uintptr // next free step
	data uintptr // next free byte of data
	full bool    // something did not fit; the program must not be run
}

// newArena maps an arena. The caller unmaps it with free.
func newArena() (*arena, error) {
	base, err := mmap(0, arenaSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE, -1)
	if err != nil {
		return nil, err
	}
	a := &arena{base: base, step: base + sharedSize + codeSize, data: base + sharedSize + codeSize + stepsSize}
	// A huge page would be zeroed whole for the first byte.
	_, _, _ = unix.RawSyscall(unix.SYS_MADVISE, base, arenaSize, unix.MADV_NOHUGEPAGE)
	if _, err := mmap(base, sharedSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS|unix.MAP_FIXED, -1); err != nil {
		a.free()
		return nil, err
	}
	return a, nil
}

func (a *arena) free() {
	_, _, _ = unix.RawSyscall(unix.SYS_MUNMAP, a.base, arenaSize, 0)
}

func (a *arena) code() uintptr      { return a.base + sharedSize }
func (a *arena) dying() uintptr     { return a.code() + maxLoop }
func (a *arena) firstStep() uintptr { return a.code() + codeSize }
func (a *arena) firstData() uintptr { return a.firstStep() + stepsSize }
func (a *arena) end() uintptr       { return a.base + arenaSize }

// header is the loop's entry structure.
func (a *arena) header() *header { return (*header)(pointer(a.base)) }

// word is the address of a slot.
func (a *arena) word(s slot) uintptr { return a.base + slotsOffset + uintptr(s)*8 }

// slot reads a slot. After the child joined foreign namespaces its values are
// only as trustworthy as the processes there.
func (a *arena) slot(s slot) uint64 { return *(*uint64)(pointer(a.word(s))) }

// scratch is memory that both processes see.
func (a *arena) scratch() []byte {
	return unsafe.Slice((*byte)(pointer(a.base+scratchOffset)), scratchSize)
}

// newStep appends an empty step.
func (a *arena) newStep() *step {
	if a.step+stepSize > a.firstData() {
		a.full = true
		a.step = a.firstStep()
	}
	s := (*step)(pointer(a.step))
	a.step += stepSize
	*s = step{}
	return s
}

// alloc returns n zero bytes aligned for any kernel structure, and their address.
func (a *arena) alloc(n int) ([]byte, uint64) {
	size := (uintptr(n) + 7) &^ 7
	if a.data+size > a.end() {
		a.full = true
		a.data = a.firstData()
		if size > dataSize {
			return make([]byte, n), 0
		}
	}
	p := a.data
	a.data += size
	return unsafe.Slice((*byte)(pointer(p)), n), uint64(p)
}

// pointer turns an address outside the Go heap into a pointer. Going through a
// variable's address keeps vet's rule about uintptr arithmetic for heap objects out of it.
func pointer(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }

func mmap(addr, size uintptr, prot, flags, fd int) (uintptr, error) {
	p, _, errno := unix.RawSyscall6(unix.SYS_MMAP, addr, size, uintptr(prot), uintptr(flags), uintptr(fd), 0)
	if errno != 0 {
		return 0, errno
	}
	return p, nil
}
