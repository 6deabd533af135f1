//go:build cgo

package main

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// instruction is a struct sock_filter (linux/filter.h): classic BPF.
type instruction struct {
	code   uint16
	jt, jf uint8
	k      uint32
}

const instructionSize = 8

// The instructions that occur in this program.
const (
	loadWord    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	jumpAlways  = unix.BPF_JMP | unix.BPF_JA
	jumpEqual   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	jumpGreater = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
	jumpAtLeast = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	jumpBits    = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
	ret         = unix.BPF_RET | unix.BPF_K
)

// Offsets in struct seccomp_data (linux/seccomp.h).
const (
	dataNumber = 0
	dataArch   = 4
)

// isBranch tells whether an instruction jumps on a condition.
func (i instruction) isBranch() bool {
	return i.code&7 == unix.BPF_JMP && i.code != jumpAlways
}

func encode(code []instruction) []byte {
	var b []byte
	for _, i := range code {
		b = binary.NativeEndian.AppendUint16(b, i.code)
		b = append(b, i.jt, i.jf)
		b = binary.NativeEndian.AppendUint32(b, i.k)
	}
	return b
}

func decode(b []byte) []instruction {
	var code []instruction
	for ; len(b) >= instructionSize; b = b[instructionSize:] {
		code = append(code, instruction{binary.NativeEndian.Uint16(b), b[2], b[3], binary.NativeEndian.Uint32(b[4:])})
	}
	return code
}
