package libcontainer

import (
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// traceFilter tells, if anybody listens, with which flags a filter will be loaded, as the number
// that seccomp(2) is given; runc has the same line.
func (r *Runtime) traceFilter(f *plan.Seccomp) {
	if r.Debug == nil || f == nil {
		return
	}
	flags := f.Flags
	if f.Notify {
		flags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	r.Debug("seccomp filter flags: " + strconv.FormatUint(uint64(flags), 10))
}
