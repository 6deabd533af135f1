package host

// Facts is what package spec must know about this machine. A test writes one by hand.
type Facts struct {
	// Capabilities that can be granted: this process's bounding set, as CAP_ names.
	Capabilities []string
	// CgroupV2 says that the unified hierarchy has the controllers; SystemdCgroup that containers get scopes.
	CgroupV2, SystemdCgroup bool
	// Controllers that work here, by the names below.
	Controllers map[string]bool
	// CPUSet and MemSet are the CPUs and memory nodes of this machine, as the kernel lists them ("0-3,7").
	CPUSet, MemSet string
	// Warnings are Docker's words about what the cgroups of this machine lack, for info.
	Warnings []string
	// Seccomp, AppArmor and SELinux say that the kernel has them and they are on.
	Seccomp, AppArmor, SELinux bool
	// CgroupNamespace and TimeNamespace say that the kernel has them; UserNamespace that this process is in one that is
	// not the first.
	CgroupNamespace, TimeNamespace, UserNamespace bool
	// RecursiveReadOnly says that the kernel can make a mount and all below it read-only (Linux 5.12).
	RecursiveReadOnly bool
	// PingGroupRange and UnprivilegedPorts say that the kernel has the sysctls net.ipv4.ping_group_range and
	// net.ipv4.ip_unprivileged_port_start.
	PingGroupRange, UnprivilegedPorts bool
	// IPForward says that the machine forwards IPv4.
	IPForward bool
	// ThermalThrottle are the folders in /sys that tell the heat of CPUs; containers must not see them.
	ThermalThrottle []string
	// MaxNoFile is the hard limit of open files that this process can give; 0 for any.
	MaxNoFile uint64
	// CPUs is their number; Memory the machine's, in bytes; KernelVersion as uname says.
	CPUs          int
	Memory        int64
	KernelVersion string
	// InitPath is the program that is a container's first process with --init; empty when the machine has none.
	InitPath string
}

// Names of Controllers. Each is one thing that can be limited, not a cgroup controller of the kernel.
const (
	Memory             = "memory"
	Swap               = "swap"
	MemoryReservation  = "memory-reservation"
	MemorySwappiness   = "memory-swappiness"
	OOMKillDisable     = "oom-kill-disable"
	CPUShares          = "cpu"
	CPUQuota           = "cpu-cfs"
	CPURealtime        = "cpu-realtime"
	Cpuset             = "cpuset"
	Pids               = "pids"
	BlkioWeight        = "blkio"
	BlkioWeightDevice  = "blkio-weight-device"
	BlkioReadBps       = "blkio-read-bps"
	BlkioWriteBps      = "blkio-write-bps"
	BlkioReadIOps      = "blkio-read-iops"
	BlkioWriteIOps     = "blkio-write-iops"
	DeviceRestrictions = "devices"
)
