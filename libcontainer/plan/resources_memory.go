package plan

import (
	"math"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

const (
	memoryLimitField       = "memory.limit"
	memoryReservationField = "memory.reservation"
	memorySwapField        = "memory.swap"
	swappinessField        = "memory.swappiness"
	oomKillerField         = "memory.disableOOMKiller"

	// The highest swappiness that config-linux.md knows.
	maxSwappiness = 100
)

// memory compiles linux.resources.memory. As everywhere in config.json, 0 is "not
// set" and -1 is "no limit".
func (l *limits) memory(m *specs.LinuxMemory) {
	field := memoryAsked(m)
	if field == "" {
		return
	}
	h := l.find("memory", field)
	if h == nil || !l.memoryValid(m) {
		return
	}
	if h.Unified() {
		l.memoryV2(h, m)
		return
	}
	l.memoryV1(h, m)
}

// memoryAsked names the first field that asks for something, or is empty.
//
// useHierarchy needs no controller: since Linux 5.11 memory is always accounted
// hierarchically. checkBeforeUpdate is about `update`, not about a new container.
func memoryAsked(m *specs.LinuxMemory) string {
	switch {
	case m == nil:
		return ""
	case orZero(m.Limit) != 0:
		return memoryLimitField
	case orZero(m.Reservation) != 0:
		return memoryReservationField
	case orZero(m.Swap) != 0:
		return memorySwapField
	case orZero(m.Kernel) != 0: //nolint:staticcheck // deprecated in the spec, still set by clients
		return "memory.kernel"
	case orZero(m.KernelTCP) != 0:
		return "memory.kernelTCP"
	case swappinessSet(m.Swappiness):
		return swappinessField
	case flagSet(m.DisableOOMKiller):
		return oomKillerField
	case flagSet(m.UseHierarchy):
		return "memory.useHierarchy"
	}
	return ""
}

// memoryValid refuses what no kernel accepts.
func (l *limits) memoryValid(m *specs.LinuxMemory) bool {
	limit, swap, before := orZero(m.Limit), orZero(m.Swap), len(l.errs)
	switch {
	case limit < -1:
		l.refuse(memoryLimitField, "a limit can't be negative, but for -1 (none)")
	case orZero(m.Reservation) < -1:
		l.refuse(memoryReservationField, "a limit can't be negative, but for -1 (none)")
	case swap < -1:
		l.refuse(memorySwapField, "a limit can't be negative, but for -1 (none)")
	case swap > 0 && limit == 0:
		l.refuse(memorySwapField, "unable to set swap limit without memory limit")
	case swap > 0 && swap < limit:
		l.refuse(memorySwapField, "memory+swap limit should be >= memory limit")
	case swappinessSet(m.Swappiness) && *m.Swappiness > maxSwappiness:
		l.refuse(swappinessField, "not in the range from 0 to 100")
	}
	return len(l.errs) == before
}

// memoryV1 compiles to Documentation/admin-guide/cgroup-v1/memory.rst. A fresh
// cgroup has no limits, and memory+swap may never be less than memory, so memory
// comes first.
func (l *limits) memoryV1(h *host.Hierarchy, m *specs.LinuxMemory) {
	if flagSet(m.UseHierarchy) {
		l.try(h, "memory.useHierarchy", "memory.use_hierarchy", "1")
	}
	limit, swap := orZero(m.Limit), orZero(m.Swap)
	l.putSet(h, memoryLimitField, "memory.limit_in_bytes", limit)
	l.putSet(h, memorySwapField, "memory.memsw.limit_in_bytes", swap)
	if limit == -1 && swap == 0 {
		// No limit on memory means none on memory+swap, where the kernel counts swap.
		l.try(h, memoryLimitField, "memory.memsw.limit_in_bytes", "-1")
	}
	l.putSet(h, memoryReservationField, "memory.soft_limit_in_bytes", orZero(m.Reservation))
	// The spec lets a runtime ignore these two; kernels that have them honour them.
	if kernel := orZero(m.Kernel); kernel != 0 { //nolint:staticcheck // as above
		l.try(h, "memory.kernel", "memory.kmem.limit_in_bytes", strconv.FormatInt(kernel, 10))
	}
	if tcp := orZero(m.KernelTCP); tcp != 0 {
		l.try(h, "memory.kernelTCP", "memory.kmem.tcp.limit_in_bytes", strconv.FormatInt(tcp, 10))
	}
	if swappinessSet(m.Swappiness) {
		l.put(h, swappinessField, "memory.swappiness", strconv.FormatUint(*m.Swappiness, 10))
	}
	if flagSet(m.DisableOOMKiller) {
		l.put(h, oomKillerField, "memory.oom_control", "1")
	}
}

// memoryV2 compiles to cgroup-v2.rst "Memory Interface Files". Kernel memory, TCP
// buffers among it, is part of memory.max there, so the two limits of their own say
// nothing more.
func (l *limits) memoryV2(h *host.Hierarchy, m *specs.LinuxMemory) {
	if swappinessSet(m.Swappiness) {
		l.noV2(swappinessField)
	}
	if flagSet(m.DisableOOMKiller) {
		l.noV2(oomKillerField)
	}
	limit, swap := orZero(m.Limit), orZero(m.Swap)
	switch {
	case swap == -1 || swap == 0 && limit == -1:
		l.try(h, memorySwapField, "memory.swap.max", "max")
	case swap > 0:
		// v1 counts memory and swap together, v2 swap alone.
		only := swap
		if limit > 0 {
			only -= limit
		}
		if only == 0 {
			l.try(h, memorySwapField, "memory.swap.max", "0")
		} else {
			l.put(h, memorySwapField, "memory.swap.max", strconv.FormatInt(only, 10))
		}
	}
	l.putMax(h, memoryLimitField, "memory.max", limit)
	l.putMax(h, memoryReservationField, "memory.low", orZero(m.Reservation))
}

// putSet writes a number that is set.
func (l *limits) putSet(h *host.Hierarchy, field, file string, n int64) {
	if n != 0 {
		l.put(h, field, file, strconv.FormatInt(n, 10))
	}
}

// putMax writes a number that is set, as v2 wants "no limit".
func (l *limits) putMax(h *host.Hierarchy, field, file string, n int64) {
	if n == -1 {
		l.put(h, field, file, "max")
		return
	}
	l.putSet(h, field, file, n)
}

// swappinessSet reports whether there is a swappiness; some clients say -1, cast to
// unsigned, for none.
func swappinessSet(s *uint64) bool { return s != nil && *s != math.MaxUint64 }

// orZero is an optional number, 0 when it is missing.
func orZero[T int64 | uint64 | uint32 | uint16](n *T) T {
	if n == nil {
		return 0
	}
	return *n
}

// flagSet is an optional flag, false when it is missing.
func flagSet(flag *bool) bool { return flag != nil && *flag }
