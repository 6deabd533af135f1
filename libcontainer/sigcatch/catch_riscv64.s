#include "textflag.h"

// The signal handler; see catch_amd64.s. It returns to the kernel's own trampoline.
TEXT ·catch(SB), NOSPLIT|NOFRAME, $0-0
	ADD  $-16, X2
	MOV  A0, (X2)
	MOVW ·writeEnd(SB), A0
	MOV  X2, A1
	MOV  $1, A2
	MOV  $64, A7              // write
	ECALL
	ADD  $16, X2
	RET

// func handlerAddress() uintptr
TEXT ·handlerAddress(SB), NOSPLIT, $0-8
	MOV $·catch(SB), T0
	MOV T0, ret+0(FP)
	RET

// func restorerAddress() uintptr
TEXT ·restorerAddress(SB), NOSPLIT, $0-8
	MOV X0, ret+0(FP)
	RET
