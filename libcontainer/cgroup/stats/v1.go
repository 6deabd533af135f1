package stats

import "strings"

// tick is a hundredth of a second in nanoseconds: USER_HZ is 100 on every architecture
// that Go knows.
const tick = 10_000_000

func cpuV1(f *source, s *Stats) {
	stat := f.table("cpu.stat")
	s.CPU.Throttling = Throttling{stat["nr_periods"], stat["nr_throttled"], stat["throttled_time"]}
}

// cpuacctV1 reads Documentation/admin-guide/cgroup-v1/cpuacct.rst.
func cpuacctV1(f *source, s *Stats) {
	stat := f.table("cpuacct.stat")
	u := &s.CPU.Usage
	u.User, u.Kernel = stat["user"]*tick, stat["system"]*tick
	u.Total = f.number("cpuacct.usage")
	u.PerCPU = f.numbers("cpuacct.usage_percpu")
	// Lines "cpu user system" behind a heading.
	_, lines, _ := strings.Cut(f.text("cpuacct.usage_all"), "\n")
	for line := range strings.SplitSeq(lines, "\n") {
		if w := strings.Fields(line); len(w) >= 3 {
			u.PerCPUUser = append(u.PerCPUUser, number(w[1]))
			u.PerCPUKernel = append(u.PerCPUKernel, number(w[2]))
		}
	}
}

func cpusetV1(f *source, s *Stats) {
	c := &s.CPUSet
	c.CPUs, c.Mems = f.ids("cpuset.cpus"), f.ids("cpuset.mems")
	c.CPUExclusive = f.number("cpuset.cpu_exclusive")
	c.MemExclusive = f.number("cpuset.mem_exclusive")
	c.MemHardwall = f.number("cpuset.mem_hardwall")
	c.MemoryMigrate = f.number("cpuset.memory_migrate")
	c.MemorySpreadPage = f.number("cpuset.memory_spread_page")
	c.MemorySpreadSlab = f.number("cpuset.memory_spread_slab")
	c.MemoryPressure = f.number("cpuset.memory_pressure")
	c.SchedLoadBalance = f.number("cpuset.sched_load_balance")
	if level := f.text("cpuset.sched_relax_domain_level"); level == "-1" {
		c.SchedRelaxDomainLevel = -1
	} else {
		c.SchedRelaxDomainLevel = int64(number(level))
	}
}

// memoryV1 reads Documentation/admin-guide/cgroup-v1/memory.rst.
func memoryV1(f *source, s *Stats) {
	m := &s.Memory
	m.Raw = f.table("memory.stat")
	m.Cache = m.Raw["cache"]
	m.Usage = f.memoryEntry("memory")
	m.Swap = f.memoryEntry("memory.memsw")
	m.Kernel = f.memoryEntry("memory.kmem")
	m.KernelTCP = f.memoryEntry("memory.kmem.tcp")
}

func (f *source) memoryEntry(kind string) MemoryEntry {
	return MemoryEntry{
		Limit:   f.number(kind + ".limit_in_bytes"),
		Usage:   f.number(kind + ".usage_in_bytes"),
		Max:     f.number(kind + ".max_usage_in_bytes"),
		Failcnt: f.number(kind + ".failcnt"),
	}
}

// pidsBoth reads files that are the same in both versions. Without the controller, v2 still
// lists the processes.
func pidsBoth(f *source, s *Stats) {
	if !f.has("pids.current") {
		s.Pids.Current = uint64(len(f.numbers("cgroup.procs")))
		return
	}
	s.Pids.Current = f.number("pids.current")
	if limit := f.text("pids.max"); limit != "max" {
		s.Pids.Limit = number(limit)
	}
}

// blkioFiles are the files of one I/O scheduler, each with the figure that it is.
type blkioFiles []struct {
	file string
	to   *[]BlockIOEntry
}

// blkioV1 takes the files of the first scheduler that has counted anything,
// Documentation/admin-guide/cgroup-v1/blkio-controller.rst and block/bfq-iosched.rst. A
// scheduler without statistics of its own leaves those of the throttling policy.
func blkioV1(f *source, s *Stats) {
	b := &s.BlockIO
	scheduler := func(name string) blkioFiles {
		return blkioFiles{
			{name + "sectors_recursive", &b.Sectors},
			{name + "io_service_time_recursive", &b.ServiceTime},
			{name + "io_wait_time_recursive", &b.WaitTime},
			{name + "io_merged_recursive", &b.Merged},
			{name + "io_queued_recursive", &b.Queued},
			{name + "time_recursive", &b.Time},
			{name + "io_serviced_recursive", &b.Serviced},
			{name + "io_service_bytes_recursive", &b.ServiceBytes},
		}
	}
	short := func(name, suffix string) blkioFiles {
		return blkioFiles{{name + "io_serviced" + suffix, &b.Serviced}, {name + "io_service_bytes" + suffix, &b.ServiceBytes}}
	}
	for _, files := range []blkioFiles{
		scheduler("blkio.bfq."), short("blkio.bfq.", "_recursive"), scheduler("blkio."),
		short("blkio.throttle.", "_recursive"), short("blkio.throttle.", ""),
	} {
		if parseBlkio(f.text(files[0].file)) == nil {
			continue
		}
		for _, file := range files {
			*file.to = parseBlkio(f.text(file.file))
		}
		return
	}
}

// parseBlkio reads lines "MAJOR:MINOR [OPERATION] VALUE"; the sum over all devices is left
// out.
func parseBlkio(text string) []BlockIOEntry {
	var list []BlockIOEntry
	for line := range strings.SplitSeq(text, "\n") {
		w := strings.Fields(line)
		if len(w) < 2 {
			continue
		}
		major, minor, ok := strings.Cut(w[0], ":")
		if !ok {
			continue
		}
		e := BlockIOEntry{Major: number(major), Minor: number(minor), Value: number(w[len(w)-1])}
		if len(w) > 2 {
			e.Op = w[1]
		}
		list = append(list, e)
	}
	return list
}
