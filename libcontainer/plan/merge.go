package plan

import (
	"maps"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Merge lays changes over the limits that a container has. What the changes leave out
// stays; so does a number that is 0 where config.json says "not set" by it. Lists are
// merged by what their elements are about (device, page size, interface), but for devices:
// rules depend on their order, so a list of them takes the place of the old one.
func Merge(old, changes *specs.LinuxResources) *specs.LinuxResources {
	merged := specs.LinuxResources{}
	if old != nil {
		merged = *old
	}
	if changes == nil {
		return &merged
	}
	if changes.Devices != nil {
		merged.Devices = changes.Devices
	}
	merged.Memory = mergeMemory(merged.Memory, changes.Memory)
	merged.CPU = mergeCPU(merged.CPU, changes.CPU)
	if changes.Pids != nil && changes.Pids.Limit != nil {
		merged.Pids = changes.Pids
	}
	merged.BlockIO = mergeBlockIO(merged.BlockIO, changes.BlockIO)
	merged.HugepageLimits = mergeList(merged.HugepageLimits, changes.HugepageLimits,
		func(a, b *specs.LinuxHugepageLimit) bool { return a.Pagesize == b.Pagesize })
	merged.Network = mergeNetwork(merged.Network, changes.Network)
	merged.Rdma = mergeRdma(merged.Rdma, changes.Rdma)
	if changes.Unified != nil {
		merged.Unified = maps.Clone(merged.Unified)
		if merged.Unified == nil {
			merged.Unified = make(map[string]string)
		}
		maps.Copy(merged.Unified, changes.Unified)
	}
	return &merged
}

func mergeMemory(old, changes *specs.LinuxMemory) *specs.LinuxMemory {
	if changes == nil {
		return old
	}
	m := specs.LinuxMemory{}
	if old != nil {
		m = *old
	}
	if orZero(changes.Limit) == -1 && orZero(changes.Swap) == 0 {
		m.Swap = nil // no limit on memory means none on memory+swap
	}
	takeNumber(&m.Limit, changes.Limit)
	takeNumber(&m.Reservation, changes.Reservation)
	takeNumber(&m.Swap, changes.Swap)
	takeValue(&m.Swappiness, changes.Swappiness)
	takeValue(&m.DisableOOMKiller, changes.DisableOOMKiller)
	takeValue(&m.CheckBeforeUpdate, changes.CheckBeforeUpdate)
	return &m
}

func mergeCPU(old, changes *specs.LinuxCPU) *specs.LinuxCPU {
	if changes == nil {
		return old
	}
	c := specs.LinuxCPU{}
	if old != nil {
		c = *old
	}
	takeNumber(&c.Shares, changes.Shares)
	takeNumber(&c.Quota, changes.Quota)
	takeNumber(&c.Period, changes.Period)
	takeNumber(&c.RealtimePeriod, changes.RealtimePeriod)
	takeNumber(&c.RealtimeRuntime, changes.RealtimeRuntime)
	takeValue(&c.Burst, changes.Burst)
	takeValue(&c.Idle, changes.Idle)
	if changes.Cpus != "" {
		c.Cpus = changes.Cpus
	}
	if changes.Mems != "" {
		c.Mems = changes.Mems
	}
	return &c
}

func mergeBlockIO(old, changes *specs.LinuxBlockIO) *specs.LinuxBlockIO {
	if changes == nil {
		return old
	}
	b := specs.LinuxBlockIO{}
	if old != nil {
		b = *old
	}
	takeNumber(&b.Weight, changes.Weight)
	takeNumber(&b.LeafWeight, changes.LeafWeight)
	b.WeightDevice = mergeWeights(b.WeightDevice, changes.WeightDevice)
	same := func(a, b *specs.LinuxThrottleDevice) bool { return a.Major == b.Major && a.Minor == b.Minor }
	b.ThrottleReadBpsDevice = mergeList(b.ThrottleReadBpsDevice, changes.ThrottleReadBpsDevice, same)
	b.ThrottleWriteBpsDevice = mergeList(b.ThrottleWriteBpsDevice, changes.ThrottleWriteBpsDevice, same)
	b.ThrottleReadIOPSDevice = mergeList(b.ThrottleReadIOPSDevice, changes.ThrottleReadIOPSDevice, same)
	b.ThrottleWriteIOPSDevice = mergeList(b.ThrottleWriteIOPSDevice, changes.ThrottleWriteIOPSDevice, same)
	return &b
}

func mergeWeights(old, changes []specs.LinuxWeightDevice) []specs.LinuxWeightDevice {
	list := slices.Clone(old)
	for i := range changes {
		d := &changes[i]
		at := slices.IndexFunc(list, func(o specs.LinuxWeightDevice) bool { return o.Major == d.Major && o.Minor == d.Minor })
		if at < 0 {
			list = append(list, *d)
			continue
		}
		takeNumber(&list[at].Weight, d.Weight)
		takeNumber(&list[at].LeafWeight, d.LeafWeight)
	}
	return list
}

func mergeNetwork(old, changes *specs.LinuxNetwork) *specs.LinuxNetwork {
	if changes == nil {
		return old
	}
	n := specs.LinuxNetwork{}
	if old != nil {
		n = *old
	}
	takeNumber(&n.ClassID, changes.ClassID)
	n.Priorities = mergeList(n.Priorities, changes.Priorities,
		func(a, b *specs.LinuxInterfacePriority) bool { return a.Name == b.Name })
	return &n
}

func mergeRdma(old, changes map[string]specs.LinuxRdma) map[string]specs.LinuxRdma {
	if changes == nil {
		return old
	}
	merged := maps.Clone(old)
	if merged == nil {
		merged = make(map[string]specs.LinuxRdma)
	}
	for device, limit := range changes {
		m := merged[device]
		takeValue(&m.HcaHandles, limit.HcaHandles)
		takeValue(&m.HcaObjects, limit.HcaObjects)
		merged[device] = m
	}
	return merged
}

// mergeList puts each changed element in the place of the one that is about the same
// thing, or at the end.
func mergeList[T any](old, changes []T, same func(a, b *T) bool) []T {
	list := slices.Clone(old)
	for i := range changes {
		at := slices.IndexFunc(list, func(o T) bool { return same(&o, &changes[i]) })
		if at < 0 {
			list = append(list, changes[i])
		} else {
			list[at] = changes[i]
		}
	}
	return list
}

// takeNumber takes a number that is there and not 0.
func takeNumber[T int64 | uint64 | uint32 | uint16](to **T, from *T) {
	if orZero(from) != 0 {
		*to = from
	}
}

// takeValue takes a value that is there.
func takeValue[T any](to **T, from *T) {
	if from != nil {
		*to = from
	}
}
