#include "textflag.h"

// func prlimit(l *limit) int
// prlimit64(0, RLIMIT_NOFILE, NULL, l)
TEXT ·prlimit(SB), NOSPLIT, $0-16
	MOV $0, A0
	MOV $7, A1
	MOV $0, A2
	MOV l+0(FP), A3
	MOV $261, A7
	ECALL
	MOV A0, ret+8(FP)
	RET
