package sigcatch

// action is the kernel's struct sigaction, rt_sigaction(2).
type action struct {
	handler uintptr
	flags   uint64
	mask    uint64
	_       uint64 // qemu's user emulation takes the structure for that of other architectures, and writes one word more
}

func newAction(handler uintptr, flags, mask uint64) action {
	return action{handler: handler, flags: flags, mask: mask}
}
