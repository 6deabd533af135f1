// Package stats reads what the kernel counts about the processes of one container, on
// cgroup v1, hybrid and v2. Its types have the JSON shape that `runc events` has always
// had and that containerd's go-runc decodes, v2's figures included: they are brought to
// the names and sums of v1.
//
// A file that the kernel does not have leaves its figure at zero: kernels, and the
// controllers that a rootless user has, differ.
package stats

import "github.com/gantry-containers/gantry/libcontainer/resctrl"

// Stats are the statistics of a container.
type Stats struct {
	CPU      CPU                `json:"cpu"`
	CPUSet   CPUSet             `json:"cpuset"`
	Memory   Memory             `json:"memory"`
	Pids     Pids               `json:"pids"`
	BlockIO  BlockIO            `json:"blkio"`
	Hugetlb  map[string]Hugetlb `json:"hugetlb"` // by page size, "2MB"
	IntelRdt resctrl.Stats      `json:"intel_rdt"`
	// Interfaces stays null, as with runc: those of a container are its engine's.
	Interfaces []Interface `json:"network_interfaces"`
}

// CPU is time on processors.
type CPU struct {
	Usage      CPUUsage   `json:"usage"`
	Throttling Throttling `json:"throttling"`
	PSI        *PSI       `json:"psi,omitempty"`
}

// CPUUsage is time in nanoseconds; per processor on v1 alone.
type CPUUsage struct {
	Total        uint64   `json:"total,omitempty"`
	PerCPU       []uint64 `json:"percpu,omitempty"`
	PerCPUKernel []uint64 `json:"percpu_kernel,omitempty"`
	PerCPUUser   []uint64 `json:"percpu_user,omitempty"`
	Kernel       uint64   `json:"kernel"`
	User         uint64   `json:"user"`
}

// Throttling says how often the CPU quota was used up.
type Throttling struct {
	Periods          uint64 `json:"periods,omitempty"`
	ThrottledPeriods uint64 `json:"throttledPeriods,omitempty"`
	ThrottledTime    uint64 `json:"throttledTime,omitempty"` // nanoseconds
}

// CPUSet is what the cpuset controller of v1 is set to.
type CPUSet struct {
	CPUs                  []uint16 `json:"cpus,omitempty"`
	CPUExclusive          uint64   `json:"cpu_exclusive"`
	Mems                  []uint16 `json:"mems,omitempty"`
	MemHardwall           uint64   `json:"mem_hardwall"`
	MemExclusive          uint64   `json:"mem_exclusive"`
	MemoryMigrate         uint64   `json:"memory_migrate"`
	MemorySpreadPage      uint64   `json:"memory_spread_page"`
	MemorySpreadSlab      uint64   `json:"memory_spread_slab"`
	MemoryPressure        uint64   `json:"memory_pressure"`
	SchedLoadBalance      uint64   `json:"sched_load_balance"`
	SchedRelaxDomainLevel int64    `json:"sched_relax_domain_level"`
}

// Memory is use of memory in bytes.
type Memory struct {
	Cache     uint64            `json:"cache,omitempty"`
	Usage     MemoryEntry       `json:"usage"`
	Swap      MemoryEntry       `json:"swap"` // memory and swap together
	Kernel    MemoryEntry       `json:"kernel"`
	KernelTCP MemoryEntry       `json:"kernelTCP"`
	Raw       map[string]uint64 `json:"raw,omitempty"` // memory.stat
	PSI       *PSI              `json:"psi,omitempty"`
}

// MemoryEntry is one kind of memory.
type MemoryEntry struct {
	Limit   uint64 `json:"limit"`
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

// Pids is the number of tasks; a limit of 0 is none.
type Pids struct {
	Current uint64 `json:"current,omitempty"`
	Limit   uint64 `json:"limit,omitempty"`
}

// BlockIO is what was read and written, by device.
type BlockIO struct {
	ServiceBytes []BlockIOEntry `json:"ioServiceBytesRecursive,omitempty"`
	Serviced     []BlockIOEntry `json:"ioServicedRecursive,omitempty"`
	Queued       []BlockIOEntry `json:"ioQueueRecursive,omitempty"`
	ServiceTime  []BlockIOEntry `json:"ioServiceTimeRecursive,omitempty"`
	WaitTime     []BlockIOEntry `json:"ioWaitTimeRecursive,omitempty"`
	Merged       []BlockIOEntry `json:"ioMergedRecursive,omitempty"`
	Time         []BlockIOEntry `json:"ioTimeRecursive,omitempty"`
	Sectors      []BlockIOEntry `json:"sectorsRecursive,omitempty"`
	PSI          *PSI           `json:"psi,omitempty"`
}

// BlockIOEntry is one figure of one device.
type BlockIOEntry struct {
	Major uint64 `json:"major,omitempty"`
	Minor uint64 `json:"minor,omitempty"`
	Op    string `json:"op,omitempty"` // Read, Write, Sync, Async, Discard, Total
	Value uint64 `json:"value,omitempty"`
}

// Hugetlb is use of huge pages of one size in bytes.
type Hugetlb struct {
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

// PSI is pressure stall information, Documentation/accounting/psi.rst.
type PSI struct {
	Some PSIShare `json:"some"`
	Full PSIShare `json:"full"`
}

// PSIShare is the share of time, in percent, in which some or all tasks waited. The
// averages are decimal numbers as the kernel writes them.
type PSIShare struct {
	Avg10  []byte `json:"avg10" jsongen:"raw"`
	Avg60  []byte `json:"avg60" jsongen:"raw"`
	Avg300 []byte `json:"avg300" jsongen:"raw"`
	Total  uint64 `json:"total"` // microseconds
}

// Interface is traffic on a network interface.
type Interface struct {
	Name      string
	RxBytes   uint64
	RxPackets uint64
	RxErrors  uint64
	RxDropped uint64
	TxBytes   uint64
	TxPackets uint64
	TxErrors  uint64
	TxDropped uint64
}
