#include "textflag.h"

// The signal handler: writes the signal's number, in DI, as one byte into the pipe. It
// runs on the thread's signal stack in the midst of anything and touches nothing of Go's
// but writeEnd; rt_sigreturn restores all registers. A full pipe loses the signal.
TEXT ·catch(SB), NOSPLIT|NOFRAME, $0-0
	PUSHQ DI
	MOVL  ·writeEnd(SB), DI
	MOVQ  SP, SI
	MOVL  $1, DX
	MOVL  $1, AX              // write
	SYSCALL
	POPQ  DI
	RET                       // to restore

// What the handler returns to, sigreturn(2).
TEXT ·restore(SB), NOSPLIT|NOFRAME, $0-0
	MOVL $15, AX              // rt_sigreturn
	SYSCALL
	INT  $3                   // not reached

// func handlerAddress() uintptr
TEXT ·handlerAddress(SB), NOSPLIT, $0-8
	MOVQ $·catch(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// func restorerAddress() uintptr
TEXT ·restorerAddress(SB), NOSPLIT, $0-8
	MOVQ $·restore(SB), AX
	MOVQ AX, ret+0(FP)
	RET
