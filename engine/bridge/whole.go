package bridge

import (
	"errors"
	"time"

	"github.com/vishvananda/netlink"
)

// whole asks for a list again as long as the kernel says that something changed while it was written (NLM_F_DUMP_INTR,
// linux/netlink.h): on a machine with many networks something always does.
func whole[T any](list func() ([]T, error)) (all []T, err error) {
	for range 200 {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return all, err
}
