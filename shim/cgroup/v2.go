package cgroup

import (
	"bytes"
	"math"
	"strconv"

	"github.com/gantry-containers/gantry/shim/api/cgroup2"
)

// limitless is the number for "max" in v2's limits.
const limitless = math.MaxUint64

// metricsV2 reads a cgroup's files, Documentation/admin-guide/cgroup-v2.rst.
func metricsV2(dir string) (*cgroup2.Metrics, error) {
	f, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	defer f.close()
	m := &cgroup2.Metrics{Cpu: cpuV2(f), Memory: memoryV2(f), MemoryEvents: memoryEvents(f), Io: ioV2(f), Rdma: rdmaV2(f), Hugetlb: hugetlbV2(f)}
	if m.Cpu == nil { // every cgroup has cpu.stat as long as it is there
		return nil, gone(dir)
	}
	if current, ok := f.number("pids.current", 0); ok {
		m.Pids = &cgroup2.PidsStat{Current: current}
		m.Pids.Limit, _ = f.number("pids.max", limitless)
	}
	return m, nil
}

func cpuV2(f *folder) *cgroup2.CPUStat {
	s := &cgroup2.CPUStat{}
	if !f.fields("cpu.stat", []field{
		{"usage_usec", &s.UsageUsec},
		{"user_usec", &s.UserUsec},
		{"system_usec", &s.SystemUsec},
		{"nr_periods", &s.NrPeriods},
		{"nr_throttled", &s.NrThrottled},
		{"throttled_usec", &s.ThrottledUsec},
		{"nr_bursts", &s.NrBursts},
		{"burst_usec", &s.BurstUsec},
	}) {
		return nil
	}
	s.Psi = pressure(f, "cpu.pressure")
	return s
}

func memoryV2(f *folder) *cgroup2.MemoryStat {
	s := &cgroup2.MemoryStat{}
	if !f.fields("memory.stat", memoryFieldsV2(s)) {
		return nil
	}
	s.Usage, _ = f.number("memory.current", limitless)
	s.UsageLimit, _ = f.number("memory.max", limitless)
	s.MaxUsage, _ = f.number("memory.peak", limitless)
	s.SwapUsage, _ = f.number("memory.swap.current", limitless)
	s.SwapLimit, _ = f.number("memory.swap.max", limitless)
	s.SwapMaxUsage, _ = f.number("memory.swap.peak", limitless)
	s.Psi = pressure(f, "memory.pressure")
	return s
}

func memoryFieldsV2(s *cgroup2.MemoryStat) []field {
	return []field{
		{"anon", &s.Anon},
		{"file", &s.File},
		{"kernel_stack", &s.KernelStack},
		{"slab", &s.Slab},
		{"sock", &s.Sock},
		{"shmem", &s.Shmem},
		{"file_mapped", &s.FileMapped},
		{"file_dirty", &s.FileDirty},
		{"file_writeback", &s.FileWriteback},
		{"anon_thp", &s.AnonThp},
		{"inactive_anon", &s.InactiveAnon},
		{"active_anon", &s.ActiveAnon},
		{"inactive_file", &s.InactiveFile},
		{"active_file", &s.ActiveFile},
		{"unevictable", &s.Unevictable},
		{"slab_reclaimable", &s.SlabReclaimable},
		{"slab_unreclaimable", &s.SlabUnreclaimable},
		{"pgfault", &s.Pgfault},
		{"pgmajfault", &s.Pgmajfault},
		{"workingset_refault", &s.WorkingsetRefault},
		{"workingset_activate", &s.WorkingsetActivate},
		{"workingset_nodereclaim", &s.WorkingsetNodereclaim},
		{"pgrefill", &s.Pgrefill},
		{"pgscan", &s.Pgscan},
		{"pgsteal", &s.Pgsteal},
		{"pgactivate", &s.Pgactivate},
		{"pgdeactivate", &s.Pgdeactivate},
		{"pglazyfree", &s.Pglazyfree},
		{"pglazyfreed", &s.Pglazyfreed},
		{"thp_fault_alloc", &s.ThpFaultAlloc},
		{"thp_collapse_alloc", &s.ThpCollapseAlloc},
	}
}

func memoryEvents(f *folder) *cgroup2.MemoryEvents {
	e := &cgroup2.MemoryEvents{}
	if !f.fields("memory.events", []field{
		{"low", &e.Low},
		{"high", &e.High},
		{"max", &e.Max},
		{"oom", &e.Oom},
		{"oom_kill", &e.OomKill},
		{"oom_group_kill", &e.OomGroupKill},
	}) {
		return nil
	}
	return e
}

// ioV2 reads lines of major:minor and key=value pairs.
func ioV2(f *folder) *cgroup2.IOStat {
	text := f.read("io.stat")
	there := text != nil
	s := &cgroup2.IOStat{}
	nested(text, func(name []byte, pairs [][]byte) {
		major, minor, ok := device(name)
		if !ok || len(pairs) == 0 {
			return
		}
		e := &cgroup2.IOEntry{Major: major, Minor: minor}
		for _, p := range pairs {
			key, value, _ := bytes.Cut(p, []byte("="))
			n, ok := parseNumber(value, 0)
			if !ok {
				continue
			}
			switch string(key) {
			case "rbytes":
				e.Rbytes = n
			case "wbytes":
				e.Wbytes = n
			case "rios":
				e.Rios = n
			case "wios":
				e.Wios = n
			}
		}
		s.Usage = append(s.Usage, e)
	})
	if s.Psi = pressure(f, "io.pressure"); s.Psi == nil && !there {
		return nil
	}
	return s
}

// pressure reads lines of some or full and key=value pairs, Documentation/accounting/psi.rst; nil where it is not counted.
func pressure(f *folder, name string) *cgroup2.PSIStats {
	text := f.read(name)
	if text == nil {
		return nil
	}
	s := &cgroup2.PSIStats{}
	nested(text, func(name []byte, pairs [][]byte) {
		switch string(name) {
		case "some":
			s.Some = pressureData(pairs)
		case "full":
			s.Full = pressureData(pairs)
		}
	})
	return s
}

func pressureData(pairs [][]byte) *cgroup2.PSIData {
	d := &cgroup2.PSIData{}
	averages := map[string]*float64{"avg10": &d.Avg10, "avg60": &d.Avg60, "avg300": &d.Avg300}
	for _, p := range pairs {
		key, value, _ := bytes.Cut(p, []byte("="))
		if string(key) == "total" {
			d.Total, _ = parseNumber(value, 0)
		} else if to := averages[string(key)]; to != nil {
			*to, _ = strconv.ParseFloat(string(value), 64)
		}
	}
	return d
}

func hugetlbV2(f *folder) (list []*cgroup2.HugeTlbStat) {
	for _, size := range pageSizes() {
		current, ok := f.number("hugetlb."+size+".current", limitless)
		if !ok {
			continue
		}
		s := &cgroup2.HugeTlbStat{Pagesize: size, Current: current}
		s.Max, _ = f.number("hugetlb."+size+".max", limitless)
		f.fields("hugetlb."+size+".events", []field{{"max", &s.Failcnt}})
		list = append(list, s)
	}
	return list
}

func rdmaV2(f *folder) *cgroup2.RdmaStat {
	entry := func(device string, handles, objects uint32) *cgroup2.RdmaEntry {
		return &cgroup2.RdmaEntry{Device: device, HcaHandles: handles, HcaObjects: objects}
	}
	current := f.read("rdma.current")
	if current == nil {
		return nil
	}
	s := &cgroup2.RdmaStat{Current: rdmaEntries(current, entry)}
	s.Limit = rdmaEntries(f.read("rdma.max"), entry)
	return s
}
