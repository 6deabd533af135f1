package launch

import (
	"encoding/binary"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/internal/bug"
	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// ioprioProcess is IOPRIO_WHO_PROCESS, ioprio_set(2).
const ioprioProcess = 1

// schedAttr is a scheduler as sched_setattr(2) takes it. The spec has no bounds for
// utilization clamping: they are 0, as in runc.
func schedAttr(a *plan.SetScheduler) *unix.SchedAttr {
	policies := [...]string{ // by number, sched(7)
		"SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE",
	}
	attr := &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: uint32(numbered("policy", policies[:], a.Policy)),
		Nice: a.Nice, Priority: uint32(a.Priority),
		Runtime: a.Runtime, Deadline: a.Deadline, Period: a.Period,
	}
	flags := [...]string{ // by bit
		"SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_KEEP_POLICY",
		"SCHED_FLAG_KEEP_PARAMS", "SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MAX",
	}
	for _, f := range a.Flags {
		attr.Flags |= 1 << numbered("flag", flags[:], f)
	}
	return attr
}

// numbered is the number of a name that stands at its place in a list.
func numbered(kind string, list []string, name string) int {
	n := slices.Index(list, name)
	if n < 0 {
		bug.Found("unknown " + kind + " " + name)
	}
	return n
}

func (w *lowering) setScheduler(a *plan.SetScheduler) {
	attr := schedAttr(a)
	raw := unsafe.Slice((*byte)(unsafe.Pointer(attr)), unsafe.Sizeof(*attr))
	w.call(unix.SYS_SCHED_SETATTR, 0, w.bytes(raw), 0)
}

// ioPriority is class and level in one number, ioprio_set(2) IOPRIO_PRIO_VALUE.
func ioPriority(a *plan.SetIOPriority) int {
	classes := [...]string{"IOPRIO_CLASS_NONE", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"}
	const classShift = 13
	return numbered("class", classes[:], a.Class)<<classShift | a.Priority
}

// idMask is a list as the kernel's bit masks have it: an array of longs.
func idMask(ranges []plan.IDRange) []byte {
	var words []uint64
	for _, r := range ranges {
		for n := r.First; n <= r.Last; n++ {
			for int(n/64) >= len(words) {
				words = append(words, 0)
			}
			words[n/64] |= 1 << (n % 64)
		}
	}
	var mask []byte
	for _, word := range words {
		mask = binary.NativeEndian.AppendUint64(mask, word)
	}
	return mask
}

func (w *lowering) setCPUAffinity(a *plan.SetCPUAffinity) {
	mask := idMask(a.CPUs)
	w.call(unix.SYS_SCHED_SETAFFINITY, 0, len(mask), w.bytes(mask))
}

// resetCPUAffinity asks for more CPUs than any kernel has (NR_CPUS is 8192 at most): the
// kernel leaves out those that the machine or the cpuset lacks. Where the call is forbidden
// the process keeps what it has, as it always did.
func (w *lowering) resetCPUAffinity() {
	const size = 8192 / 8
	mask, addr := w.arena.alloc(size)
	for i := range mask {
		mask[i] = 0xff
	}
	w.call(unix.SYS_SCHED_SETAFFINITY, 0, size, addr).okAny()
}

// setMemoryPolicy calls with the number of bits in the mask plus one: the kernel, by an old
// mistake, looks at one less than it is told.
func (w *lowering) setMemoryPolicy(a *plan.SetMemoryPolicy) {
	modes := [...]string{
		"MPOL_DEFAULT", "MPOL_PREFERRED", "MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_LOCAL", "MPOL_PREFERRED_MANY",
		"MPOL_WEIGHTED_INTERLEAVE",
	}
	flags := [...]string{"MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"}
	const firstFlag = 13
	mode := numbered("mode", modes[:], a.Mode)
	for _, f := range a.Flags {
		mode |= 1 << (firstFlag + numbered("flag", flags[:], f))
	}
	if len(a.Nodes) == 0 {
		w.call(unix.SYS_SET_MEMPOLICY, mode, 0, 0)
		return
	}
	mask := idMask(a.Nodes)
	w.call(unix.SYS_SET_MEMPOLICY, mode, w.bytes(mask), len(mask)*8+1)
}

// domain is the number of an execution domain, personality(2).
func domain(name string) int {
	if name == "LINUX32" {
		return 8 // PER_LINUX32
	}
	return 0 // PER_LINUX
}
