#include "textflag.h"

// The replay loop; see loop_amd64.s for what it does and why it is position-independent.
//
// S2 header, S3 step, S4 slots, S5 tries left, S6 end. The kernel keeps every
// register but A0.
TEXT ·replay(SB), NOSPLIT|NOFRAME, $0-0
	MOV  0(S2), S3
	MOV  8(S2), S6
	MOV  16(S2), S4

next:
	BGEU S3, S6, done
	MOVBU 64(S3), T0
	MOV  8(S3), S7
	ANDI $1, T0, T1
	BEQZ T1, a1
	SLL  $3, S7, S7
	ADD  S4, S7, S7
	MOV  (S7), S7

a1:
	MOV  16(S3), A1
	ANDI $2, T0, T1
	BEQZ T1, a2
	SLL  $3, A1, A1
	ADD  S4, A1, A1
	MOV  (A1), A1

a2:
	MOV  24(S3), A2
	ANDI $4, T0, T1
	BEQZ T1, a3
	SLL  $3, A2, A2
	ADD  S4, A2, A2
	MOV  (A2), A2

a3:
	MOV  32(S3), A3
	ANDI $8, T0, T1
	BEQZ T1, a4
	SLL  $3, A3, A3
	ADD  S4, A3, A3
	MOV  (A3), A3

a4:
	MOV  40(S3), A4
	ANDI $16, T0, T1
	BEQZ T1, a5
	SLL  $3, A4, A4
	ADD  S4, A4, A4
	MOV  (A4), A4

a5:
	MOV  48(S3), A5
	ANDI $32, T0, T1
	BEQZ T1, a6
	SLL  $3, A5, A5
	ADD  S4, A5, A5
	MOV  (A5), A5

a6:
	AND  A1, A2, A0
	OR   S7, A0, A0
	MOV  0(S3), A7
	MOV  $-1, T1
	BEQ  A7, T1, ok
	MOV  $64, S5

again:
	MOV  S7, A0
	MOV  0(S3), A7
	ECALL
	MOV  $-4095, T1
	BGEU A0, T1, failed

ok:
	MOV  56(S3), T1
	BLTU A0, T1, short
	MOVHU 66(S3), T1
	BEQZ T1, stored
	SLL  $3, T1, T1
	ADD  S4, T1, T1
	MOV  A0, -8(T1)

stored:
	MOVHU 70(S3), T1
	BEQZ A0, advance
	MOVHU 72(S3), T2
	ADD  T2, T1

advance:
	ADD  $1, T1
	MOV  $88, T2
	MUL  T2, T1
	ADD  T1, S3
	JMP  next

failed:
	SUB  A0, ZERO, A0
	MOV  $4, T1               // EINTR
	BEQ  A0, T1, retry
	MOV  $11, T1              // EAGAIN
	BNE  A0, T1, accepted

retry:
	ADD  $-1, S5
	BNEZ S5, again

accepted:
	MOV  $64, T1
	BGEU A0, T1, report
	MOV  80(S3), T1
	SRL  A0, T1
	ANDI $1, T1
	BEQZ T1, report
	MOVHU 68(S3), T1
	JMP  advance

short:
	MOV  ZERO, A0

report:
	MOVWU 76(S3), T1
	MOVW T1, 32(S2)
	MOVW A0, 36(S2)
	MOV  24(S2), A0
	ADD  $32, S2, A1
	MOV  $8, A2
	MOV  $64, A7              // write
	ECALL

done:
	MOV  $1, A0
	MOV  $94, A7              // exit_group
	ECALL
	EBREAK                    // exit refused by a filter: die by signal
	WORD $0x544e4147          // marks the end for copying, see endMark
	WORD $0x444e4559

// dying is the handler of signals that end a waiting process: the exit code is the shell's
// for that signal.
TEXT ·dying(SB), NOSPLIT|NOFRAME, $0-0
	ADD  $128, A0
	MOV  $94, A7              // exit_group
	ECALL
	EBREAK
	WORD $0x544e4147          // marks the end for copying, see endMark
	WORD $0x444e4559

// func dyingAddress() unsafe.Pointer
TEXT ·dyingAddress(SB), NOSPLIT, $0-8
	MOV  $·dying(SB), A0
	MOV  A0, ret+0(FP)
	RET

// func replayAddress() unsafe.Pointer
TEXT ·replayAddress(SB), NOSPLIT, $0-8
	MOV  $·replay(SB), A0
	MOV  A0, ret+0(FP)
	RET

// func enter(code, header uintptr)
TEXT ·enter(SB), NOSPLIT|NOFRAME, $0-16
	MOV  code+0(FP), A0
	MOV  header+8(FP), S2
	JMP  (A0)
