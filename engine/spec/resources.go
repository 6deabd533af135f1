package spec

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/moby/moby/api/types/blkiodev"
	api "github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// cfsPeriod is the period, in microseconds, in which a container gets its share of CPUs when only their number is said.
const cfsPeriod = uint64(100 * time.Millisecond / time.Microsecond)

// createResources are the limits that a container starts with.
func createResources(r api.Resources, m Machine) (*specs.LinuxResources, error) {
	cpu, err := cpuLimits(r)
	if err != nil {
		return nil, err
	}
	io, err := blockIO(r, m)
	if err != nil {
		return nil, err
	}
	return &specs.LinuxResources{Memory: memoryLimits(r), CPU: cpu, BlockIO: io, Pids: pidsLimit(r)}, nil
}

func memoryLimits(r api.Resources) *specs.LinuxMemory {
	m := specs.LinuxMemory{
		Limit:            positive(r.Memory),
		Reservation:      positive(r.MemoryReservation),
		Swap:             positive(r.MemorySwap),
		DisableOOMKiller: r.OomKillDisable,
	}
	if r.MemorySwappiness != nil {
		m.Swappiness = new(uint64(*r.MemorySwappiness)) // Check allows 0 to 100
	}
	if m == (specs.LinuxMemory{}) {
		return nil
	}
	return &m
}

func cpuLimits(r api.Resources) (*specs.LinuxCPU, error) {
	if r.CPUShares < 0 {
		return nil, fmt.Errorf("invalid CPU shares (%d): value must be a positive integer", r.CPUShares)
	}
	c := specs.LinuxCPU{
		Shares:          nonZero(uint64(r.CPUShares)),
		Cpus:            r.CpusetCpus,
		Mems:            r.CpusetMems,
		RealtimePeriod:  nonZero(uint64(r.CPURealtimePeriod)), // Check asks for a positive one
		RealtimeRuntime: nonZero(r.CPURealtimeRuntime),
	}
	if r.NanoCPUs > 0 {
		c.Period, c.Quota = new(cfsPeriod), new(r.NanoCPUs*int64(cfsPeriod)/1e9)
	}
	if r.CPUPeriod != 0 {
		c.Period = new(uint64(r.CPUPeriod)) // Check wants at least 1000
	}
	if r.CPUQuota != 0 {
		c.Quota = &r.CPUQuota
	}
	if c == (specs.LinuxCPU{}) {
		return nil, nil // no limit is an answer
	}
	return &c, nil
}

func blockIO(r api.Resources, m Machine) (*specs.LinuxBlockIO, error) {
	io := specs.LinuxBlockIO{Weight: nonZero(r.BlkioWeight)}
	for _, w := range r.BlkioWeightDevice {
		major, minor, err := m.DeviceNumber(w.Path)
		if err != nil {
			return nil, err
		}
		d := specs.LinuxWeightDevice{Weight: new(w.Weight)}
		d.Major, d.Minor = major, minor
		io.WeightDevice = append(io.WeightDevice, d)
	}
	for _, t := range []struct {
		from []*blkiodev.ThrottleDevice
		to   *[]specs.LinuxThrottleDevice
	}{
		{r.BlkioDeviceReadBps, &io.ThrottleReadBpsDevice},
		{r.BlkioDeviceWriteBps, &io.ThrottleWriteBpsDevice},
		{r.BlkioDeviceReadIOps, &io.ThrottleReadIOPSDevice},
		{r.BlkioDeviceWriteIOps, &io.ThrottleWriteIOPSDevice},
	} {
		for _, f := range t.from {
			major, minor, err := m.DeviceNumber(f.Path)
			if err != nil {
				return nil, err
			}
			d := specs.LinuxThrottleDevice{Rate: f.Rate}
			d.Major, d.Minor = major, minor
			*t.to = append(*t.to, d)
		}
	}
	return &io, nil
}

// pidsLimit is nil when nothing is said; what is no positive number takes a limit away.
func pidsLimit(r api.Resources) *specs.LinuxPids {
	switch {
	case r.PidsLimit == nil:
		return nil
	case *r.PidsLimit <= 0:
		return &specs.LinuxPids{Limit: new(int64(-1))}
	}
	return &specs.LinuxPids{Limit: r.PidsLimit}
}

// Resources are the limits alone, for update of a running container: only those that the request sets.
func Resources(r api.Resources, m Machine) (*specs.LinuxResources, error) {
	io, err := blockIO(r, m)
	if err != nil {
		return nil, err
	}
	cpu := specs.LinuxCPU{
		Shares: nonZero(uint64(r.CPUShares)), // the runtime refuses what the kernel does not take
		Cpus:   r.CpusetCpus,
		Mems:   r.CpusetMems,
		Period: nonZero(uint64(r.CPUPeriod)), // Check wants at least 1000
		Quota:  nonZero(r.CPUQuota),
	}
	if r.NanoCPUs != 0 {
		cpu.Period = new(cfsPeriod)
		if q := r.NanoCPUs * int64(cfsPeriod) / 1e9; q != 0 {
			cpu.Quota = &q
		}
	}
	mem := specs.LinuxMemory{Limit: nonZero(r.Memory), Reservation: nonZero(r.MemoryReservation), Swap: positive(r.MemorySwap)}
	res := &specs.LinuxResources{Pids: pidsLimit(r)}
	if cpu != (specs.LinuxCPU{}) {
		res.CPU = &cpu
	}
	if mem != (specs.LinuxMemory{}) {
		res.Memory = &mem
	}
	if !emptyBlockIO(io) {
		res.BlockIO = io
	}
	return res, nil
}

func emptyBlockIO(io *specs.LinuxBlockIO) bool {
	return io.Weight == nil && len(io.WeightDevice)+len(io.ThrottleReadBpsDevice)+len(io.ThrottleWriteBpsDevice)+
		len(io.ThrottleReadIOPSDevice)+len(io.ThrottleWriteIOPSDevice) == 0
}

// nonZero is nil for zero: the request did not set it.
func nonZero[T cmp.Ordered](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// positive is nil for what does not limit.
func positive(v int64) *int64 {
	if v <= 0 {
		return nil
	}
	return &v
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
