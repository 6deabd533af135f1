package spec

import (
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/blkiodev"
	api "github.com/moby/moby/api/types/container"

	"github.com/gantry-containers/gantry/engine/host"
)

// leastMemory is what a container needs to start at all, in bytes.
const leastMemory = 6 << 20

// limit is something that a request may set and a machine may lack: then it is discarded with a warning.
type limit struct {
	controller string
	set        bool
	warning    string
	discard    func()
}

// discardMissing takes away what the machine cannot do.
func discardMissing(limits []limit, f host.Facts) (warnings []string) {
	for _, l := range limits {
		if l.set && !f.Controllers[l.controller] {
			if l.warning != "" {
				warnings = append(warnings, l.warning)
			}
			l.discard()
		}
	}
	return warnings
}

// checkResources says no to limits that make no sense, and takes away those that this machine does not have.
func checkResources(r *api.Resources, f host.Facts, update bool) (warnings []string, err error) {
	for _, check := range []func(*api.Resources, host.Facts, bool) ([]string, error){checkMemory, checkCPU, checkCpuset, checkBlkio} {
		w, err := check(r, f, update)
		if warnings = append(warnings, w...); err != nil {
			return warnings, err
		}
	}
	return warnings, nil
}

func checkMemory(r *api.Resources, f host.Facts, update bool) (warnings []string, err error) {
	if r.MemorySwappiness != nil && *r.MemorySwappiness == -1 {
		r.MemorySwappiness = nil // The old word for "as the machine".
	}
	if r.Memory != 0 && r.Memory < leastMemory {
		return nil, invalid("Minimum memory limit allowed is 6MB")
	}
	warnings = discardMissing([]limit{
		{
			host.Memory, r.Memory > 0,
			"Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
			func() { r.Memory, r.MemorySwap = 0, -1 },
		},
		{
			host.Swap, r.Memory > 0 && r.MemorySwap != -1 && f.Controllers[host.Memory],
			"Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.",
			func() { r.MemorySwap = -1 },
		},
	}, f)
	if r.Memory > 0 && r.MemorySwap > 0 && r.MemorySwap < r.Memory {
		return warnings, invalid("Minimum memoryswap limit should be larger than memory limit, see usage")
	}
	if r.Memory == 0 && r.MemorySwap > 0 && !update {
		return warnings, invalid("You should always set the Memory limit when using Memoryswap limit, see usage")
	}
	warnings = append(warnings, discardMissing([]limit{{
		host.MemorySwappiness, r.MemorySwappiness != nil,
		"Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.",
		func() { r.MemorySwappiness = nil },
	}}, f)...)
	if s := r.MemorySwappiness; s != nil && (*s < 0 || *s > 100) {
		return warnings, invalid("Invalid value: %v, valid memory swappiness range is 0-100", *s)
	}
	warnings = append(warnings, discardMissing([]limit{{
		host.MemoryReservation, r.MemoryReservation > 0,
		"Your kernel does not support memory soft limit capabilities or the cgroup is not mounted. Limitation discarded.",
		func() { r.MemoryReservation = 0 },
	}}, f)...)
	if r.MemoryReservation > 0 && r.MemoryReservation < leastMemory {
		return warnings, invalid("Minimum memory reservation allowed is 6MB")
	}
	if r.Memory > 0 && r.MemoryReservation > 0 && r.Memory < r.MemoryReservation {
		return warnings, invalid("Minimum memory limit can not be less than memory reservation limit, see usage")
	}
	return append(warnings, checkKill(r, f)...), nil
}

// checkKill looks at what happens when memory or processes run out.
func checkKill(r *api.Resources, f host.Facts) (warnings []string) {
	oom, pids := "", ""
	if r.OomKillDisable != nil && *r.OomKillDisable {
		oom = "Your kernel does not support OomKillDisable. OomKillDisable discarded."
	}
	if r.PidsLimit != nil && *r.PidsLimit > 0 {
		pids = "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded."
	}
	warnings = discardMissing([]limit{{host.OOMKillDisable, r.OomKillDisable != nil, oom, func() { r.OomKillDisable = nil }}}, f)
	if r.OomKillDisable != nil && *r.OomKillDisable && r.Memory == 0 {
		warnings = append(warnings, "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.")
	}
	return append(warnings, discardMissing([]limit{{host.Pids, r.PidsLimit != nil, pids, func() { r.PidsLimit = nil }}}, f)...)
}

func checkCPU(r *api.Resources, f host.Facts, _ bool) (warnings []string, err error) {
	switch {
	case r.NanoCPUs > 0 && r.CPUPeriod > 0:
		return nil, invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set")
	case r.NanoCPUs > 0 && r.CPUQuota > 0:
		return nil, invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
	case r.NanoCPUs > 0 && !f.Controllers[host.CPUQuota]:
		return nil, invalid("NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted")
	case r.NanoCPUs < 0 || r.NanoCPUs > int64(f.CPUs)*1e9:
		return nil, invalid("range of CPUs is from 0.01 to %[1]d.00, as there are only %[1]d CPUs available", f.CPUs)
	}
	warnings = discardMissing([]limit{
		{
			host.CPUShares, r.CPUShares > 0, "Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.",
			func() { r.CPUShares = 0 },
		},
		{
			host.CPUQuota, r.CPUPeriod != 0 || r.CPUQuota != 0,
			"Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.",
			func() { r.CPUPeriod, r.CPUQuota = 0, 0 },
		},
	}, f)
	if r.CPUPeriod != 0 && (r.CPUPeriod < 1000 || r.CPUPeriod > 1000000) {
		return warnings, invalid("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
	}
	if r.CPUQuota > 0 && r.CPUQuota < 1000 {
		return warnings, invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)")
	}
	if r.CPUPercent > 0 {
		warnings = append(warnings, "linux does not support CPU percent. Percent discarded.")
		r.CPUPercent = 0
	}
	return warnings, nil
}

func checkCpuset(r *api.Resources, f host.Facts, _ bool) (warnings []string, err error) {
	warnings = discardMissing([]limit{{
		host.Cpuset, r.CpusetCpus != "" || r.CpusetMems != "",
		"Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.",
		func() { r.CpusetCpus, r.CpusetMems = "", "" },
	}}, f)
	there, err := subset(r.CpusetCpus, f.CPUSet)
	switch {
	case err != nil:
		return warnings, invalid("Invalid value %s for cpuset cpus: %w", r.CpusetCpus, err)
	case !there:
		return warnings, invalid("Requested CPUs are not available - requested %s, available: %s", r.CpusetCpus, f.CPUSet)
	}
	there, err = subset(r.CpusetMems, f.MemSet)
	switch {
	case err != nil:
		return warnings, invalid("Invalid value %s for cpuset mems: %w", r.CpusetMems, err)
	case !there:
		return warnings, invalid("Requested memory nodes are not available - requested %s, available: %s", r.CpusetMems, f.MemSet)
	}
	return warnings, nil
}

// highestCPU bounds the numbers in a request: a range of all numbers would eat our memory (CVE-2018-20699).
const highestCPU = 8192

// subset says whether a request's list ("0-2,7") holds only numbers of the machine's.
func subset(requested, available string) (bool, error) {
	if requested == "" {
		return true, nil
	}
	have := host.Numbers(available)
	highest := highestCPU
	if len(have) > 0 {
		highest = max(highest, slices.Max(have))
	}
	all := true
	for part := range strings.SplitSeq(requested, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err := strconv.Atoi(first)
		to, err2 := strconv.Atoi(last)
		if err != nil || err2 != nil || to < from {
			return false, invalid("invalid format: %s", requested)
		}
		if to > highest {
			return false, invalid("value of out range, maximum is %d", highest)
		}
		for n := from; n <= to && all; n++ {
			all = slices.Contains(have, n)
		}
	}
	return all, nil
}

func checkBlkio(r *api.Resources, f host.Facts, _ bool) (warnings []string, err error) {
	warnings = discardMissing([]limit{{
		host.BlkioWeight, r.BlkioWeight > 0,
		"Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.",
		func() { r.BlkioWeight = 0 },
	}}, f)
	if r.BlkioWeight > 0 && (r.BlkioWeight < 10 || r.BlkioWeight > 1000) {
		return warnings, invalid("Range of blkio weight is from 10 to 1000")
	}
	if r.IOMaximumBandwidth != 0 || r.IOMaximumIOps != 0 {
		return warnings, invalid("Invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps")
	}
	none := []*blkiodev.ThrottleDevice{}
	return append(warnings, discardMissing([]limit{
		{
			host.BlkioWeightDevice, len(r.BlkioWeightDevice) > 0,
			"Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.",
			func() { r.BlkioWeightDevice = []*blkiodev.WeightDevice{} },
		},
		{
			host.BlkioReadBps, len(r.BlkioDeviceReadBps) > 0,
			"Your kernel does not support BPS Block I/O read limit or the cgroup is not mounted. Block I/O BPS read limit discarded.",
			func() { r.BlkioDeviceReadBps = none },
		},
		{
			host.BlkioWriteBps, len(r.BlkioDeviceWriteBps) > 0,
			"Your kernel does not support BPS Block I/O write limit or the cgroup is not mounted. Block I/O BPS write limit discarded.",
			func() { r.BlkioDeviceWriteBps = none },
		},
		{
			host.BlkioReadIOps, len(r.BlkioDeviceReadIOps) > 0,
			"Your kernel does not support IOPS Block read limit or the cgroup is not mounted. Block I/O IOPS read limit discarded.",
			func() { r.BlkioDeviceReadIOps = none },
		},
		{
			host.BlkioWriteIOps, len(r.BlkioDeviceWriteIOps) > 0,
			"Your kernel does not support IOPS Block write limit or the cgroup is not mounted. Block I/O IOPS write limit discarded.",
			func() { r.BlkioDeviceWriteIOps = none },
		},
	}, f)...), nil
}
