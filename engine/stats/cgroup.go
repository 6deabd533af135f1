package stats

import (
	"fmt"

	v1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	v2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	api "github.com/moby/moby/api/types/container"
)

// fill puts the manager's numbers where Docker tells them.
func fill(out *api.StatsResponse, metrics any) error {
	switch m := metrics.(type) {
	case *v1.Metrics:
		out.CPUStats, out.MemoryStats, out.BlkioStats = cpu1(m.CPU), memory1(m.Memory), blkio1(m.Blkio)
		out.PidsStats = api.PidsStats{Current: m.Pids.GetCurrent(), Limit: m.Pids.GetLimit()}
	case *v2.Metrics:
		out.CPUStats, out.MemoryStats, out.BlkioStats = cpu2(m.CPU), memory2(m.Memory, m.MemoryEvents), blkio2(m.Io)
		out.PidsStats = api.PidsStats{Current: m.Pids.GetCurrent(), Limit: m.Pids.GetLimit()}
	default:
		return fmt.Errorf("metrics of an unknown type %T", metrics)
	}
	return nil
}

func cpu1(c *v1.CPUStat) api.CPUStats {
	u, t := c.GetUsage(), c.GetThrottling()
	return api.CPUStats{
		CPUUsage: api.CPUUsage{
			TotalUsage: u.GetTotal(), PercpuUsage: u.GetPerCPU(), UsageInKernelmode: u.GetKernel(), UsageInUsermode: u.GetUser(),
		},
		ThrottlingData: api.ThrottlingData{
			Periods: t.GetPeriods(), ThrottledPeriods: t.GetThrottledPeriods(), ThrottledTime: t.GetThrottledTime(),
		},
	}
}

func memory1(m *v1.MemoryStat) api.MemoryStats {
	if m == nil {
		return api.MemoryStats{}
	}
	u := m.GetUsage()
	return api.MemoryStats{
		Usage: u.GetUsage(), MaxUsage: u.GetMax(), Limit: u.GetLimit(), Failcnt: u.GetFailcnt(),
		Stats: map[string]uint64{
			"active_anon": m.ActiveAnon, "total_active_anon": m.TotalActiveAnon,
			"active_file": m.ActiveFile, "total_active_file": m.TotalActiveFile,
			"cache": m.Cache, "total_cache": m.TotalCache,
			"dirty": m.Dirty, "total_dirty": m.TotalDirty,
			"inactive_anon": m.InactiveAnon, "total_inactive_anon": m.TotalInactiveAnon,
			"inactive_file": m.InactiveFile, "total_inactive_file": m.TotalInactiveFile,
			"mapped_file": m.MappedFile, "total_mapped_file": m.TotalMappedFile,
			"pgfault": m.PgFault, "total_pgfault": m.TotalPgFault,
			"pgmajfault": m.PgMajFault, "total_pgmajfault": m.TotalPgMajFault,
			"pgpgin": m.PgPgIn, "total_pgpgin": m.TotalPgPgIn,
			"pgpgout": m.PgPgOut, "total_pgpgout": m.TotalPgPgOut,
			"rss": m.RSS, "total_rss": m.TotalRSS,
			"rss_huge": m.RSSHuge, "total_rss_huge": m.TotalRSSHuge,
			"unevictable": m.Unevictable, "total_unevictable": m.TotalUnevictable,
			"writeback": m.Writeback, "total_writeback": m.TotalWriteback,
			"hierarchical_memory_limit": m.HierarchicalMemoryLimit, "hierarchical_memsw_limit": m.HierarchicalSwapLimit,
		},
	}
}

func blkio1(b *v1.BlkIOStat) api.BlkioStats {
	if b == nil {
		return api.BlkioStats{}
	}
	return api.BlkioStats{
		IoServiceBytesRecursive: entries(b.IoServiceBytesRecursive), IoServicedRecursive: entries(b.IoServicedRecursive),
		IoQueuedRecursive: entries(b.IoQueuedRecursive), IoServiceTimeRecursive: entries(b.IoServiceTimeRecursive),
		IoWaitTimeRecursive: entries(b.IoWaitTimeRecursive), IoMergedRecursive: entries(b.IoMergedRecursive),
		IoTimeRecursive: entries(b.IoTimeRecursive), SectorsRecursive: entries(b.SectorsRecursive),
	}
}

// entries are [] and not null when there are none: clients of cgroup v1 machines know it so.
func entries(list []*v1.BlkIOEntry) []api.BlkioStatEntry {
	out := make([]api.BlkioStatEntry, 0, len(list))
	for _, e := range list {
		out = append(out, api.BlkioStatEntry{Major: e.Major, Minor: e.Minor, Op: e.Op, Value: e.Value})
	}
	return out
}

// usec are microseconds in nanoseconds.
const usec = 1000

func cpu2(c *v2.CPUStat) api.CPUStats {
	return api.CPUStats{
		CPUUsage: api.CPUUsage{
			TotalUsage: c.GetUsageUsec() * usec, UsageInKernelmode: c.GetSystemUsec() * usec, UsageInUsermode: c.GetUserUsec() * usec,
		},
		ThrottlingData: api.ThrottlingData{
			Periods: c.GetNrPeriods(), ThrottledPeriods: c.GetNrThrottled(), ThrottledTime: c.GetThrottledUsec() * usec,
		},
	}
}

func memory2(m *v2.MemoryStat, e *v2.MemoryEvents) api.MemoryStats {
	if m == nil {
		return api.MemoryStats{}
	}
	return api.MemoryStats{
		Usage: m.Usage, Limit: m.UsageLimit,
		Failcnt: e.GetOom(),
		Stats: map[string]uint64{
			"active_anon": m.ActiveAnon, "active_file": m.ActiveFile, "anon": m.Anon, "anon_thp": m.AnonThp, "file": m.File,
			"file_dirty": m.FileDirty, "file_mapped": m.FileMapped, "file_writeback": m.FileWriteback,
			"inactive_anon": m.InactiveAnon, "inactive_file": m.InactiveFile, "kernel_stack": m.KernelStack,
			"pgactivate": m.Pgactivate, "pgdeactivate": m.Pgdeactivate, "pgfault": m.Pgfault, "pglazyfree": m.Pglazyfree,
			"pglazyfreed": m.Pglazyfreed, "pgmajfault": m.Pgmajfault, "pgrefill": m.Pgrefill, "pgscan": m.Pgscan,
			"pgsteal": m.Pgsteal, "shmem": m.Shmem, "slab": m.Slab, "slab_reclaimable": m.SlabReclaimable,
			"slab_unreclaimable": m.SlabUnreclaimable, "sock": m.Sock, "thp_collapse_alloc": m.ThpCollapseAlloc,
			"thp_fault_alloc": m.ThpFaultAlloc, "unevictable": m.Unevictable, "workingset_activate": m.WorkingsetActivate,
			"workingset_nodereclaim": m.WorkingsetNodereclaim, "workingset_refault": m.WorkingsetRefault,
		},
	}
}

// blkio2 tells what the second version has: bytes alone.
func blkio2(io *v2.IOStat) api.BlkioStats {
	var list []api.BlkioStatEntry
	for _, e := range io.GetUsage() {
		list = append(list,
			api.BlkioStatEntry{Major: e.Major, Minor: e.Minor, Op: "read", Value: e.Rbytes},
			api.BlkioStatEntry{Major: e.Major, Minor: e.Minor, Op: "write", Value: e.Wbytes})
	}
	return api.BlkioStats{IoServiceBytesRecursive: list}
}
