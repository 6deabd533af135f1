package validate

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

// resources checks linux.resources in the order of [specs.LinuxResources]. What depends
// on the controllers of the machine is for package cgroup to see.
func (c *checker) resources(r *specs.LinuxResources) {
	c.deviceRules(r.Devices)
	if r.Memory != nil {
		c.memory(r.Memory)
	}
	if r.CPU != nil {
		c.cpu(r.CPU)
	}
	if r.Pids != nil && r.Pids.Limit != nil && *r.Pids.Limit < -1 {
		c.add("linux.resources.pids.limit", refPids, intRule(*r.Pids.Limit, "at least 0, or -1 for no limit"))
	}
	if r.BlockIO != nil {
		c.blockIO(r.BlockIO)
	}
	for i, h := range r.HugepageLimits {
		if !pageSize(h.Pagesize) {
			c.addAt("linux.resources.hugepageLimits", i, ".pageSize", refHugePages,
				"is "+quote(h.Pagesize)+", must be like 64KB, 2MB or 1GB")
		}
	}
	if r.Network != nil {
		for i, p := range r.Network.Priorities {
			c.addAt("linux.resources.network.priorities", i, ".name", refNetwork, interfaceRule(p.Name))
		}
	}
	c.rdma(r.Rdma)
	c.unified(r.Unified)
}

// memory checks limits in bytes, where -1 is none. 0 is not set, as in runc.
func (c *checker) memory(m *specs.LinuxMemory) {
	const path = "linux.resources.memory"
	limit := func(field string, n *int64) int64 {
		if n == nil {
			return 0
		}
		if *n < -1 {
			c.add(path+field, refMemory, intRule(*n, "at least 0, or -1 for no limit"))
		}
		return *n
	}
	memory := limit(".limit", m.Limit)
	limit(".reservation", m.Reservation)
	swap := limit(".swap", m.Swap)
	if swap > 0 && memory == 0 {
		c.add(path+".swap", refMemory, "unable to set swap limit without memory limit")
	} else if swap > 0 && memory > 0 && swap < memory {
		c.add(path+".swap", refMemory, "is "+strconv.FormatInt(swap, 10)+
			", memory+swap limit must be at least the memory limit "+strconv.FormatInt(memory, 10))
	}
	limit(".kernel", m.Kernel) //nolint:staticcheck // SA1019: deprecated, but a wrong number is still wrong
	limit(".kernelTCP", m.KernelTCP)
	// -1 cast to unsigned is "none": dockerd sends it.
	if s := m.Swappiness; s != nil && *s > 100 && *s != math.MaxUint64 {
		c.add(path+".swappiness", refMemory, "is "+strconv.FormatUint(*s, 10)+", must be from 0 to 100")
	}
}

// cpu checks times in microseconds by the limits of the kernel's CFS bandwidth control
// (Documentation/scheduler/sched-bwc.rst): 1 ms at least, a period of 1 s at most.
// 0 is not set, and a quota below 0 no limit, as in runc.
func (c *checker) cpu(r *specs.LinuxCPU) {
	const path = "linux.resources.cpu"
	quota := valueOf(r.Quota)
	if quota > 0 && quota < 1000 {
		c.add(path+".quota", refCPU, intRule(quota, "at least 1000 µs"))
	}
	if burst := valueOf(r.Burst); quota > 0 && burst > uint64(quota) {
		c.add(path+".burst", refCPU, "is "+strconv.FormatUint(burst, 10)+
			", must be at most the quota "+strconv.FormatInt(quota, 10))
	}
	if p := valueOf(r.Period); p != 0 && (p < 1000 || p > 1000000) {
		c.add(path+".period", refCPU, "is "+strconv.FormatUint(p, 10)+", must be from 1000 to 1000000 µs")
	}
	runtime, period := valueOf(r.RealtimeRuntime), valueOf(r.RealtimePeriod)
	if runtime < -1 {
		c.add(path+".realtimeRuntime", refCPU, intRule(runtime, "at least 0, or -1 for no limit"))
	}
	if runtime > 0 && period > 0 && uint64(runtime) > period {
		c.add(path+".realtimeRuntime", refCPU, intRule(runtime, "at most the realtimePeriod "+strconv.FormatUint(period, 10)))
	}
	c.add(path+".cpus", refCPU, idListRule(r.Cpus))
	c.add(path+".mems", refCPU, idListRule(r.Mems))
	if idle := valueOf(r.Idle); idle != 0 && idle != 1 {
		c.add(path+".idle", refCPU, intRule(idle, "0 or 1"))
	}
}

func valueOf[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// pageSize reports whether s has the form of the sizes in the names of the hugetlb
// controller's files.
func pageSize(s string) bool {
	n, ok := strings.CutSuffix(s, "B")
	if !ok || len(n) < 2 {
		return false
	}
	size, unit := n[:len(n)-1], n[len(n)-1]
	return number(size) && size != "0" && (unit == 'K' || unit == 'M' || unit == 'G')
}

func (c *checker) rdma(devices map[string]specs.LinuxRdma) {
	for _, name := range slices.Sorted(maps.Keys(devices)) {
		at := member("linux.resources.rdma", name)
		// The kernel reads lines of "name key=value …".
		if name == "" || strings.ContainsAny(name, " \t\n\x00") {
			c.add(at, refRDMA, "the name must be one word")
		}
		if d := devices[name]; d.HcaHandles == nil && d.HcaObjects == nil {
			c.add(at, refRDMA, "must have hcaHandles or hcaObjects")
		}
	}
}

func (c *checker) unified(files map[string]string) {
	const path = "linux.resources.unified"
	if len(files) > 0 && c.facts.Cgroup.Mode == host.CgroupV1 {
		c.add(path, refUnified, "needs cgroup v2, this machine has only cgroup v1")
	}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		at := member(path, file)
		if file == "" || file == "." || file == ".." || strings.ContainsAny(file, "/\x00") {
			c.add(at, refUnified, "the key must be a file name (no slashes)")
		}
		c.add(at, refUnified, nulRule(files[file]))
	}
}
