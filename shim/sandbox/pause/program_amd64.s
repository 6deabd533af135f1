#include "textflag.h"

// func code() []byte
TEXT ·code(SB), NOSPLIT, $0-24
	LEAQ ·pause(SB), AX
	LEAQ ·end(SB), BX
	SUBQ AX, BX
	MOVQ AX, ret_base+0(FP)
	MOVQ BX, ret_len+8(FP)
	MOVQ BX, ret_cap+16(FP)
	RET

// The stack holds the set of signals that are waited for: 1<<(2-1) | 1<<(15-1) | 1<<(17-1).
TEXT ·pause(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ  $0x14002, AX
	PUSHQ AX
	MOVL  $14, AX // rt_sigprocmask(SIG_BLOCK, set, NULL, 8)
	XORL  DI, DI
	MOVQ  SP, SI
	XORL  DX, DX
	MOVL  $8, R10
	SYSCALL

wait:
	MOVL $128, AX // rt_sigtimedwait(set, NULL, NULL, 8)
	MOVQ SP, DI
	XORL SI, SI
	XORL DX, DX
	MOVL $8, R10
	SYSCALL
	CMPQ AX, $17
	JEQ  reap
	CMPQ AX, $2
	JEQ  exit
	CMPQ AX, $15
	JEQ  exit
	JMP  wait

reap:
	MOVL  $61, AX // wait4(-1, NULL, WNOHANG, NULL)
	MOVQ  $-1, DI
	XORL  SI, SI
	MOVL  $1, DX
	XORL  R10, R10
	SYSCALL
	TESTQ AX, AX
	JGT   reap
	JMP   wait

exit:
	MOVL $231, AX // exit_group(0)
	XORL DI, DI
	SYSCALL

TEXT ·end(SB), NOSPLIT|NOFRAME, $0-0
	RET
