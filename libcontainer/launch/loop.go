package launch

import "unsafe"

// replay is the loop of loop_*.s; it is entered by a jump only, never called.
func replay()

// replayAddress is where replay's code lies in this binary.
func replayAddress() unsafe.Pointer

// enter jumps to a copy of replay with a header. It does not return.
//
//go:noescape
func enter(code, header uintptr)

// endMark stands behind the last instruction of replay.
const endMark = uint64(0x444e4559_544e4147)

// maxLoop bounds the search for endMark, in bytes.
const maxLoop = 2048

// loopCode returns the loop's machine code, a view of this binary's text.
func loopCode() []byte {
	start := replayAddress()
	for n := uintptr(0); n < maxLoop; n++ {
		low := *(*uint32)(unsafe.Add(start, n))
		if uint64(low) == endMark&0xffffffff && *(*uint32)(unsafe.Add(start, n+4)) == uint32(endMark>>32) {
			return unsafe.Slice((*byte)(start), n)
		}
	}
	panic("bug: the replay loop has no end mark")
}
