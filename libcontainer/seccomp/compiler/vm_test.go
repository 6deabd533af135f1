//go:build cgo

package main

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// call is what the kernel shows a filter: struct seccomp_data without the
// instruction pointer.
type call struct {
	arch   uint32
	number uint32
	args   [6]uint64
}

// word loads 32 bits of struct seccomp_data, of a little-endian machine.
func (c call) word(offset uint32) uint32 {
	var data [64]byte
	binary.LittleEndian.PutUint32(data[0:], c.number)
	binary.LittleEndian.PutUint32(data[4:], c.arch)
	for i, arg := range c.args {
		binary.LittleEndian.PutUint64(data[16+8*i:], arg)
	}
	return binary.LittleEndian.Uint32(data[offset:])
}

// run interprets a filter as the kernel would, for one call. It stops the
// test at an instruction that a checked seccomp filter can't hold.
func run(t testing.TB, code []byte, c call) uint32 {
	t.Helper()
	var a uint32
	var memory [16]uint32
	for pc := 0; ; pc++ {
		if (pc+1)*instructionSize > len(code) {
			t.Fatalf("the program runs past its end, at instruction %d", pc)
		}
		raw := code[pc*instructionSize:]
		op, jt, jf, k := binary.NativeEndian.Uint16(raw), raw[2], raw[3], binary.NativeEndian.Uint32(raw[4:])
		branch := func(taken bool) {
			if taken {
				pc += int(jt)
			} else {
				pc += int(jf)
			}
		}
		switch op {
		case loadWord:
			a = c.word(k)
		case unix.BPF_LD | unix.BPF_MEM:
			a = memory[k]
		case unix.BPF_ST:
			memory[k] = a
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= k
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(k)
		case jumpEqual:
			branch(a == k)
		case jumpGreater:
			branch(a > k)
		case jumpAtLeast:
			branch(a >= k)
		case jumpBits:
			branch(a&k != 0)
		case ret:
			return k
		default:
			t.Fatalf("instruction %d has an unexpected code %#x", pc, op)
		}
	}
}
