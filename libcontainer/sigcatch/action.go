//go:build amd64 || arm64

package sigcatch

// action is the kernel's struct sigaction, rt_sigaction(2).
type action struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

func newAction(handler uintptr, flags, mask uint64) action {
	a := action{handler: handler, flags: flags, mask: mask, restorer: restorerAddress()}
	if a.restorer != 0 {
		const saRestorer = 0x04000000
		a.flags |= saRestorer
	}
	return a
}
