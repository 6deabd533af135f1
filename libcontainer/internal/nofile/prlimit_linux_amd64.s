#include "textflag.h"

// func prlimit(l *limit) int
// prlimit64(0, RLIMIT_NOFILE, NULL, l)
TEXT ·prlimit(SB), NOSPLIT, $0-16
	MOVQ $302, AX
	MOVQ $0, DI
	MOVQ $7, SI
	MOVQ $0, DX
	MOVQ l+0(FP), R10
	SYSCALL
	MOVQ AX, ret+8(FP)
	RET
