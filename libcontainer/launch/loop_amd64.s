#include "textflag.h"

// The replay loop. It is position-independent: it refers to nothing but the header
// it is given, so its bytes can be copied to a page of their own (page.go).
//
// R12 header, R13 step, R15 slots, R14 tries left. The kernel keeps every register
// but AX, CX and R11.
TEXT ·replay(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ 0(R12), R13
	MOVQ 16(R12), R15

next:
	CMPQ R13, 8(R12)
	JCC  done
	MOVBLZX 64(R13), BX
	MOVQ 8(R13), DI
	BTL  $0, BX
	JCC  a1
	MOVQ (R15)(DI*8), DI

a1:
	MOVQ 16(R13), SI
	BTL  $1, BX
	JCC  a2
	MOVQ (R15)(SI*8), SI

a2:
	MOVQ 24(R13), DX
	BTL  $2, BX
	JCC  a3
	MOVQ (R15)(DX*8), DX

a3:
	MOVQ 32(R13), R10
	BTL  $3, BX
	JCC  a4
	MOVQ (R15)(R10*8), R10

a4:
	MOVQ 40(R13), R8
	BTL  $4, BX
	JCC  a5
	MOVQ (R15)(R8*8), R8

a5:
	MOVQ 48(R13), R9
	BTL  $5, BX
	JCC  a6
	MOVQ (R15)(R9*8), R9

a6:
	MOVQ SI, AX
	ANDQ DX, AX
	ORQ  DI, AX
	CMPQ 0(R13), $-1          // a "set" step: the result is made of the arguments
	JEQ  ok
	MOVL $64, R14

again:
	MOVQ 0(R13), AX
	SYSCALL
	CMPQ AX, $-4095
	JCC  failed

ok:
	CMPQ AX, 56(R13)          // a result below the minimum is a failure without errno
	JCS  short
	MOVWLZX 66(R13), CX
	TESTL CX, CX
	JEQ  stored
	MOVQ AX, -8(R15)(CX*8)

stored:
	MOVWLZX 70(R13), CX
	TESTQ AX, AX
	JEQ  advance
	MOVWLZX 72(R13), DX
	ADDL DX, CX

advance:
	INCL CX
	IMULQ $88, CX
	ADDQ CX, R13
	JMP  next

failed:
	NEGQ AX
	CMPQ AX, $4               // EINTR
	JEQ  retry
	CMPQ AX, $11              // EAGAIN
	JNE  accepted

retry:
	DECL R14
	JNE  again

accepted:
	CMPQ AX, $64
	JCC  report
	BTQ  AX, 80(R13)
	JCC  report
	MOVWLZX 68(R13), CX
	JMP  advance

short:
	XORL AX, AX

report:
	MOVL 76(R13), DX
	MOVL DX, 32(R12)
	MOVL AX, 36(R12)
	MOVQ 24(R12), DI
	LEAQ 32(R12), SI
	MOVL $8, DX
	MOVL $1, AX               // write
	SYSCALL

done:
	MOVL $1, DI
	MOVL $231, AX             // exit_group
	SYSCALL
	UD2                       // exit refused by a filter: die by signal
	LONG $0x544e4147          // marks the end for copying, see endMark
	LONG $0x444e4559

// dying is the handler of signals that end a waiting process: the exit code is the shell's
// for that signal.
TEXT ·dying(SB), NOSPLIT|NOFRAME, $0-0
	ADDL $128, DI
	MOVL $231, AX             // exit_group
	SYSCALL
	UD2
	LONG $0x544e4147          // marks the end for copying, see endMark
	LONG $0x444e4559

// func dyingAddress() unsafe.Pointer
TEXT ·dyingAddress(SB), NOSPLIT, $0-8
	LEAQ ·dying(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// func replayAddress() unsafe.Pointer
TEXT ·replayAddress(SB), NOSPLIT, $0-8
	LEAQ ·replay(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// func enter(code, header uintptr)
TEXT ·enter(SB), NOSPLIT|NOFRAME, $0-16
	MOVQ code+0(FP), AX
	MOVQ header+8(FP), R12
	JMP  AX
