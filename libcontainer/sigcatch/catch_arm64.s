#include "textflag.h"

// The signal handler; see catch_amd64.s. It returns to the kernel's own trampoline.
TEXT ·catch(SB), NOSPLIT|NOFRAME, $0-0
	SUB  $16, RSP
	MOVD R0, (RSP)
	MOVW ·writeEnd(SB), R0
	MOVD RSP, R1
	MOVD $1, R2
	MOVD $64, R8              // write
	SVC
	ADD  $16, RSP
	RET

// func handlerAddress() uintptr
TEXT ·handlerAddress(SB), NOSPLIT, $0-8
	MOVD $·catch(SB), R0
	MOVD R0, ret+0(FP)
	RET

// func restorerAddress() uintptr
TEXT ·restorerAddress(SB), NOSPLIT, $0-8
	MOVD ZR, ret+0(FP)
	RET
