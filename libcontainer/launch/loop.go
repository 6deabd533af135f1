package launch

import "unsafe"

// replay is the loop of loop_*.s; it is entered by a jump only, never called.
//
//nolint:unused // the assembler refers to it
func replay()

// replayAddress is where replay's code lies in this binary.
func replayAddress() unsafe.Pointer

// dying is the signal handler of loop_*.s; only the kernel calls it.
//
//nolint:unused // the assembler refers to it
func dying()

// dyingAddress is where dying's code lies in this binary.
func dyingAddress() unsafe.Pointer

// enter jumps to a copy of replay with a header. It does not return.
//
//go:noescape
func enter(code, header uintptr)
