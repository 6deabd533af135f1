package launch

import "unsafe"

// step is one entry of the straight-line program that the child replays: a raw
// system call and what to make of its result. The assembler in loop_*.s knows the
// offsets; TestStepLayout holds them.
type step struct {
	nr      uint64    // system call number, or opSet
	a       [6]uint64 // arguments: immediates, addresses in the arena, or slot numbers (see in)
	min     uint64    // a result below it is a failure without errno: EOF, a short write
	in      uint8     // bit i: a[i] is the number of the slot that holds the argument
	_       uint8
	out     uint16 // slot + 1 that receives the result; 0 for none
	skipErr uint16 // steps to skip after an accepted error
	skipOK  uint16 // steps to skip after success
	skipPos uint16 // steps to skip when the result is positive (the parent's side of a clone)
	_       uint16
	id      uint32 // what the child reports when the step fails
	accept  uint64 // bit n: errno n (below 64) is no failure
}

// opSet is a step without a system call: its result is a[0] | a[1]&a[2].
const opSet = ^uint64(0)

const stepSize = unsafe.Sizeof(step{})

// slot names a word that holds an earlier result.
type slot uint16

// header is what the loop is entered with. It lies in the arena's shared page.
type header struct {
	steps, end uint64
	slots      uint64
	reportFD   uint64
	report     [2]uint32 // {id, errno}: written here before it is sent
	pidfd      int32     // for the parent, from clone3: an address on Go's stack could move under it
}
