package cgroup

import (
	"bytes"
	"math"
	"os"

	"github.com/gantry-containers/gantry/shim/api/cgroup1"
)

// metricsV1 reads each controller's files, Documentation/admin-guide/cgroup-v1.
func (c *Cgroup) metricsV1() (*cgroup1.Metrics, error) {
	// Clients look into these without asking whether they are there.
	m := &cgroup1.Metrics{Cpu: &cgroup1.CPUStat{Usage: &cgroup1.CPUUsage{}, Throttling: &cgroup1.Throttle{}}}
	readers := map[string]func(*folder, *cgroup1.Metrics){
		"cpu": cpuV1, "cpuacct": cpuacct, "memory": memoryV1, "pids": pidsV1, "blkio": blkio, "hugetlb": hugetlbV1, "rdma": rdmaV1,
	}
	found := false
	for _, v := range c.controllers {
		f, err := openFolder(v.dir)
		if err != nil {
			continue
		}
		found = true
		readers[v.controller](f, m)
		f.close()
	}
	if !found {
		return nil, gone(c.controllers[0].dir)
	}
	return m, nil
}

func cpuV1(f *folder, m *cgroup1.Metrics) {
	t := m.Cpu.Throttling
	f.fields("cpu.stat", []field{{"nr_periods", &t.Periods}, {"nr_throttled", &t.ThrottledPeriods}, {"throttled_time", &t.ThrottledTime}})
}

// tick is the unit of cpuacct.stat in nanoseconds: the kernel's USER_HZ is 100 everywhere.
const tick = 10_000_000

func cpuacct(f *folder, m *cgroup1.Metrics) {
	u := m.Cpu.Usage
	f.fields("cpuacct.stat", []field{{"user", &u.User}, {"system", &u.Kernel}})
	u.User, u.Kernel = u.User*tick, u.Kernel*tick
	u.Total, _ = f.number("cpuacct.usage", 0)
	for word := range bytes.FieldsSeq(f.read("cpuacct.usage_percpu")) {
		if v, ok := parseNumber(word, 0); ok {
			u.PerCpu = append(u.PerCpu, v)
		}
	}
}

func pidsV1(f *folder, m *cgroup1.Metrics) {
	current, ok := f.number("pids.current", 0)
	if !ok {
		return
	}
	limit, _ := f.number("pids.max", 0) // no limit is 0 here
	m.Pids = &cgroup1.PidsStat{Current: current, Limit: limit}
}

func memoryV1(f *folder, m *cgroup1.Metrics) {
	s := &cgroup1.MemoryStat{}
	if !f.fields("memory.stat", memoryFieldsV1(s)) {
		return
	}
	m.Memory = s
	s.Usage, s.Swap = memoryEntry(f, "memory."), memoryEntry(f, "memory.memsw.")
	s.Kernel, s.KernelTcp = memoryEntry(f, "memory.kmem."), memoryEntry(f, "memory.kmem.tcp.")
	oom := &cgroup1.MemoryOomControl{}
	if f.fields("memory.oom_control", []field{
		{"oom_kill_disable", &oom.OomKillDisable}, {"under_oom", &oom.UnderOom}, {"oom_kill", &oom.OomKill},
	}) {
		m.MemoryOomControl = oom
	}
}

// memoryEntry is one of the four that are counted alike. It is there, if empty, without its files: clients rely on it.
func memoryEntry(f *folder, prefix string) *cgroup1.MemoryEntry {
	e := &cgroup1.MemoryEntry{}
	e.Usage, _ = f.number(prefix+"usage_in_bytes", 0)
	e.Max, _ = f.number(prefix+"max_usage_in_bytes", 0)
	e.Failcnt, _ = f.number(prefix+"failcnt", 0)
	e.Limit, _ = f.number(prefix+"limit_in_bytes", 0)
	return e
}

func memoryFieldsV1(s *cgroup1.MemoryStat) []field {
	return []field{
		{"cache", &s.Cache},
		{"rss", &s.Rss},
		{"rss_huge", &s.RssHuge},
		{"mapped_file", &s.MappedFile},
		{"dirty", &s.Dirty},
		{"writeback", &s.Writeback},
		{"pgpgin", &s.PgPgIn},
		{"pgpgout", &s.PgPgOut},
		{"pgfault", &s.PgFault},
		{"pgmajfault", &s.PgMajFault},
		{"inactive_anon", &s.InactiveAnon},
		{"active_anon", &s.ActiveAnon},
		{"inactive_file", &s.InactiveFile},
		{"active_file", &s.ActiveFile},
		{"unevictable", &s.Unevictable},
		{"hierarchical_memory_limit", &s.HierarchicalMemoryLimit},
		{"hierarchical_memsw_limit", &s.HierarchicalSwapLimit},
		{"total_cache", &s.TotalCache},
		{"total_rss", &s.TotalRss},
		{"total_rss_huge", &s.TotalRssHuge},
		{"total_mapped_file", &s.TotalMappedFile},
		{"total_dirty", &s.TotalDirty},
		{"total_writeback", &s.TotalWriteback},
		{"total_pgpgin", &s.TotalPgPgIn},
		{"total_pgpgout", &s.TotalPgPgOut},
		{"total_pgfault", &s.TotalPgFault},
		{"total_pgmajfault", &s.TotalPgMajFault},
		{"total_inactive_anon", &s.TotalInactiveAnon},
		{"total_active_anon", &s.TotalActiveAnon},
		{"total_inactive_file", &s.TotalInactiveFile},
		{"total_active_file", &s.TotalActiveFile},
		{"total_unevictable", &s.TotalUnevictable},
	}
}

func hugetlbV1(f *folder, m *cgroup1.Metrics) {
	for _, size := range pageSizes() {
		usage, ok := f.number("hugetlb."+size+".usage_in_bytes", 0)
		if !ok {
			continue
		}
		s := &cgroup1.HugetlbStat{Pagesize: size, Usage: usage}
		s.Max, _ = f.number("hugetlb."+size+".max_usage_in_bytes", 0)
		s.Failcnt, _ = f.number("hugetlb."+size+".failcnt", 0)
		m.Hugetlb = append(m.Hugetlb, s)
	}
}

// blkio reads what is counted whatever the scheduler is; that of CFQ went with Linux 5.0.
func blkio(f *folder, m *cgroup1.Metrics) {
	m.Blkio = &cgroup1.BlkIOStat{}
	served := f.read("blkio.throttle.io_serviced")
	m.Blkio.IoServicedRecursive = blkioEntries(served)
	m.Blkio.IoServiceBytesRecursive = blkioEntries(f.read("blkio.throttle.io_service_bytes"))
	if len(m.Blkio.IoServicedRecursive)+len(m.Blkio.IoServiceBytesRecursive) == 0 {
		return
	}
	names := deviceNames()
	for _, list := range [][]*cgroup1.BlkIOEntry{m.Blkio.IoServicedRecursive, m.Blkio.IoServiceBytesRecursive} {
		for _, e := range list {
			e.Device = names[[2]uint64{e.Major, e.Minor}]
		}
	}
}

// blkioEntries reads lines of major:minor, kind and number. The last line is a total of all devices.
func blkioEntries(text []byte) (list []*cgroup1.BlkIOEntry) {
	for line := range bytes.Lines(text) {
		words := bytes.Fields(line)
		if len(words) != 3 && len(words) != 2 {
			continue
		}
		major, minor, ok := device(words[0])
		value, okValue := parseNumber(words[len(words)-1], 0)
		if !ok || !okValue {
			continue
		}
		e := &cgroup1.BlkIOEntry{Major: major, Minor: minor, Value: value}
		if len(words) == 3 {
			e.Op = string(words[1])
		}
		list = append(list, e)
	}
	return list
}

// deviceNames are the block devices' files by their numbers: /proc/partitions has major, minor, blocks, name.
func deviceNames() map[[2]uint64]string {
	text, err := os.ReadFile("/proc/partitions")
	if err != nil {
		return nil
	}
	names := map[[2]uint64]string{}
	for line := range bytes.Lines(text) {
		words := bytes.Fields(line)
		if len(words) != 4 {
			continue
		}
		major, ok := parseNumber(words[0], 0)
		minor, okMinor := parseNumber(words[1], 0)
		if ok && okMinor {
			names[[2]uint64{major, minor}] = "/dev/" + string(words[3])
		}
	}
	return names
}

func rdmaV1(f *folder, m *cgroup1.Metrics) {
	current := rdmaEntries(f.read("rdma.current"), func(device string, handles, objects uint32) *cgroup1.RdmaEntry {
		return &cgroup1.RdmaEntry{Device: device, HcaHandles: handles, HcaObjects: objects}
	})
	limit := rdmaEntries(f.read("rdma.max"), func(device string, handles, objects uint32) *cgroup1.RdmaEntry {
		return &cgroup1.RdmaEntry{Device: device, HcaHandles: handles, HcaObjects: objects}
	})
	m.Rdma = &cgroup1.RdmaStat{Current: current, Limit: limit}
}

// rdmaEntries reads lines of device hca_handle=N hca_object=N.
func rdmaEntries[E any](text []byte, entry func(device string, handles, objects uint32) E) (list []E) {
	nested(text, func(name []byte, pairs [][]byte) {
		var handles, objects uint32
		for _, p := range pairs {
			key, value, _ := bytes.Cut(p, []byte("="))
			n, ok := parseNumber(value, math.MaxUint32)
			if !ok || n > math.MaxUint32 {
				continue
			}
			switch string(key) {
			case "hca_handle":
				handles = uint32(n)
			case "hca_object":
				objects = uint32(n)
			}
		}
		if len(pairs) > 0 {
			list = append(list, entry(string(name), handles, objects))
		}
	})
	return list
}
