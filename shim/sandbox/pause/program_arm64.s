#include "textflag.h"

// func code() []byte
TEXT ·code(SB), NOSPLIT, $0-24
	MOVD $·pause(SB), R0
	MOVD $·end(SB), R1
	SUB  R0, R1
	MOVD R0, ret_base+0(FP)
	MOVD R1, ret_len+8(FP)
	MOVD R1, ret_cap+16(FP)
	RET

// The stack holds the set of signals that are waited for: 1<<(2-1) | 1<<(15-1) | 1<<(17-1).
TEXT ·pause(SB), NOSPLIT|NOFRAME, $0-0
	MOVD $0x14002, R9
	SUB  $16, RSP
	MOVD R9, (RSP)
	MOVD $135, R8 // rt_sigprocmask(SIG_BLOCK, set, NULL, 8)
	MOVD $0, R0
	MOVD RSP, R1
	MOVD $0, R2
	MOVD $8, R3
	SVC

wait:
	MOVD $137, R8 // rt_sigtimedwait(set, NULL, NULL, 8)
	MOVD RSP, R0
	MOVD $0, R1
	MOVD $0, R2
	MOVD $8, R3
	SVC
	CMP  $17, R0
	BEQ  reap
	CMP  $2, R0
	BEQ  exit
	CMP  $15, R0
	BEQ  exit
	B    wait

reap:
	MOVD $260, R8 // wait4(-1, NULL, WNOHANG, NULL)
	MOVD $-1, R0
	MOVD $0, R1
	MOVD $1, R2
	MOVD $0, R3
	SVC
	CMP  $0, R0
	BGT  reap
	B    wait

exit:
	MOVD $94, R8 // exit_group(0)
	MOVD $0, R0
	SVC

TEXT ·end(SB), NOSPLIT|NOFRAME, $0-0
	RET
