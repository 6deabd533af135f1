#include "textflag.h"

// The replay loop; see loop_amd64.s for what it does and why it is position-independent.
//
// R19 header, R20 step, R21 slots, R22 tries left, R23 end. The kernel keeps every
// register but R0.
TEXT ·replay(SB), NOSPLIT|NOFRAME, $0-0
	MOVD 0(R19), R20
	MOVD 8(R19), R23
	MOVD 16(R19), R21

next:
	CMP  R23, R20
	BHS  done
	MOVBU 64(R20), R9
	MOVD 8(R20), R10
	TBZ  $0, R9, a1
	MOVD (R21)(R10<<3), R10

a1:
	MOVD 16(R20), R1
	TBZ  $1, R9, a2
	MOVD (R21)(R1<<3), R1

a2:
	MOVD 24(R20), R2
	TBZ  $2, R9, a3
	MOVD (R21)(R2<<3), R2

a3:
	MOVD 32(R20), R3
	TBZ  $3, R9, a4
	MOVD (R21)(R3<<3), R3

a4:
	MOVD 40(R20), R4
	TBZ  $4, R9, a5
	MOVD (R21)(R4<<3), R4

a5:
	MOVD 48(R20), R5
	TBZ  $5, R9, a6
	MOVD (R21)(R5<<3), R5

a6:
	AND  R1, R2, R0
	ORR  R10, R0, R0
	MOVD 0(R20), R8
	CMN  $1, R8
	BEQ  ok
	MOVD $64, R22

again:
	MOVD R10, R0
	MOVD 0(R20), R8
	SVC
	MOVD $-4095, R11
	CMP  R11, R0
	BHS  failed

ok:
	MOVD 56(R20), R11
	CMP  R11, R0
	BLO  short
	MOVHU 66(R20), R11
	CBZ  R11, stored
	SUB  $1, R11
	MOVD R0, (R21)(R11<<3)

stored:
	MOVHU 70(R20), R11
	CBZ  R0, advance
	MOVHU 72(R20), R12
	ADD  R12, R11

advance:
	ADD  $1, R11
	MOVD $88, R12
	MADD R12, R20, R11, R20
	B    next

failed:
	NEG  R0, R0
	CMP  $4, R0               // EINTR
	BEQ  retry
	CMP  $11, R0              // EAGAIN
	BNE  accepted

retry:
	SUB  $1, R22
	CBNZ R22, again

accepted:
	CMP  $64, R0
	BHS  report
	MOVD 80(R20), R11
	LSR  R0, R11, R11
	TBZ  $0, R11, report
	MOVHU 68(R20), R11
	B    advance

short:
	MOVD ZR, R0

report:
	MOVWU 76(R20), R11
	MOVW R11, 32(R19)
	MOVW R0, 36(R19)
	MOVD 24(R19), R0
	ADD  $32, R19, R1
	MOVD $8, R2
	MOVD $64, R8              // write
	SVC

done:
	MOVD $1, R0
	MOVD $94, R8              // exit_group
	SVC
	UNDEF                     // exit refused by a filter: die by signal
	WORD $0x544e4147          // marks the end for copying, see endMark
	WORD $0x444e4559

// dying is the handler of signals that end a waiting process: the exit code is the shell's
// for that signal.
TEXT ·dying(SB), NOSPLIT|NOFRAME, $0-0
	ADD  $128, R0
	MOVD $94, R8              // exit_group
	SVC
	UNDEF
	WORD $0x544e4147          // marks the end for copying, see endMark
	WORD $0x444e4559

// func dyingAddress() unsafe.Pointer
TEXT ·dyingAddress(SB), NOSPLIT, $0-8
	MOVD $·dying(SB), R0
	MOVD R0, ret+0(FP)
	RET

// func replayAddress() unsafe.Pointer
TEXT ·replayAddress(SB), NOSPLIT, $0-8
	MOVD $·replay(SB), R0
	MOVD R0, ret+0(FP)
	RET

// func enter(code, header uintptr)
TEXT ·enter(SB), NOSPLIT|NOFRAME, $0-16
	MOVD code+0(FP), R0
	MOVD header+8(FP), R19
	B    (R0)
