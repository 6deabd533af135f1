package validate

import (
	"io/fs"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

// onDevice is a bad case with one more device.
func onDevice(d specs.LinuxDevice, want ...string) badCase {
	return onLinux(func(l *specs.Linux) { l.Devices = append(l.Devices, d) }, want...)
}

// onRule is a bad case with a single device rule.
func onRule(d specs.LinuxDeviceCgroup, want ...string) badCase {
	return onLinux(func(l *specs.Linux) { l.Resources.Devices = []specs.LinuxDeviceCgroup{d} }, want...)
}

var deviceCases = map[string]badCase{
	"a device of nothing": onDevice(specs.LinuxDevice{},
		"linux.devices[5].path: must not be empty", `linux.devices[5].type: is "", must be one of c, b, u, p`),
	"a relative device": onDevice(specs.LinuxDevice{Path: "dev/x", Type: "c"},
		`linux.devices[5].path: is "dev/x", must be an absolute path`),
	"a device of an unknown type": onDevice(specs.LinuxDevice{Path: "/x", Type: "a"},
		`linux.devices[5].type: is "a", must be one of c, b, u, p`),
	"a device with a wildcard": onDevice(specs.LinuxDevice{Path: "/x", Type: "b", Major: -1, Minor: -1},
		"linux.devices[5].major: is -1, must be from 0 to 4095", "linux.devices[5].minor: is -1, must be from 0 to 1048575"),
	"a device with high numbers": onDevice(specs.LinuxDevice{Path: "/x", Type: "u", Major: 4096, Minor: 1048576},
		"linux.devices[5].major: is 4096, must be from 0 to 4095", "linux.devices[5].minor: is 1048576, must be from 0 to 1048575"),
	"a device with a mode of Go": onDevice(specs.LinuxDevice{Path: "/x", Type: "c", FileMode: new(fs.ModeSetuid | 0o644)},
		"linux.devices[5].fileMode: is 040000644 in octal, must be at most 07777"),
	"another device at the same path": onDevice(specs.LinuxDevice{Path: "/dev/fuse", Type: "c", Major: 1, Minor: 3},
		`linux.devices[5].path: is "/dev/fuse", which is another device in linux.devices[0]`),
	"a block device at the path of a fifo": onDevice(specs.LinuxDevice{Path: "/run/fifo", Type: "b"},
		`linux.devices[5].path: is "/run/fifo", which is another device in linux.devices[3]`),

	"a device rule of an unknown type": onRule(specs.LinuxDeviceCgroup{Type: "p", Access: "r"},
		`linux.resources.devices[0].type: is "p", must be one of a, b, c`),
	"a device rule without access": onRule(specs.LinuxDeviceCgroup{Allow: true},
		"linux.resources.devices[0].access: must not be empty"),
	"a device rule with unknown access": onRule(specs.LinuxDeviceCgroup{Access: "rwx"},
		`linux.resources.devices[0].access: is "rwx", must be made of r, w and m`),
	"a device rule whose access says nothing": onRule(specs.LinuxDeviceCgroup{Access: "a"},
		`linux.resources.devices[0].access: is "a", must be made of r, w and m`),
	"a device rule with bad numbers": onRule(specs.LinuxDeviceCgroup{Access: "r", Major: new(int64(-2)), Minor: new(int64(1 << 32))},
		"linux.resources.devices[0].major: is -2, must be from 0 to 4294967295, or -1 for all",
		"linux.resources.devices[0].minor: is 4294967296, must be from 0 to 4294967295, or -1 for all"),
}

// onResources is a bad case with other resources.
func onResources(r specs.LinuxResources, want ...string) badCase {
	return onLinux(func(l *specs.Linux) { l.Resources = &r }, want...)
}

// onMemory and onCPU are bad cases with limits of one controller.
func onMemory(m specs.LinuxMemory, want ...string) badCase {
	return onResources(specs.LinuxResources{Memory: &m}, want...)
}

func onCPU(r specs.LinuxCPU, want ...string) badCase {
	return onResources(specs.LinuxResources{CPU: &r}, want...)
}

var resourceCases = map[string]badCase{
	"memory limits below none": onMemory(specs.LinuxMemory{
		Limit: new(int64(-2)), Reservation: new(int64(-3)), Swap: new(int64(-4)), KernelTCP: new(int64(-6)),
		Kernel: new(int64(-5)), //nolint:staticcheck // SA1019: deprecated, but a wrong number is still wrong
	},
		"linux.resources.memory.limit: is -2, must be at least 0, or -1 for no limit",
		"linux.resources.memory.reservation: is -3, must be at least 0, or -1 for no limit",
		"linux.resources.memory.swap: is -4, must be at least 0, or -1 for no limit",
		"linux.resources.memory.kernel: is -5, must be at least 0, or -1 for no limit",
		"linux.resources.memory.kernelTCP: is -6, must be at least 0, or -1 for no limit"),
	"swap without memory": onMemory(specs.LinuxMemory{Swap: new(int64(1))},
		"linux.resources.memory.swap: unable to set swap limit without memory limit"),
	"less swap than memory": onMemory(specs.LinuxMemory{Limit: new(int64(4096)), Swap: new(int64(4095))},
		"linux.resources.memory.swap: is 4095, memory+swap limit must be at least the memory limit 4096"),
	"swappiness over 100": onMemory(specs.LinuxMemory{Swappiness: new(uint64(101))},
		"linux.resources.memory.swappiness: is 101, must be from 0 to 100"),
	"CPU times that are too short": onCPU(specs.LinuxCPU{Quota: new(int64(999)), Burst: new(uint64(1000)), Period: new(uint64(999))},
		"linux.resources.cpu.quota: is 999, must be at least 1000 µs",
		"linux.resources.cpu.burst: is 1000, must be at most the quota 999",
		"linux.resources.cpu.period: is 999, must be from 1000 to 1000000 µs"),
	"a CPU period that is too long": onCPU(specs.LinuxCPU{Period: new(uint64(1000001))},
		"linux.resources.cpu.period: is 1000001, must be from 1000 to 1000000 µs"),
	"a real-time runtime below none": onCPU(specs.LinuxCPU{RealtimeRuntime: new(int64(-2))},
		"linux.resources.cpu.realtimeRuntime: is -2, must be at least 0, or -1 for no limit"),
	"a real-time runtime over its period": onCPU(specs.LinuxCPU{RealtimeRuntime: new(int64(11)), RealtimePeriod: new(uint64(10))},
		"linux.resources.cpu.realtimeRuntime: is 11, must be at most the realtimePeriod 10"),
	"cpusets that are none": onCPU(specs.LinuxCPU{Cpus: "0-x", Mems: "a"},
		`linux.resources.cpu.cpus: has "0-x", must be a list like 0-3,7`,
		`linux.resources.cpu.mems: has "a", must be a list like 0-3,7`),
	"an idle that is no switch": onCPU(specs.LinuxCPU{Idle: new(int64(2))},
		"linux.resources.cpu.idle: is 2, must be 0 or 1"),
	"a pids limit below none": onResources(specs.LinuxResources{Pids: &specs.LinuxPids{Limit: new(int64(-2))}},
		"linux.resources.pids.limit: is -2, must be at least 0, or -1 for no limit"),
	"block I/O out of range": onResources(specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{
		Weight: new(uint16(9)), LeafWeight: new(uint16(1001)),
		WeightDevice: []specs.LinuxWeightDevice{
			{LinuxBlockIODevice: specs.LinuxBlockIODevice{Major: -1, Minor: -2}},
			{Weight: new(uint16(1)), LeafWeight: new(uint16(2))},
		},
		ThrottleReadBpsDevice:   badThrottle,
		ThrottleWriteBpsDevice:  badThrottle,
		ThrottleReadIOPSDevice:  badThrottle,
		ThrottleWriteIOPSDevice: badThrottle,
	}},
		"linux.resources.blockIO.weight: is 9, must be from 10 to 1000, or 0 for the default",
		"linux.resources.blockIO.leafWeight: is 1001, must be from 10 to 1000, or 0 for the default",
		"linux.resources.blockIO.weightDevice[0].major: is -1, must be from 0 to 4095",
		"linux.resources.blockIO.weightDevice[0].minor: is -2, must be from 0 to 1048575",
		"linux.resources.blockIO.weightDevice[0]: must have weight or leafWeight",
		"linux.resources.blockIO.weightDevice[1].weight: is 1, must be from 10 to 1000, or 0 for the default",
		"linux.resources.blockIO.weightDevice[1].leafWeight: is 2, must be from 10 to 1000, or 0 for the default",
		"linux.resources.blockIO.throttleReadBpsDevice[0].major: is 4096, must be from 0 to 4095",
		"linux.resources.blockIO.throttleReadBpsDevice[0].minor: is -1, must be from 0 to 1048575",
		"linux.resources.blockIO.throttleWriteBpsDevice[0].major: is 4096, must be from 0 to 4095",
		"linux.resources.blockIO.throttleWriteBpsDevice[0].minor: is -1, must be from 0 to 1048575",
		"linux.resources.blockIO.throttleReadIOPSDevice[0].major: is 4096, must be from 0 to 4095",
		"linux.resources.blockIO.throttleReadIOPSDevice[0].minor: is -1, must be from 0 to 1048575",
		"linux.resources.blockIO.throttleWriteIOPSDevice[0].major: is 4096, must be from 0 to 4095",
		"linux.resources.blockIO.throttleWriteIOPSDevice[0].minor: is -1, must be from 0 to 1048575"),
	"page sizes that are none": onResources(specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{
		{Pagesize: ""},
		{Pagesize: "2M"},
		{Pagesize: "02MB"},
		{Pagesize: "0KB"},
		{Pagesize: "MB"},
		{Pagesize: "2TB"},
		{Pagesize: "../2MB"},
		{Pagesize: "1GB"},
	}},
		`linux.resources.hugepageLimits[0].pageSize: is "", must be like 64KB, 2MB or 1GB`,
		`linux.resources.hugepageLimits[1].pageSize: is "2M", must be like 64KB, 2MB or 1GB`,
		`linux.resources.hugepageLimits[2].pageSize: is "02MB", must be like 64KB, 2MB or 1GB`,
		`linux.resources.hugepageLimits[3].pageSize: is "0KB", must be like 64KB, 2MB or 1GB`,
		`linux.resources.hugepageLimits[4].pageSize: is "MB", must be like 64KB, 2MB or 1GB`,
		`linux.resources.hugepageLimits[5].pageSize: is "2TB", must be like 64KB, 2MB or 1GB`,
		`linux.resources.hugepageLimits[6].pageSize: is "../2MB", must be like 64KB, 2MB or 1GB`),
	"priorities of no interfaces": onResources(specs.LinuxResources{Network: &specs.LinuxNetwork{
		Priorities: []specs.LinuxInterfacePriority{{Name: ""}, {Name: "a b"}},
	}},
		"linux.resources.network.priorities[0].name: must not be empty",
		`linux.resources.network.priorities[1].name: is "a b", which no network device can be called`),
	"rdma devices without limits or names": onResources(specs.LinuxResources{Rdma: map[string]specs.LinuxRdma{
		"a\nb": {HcaHandles: new(uint32(1))}, "c": {},
	}},
		`linux.resources.rdma["a\nb"]: the name must be one word`,
		"linux.resources.rdma.c: must have hcaHandles or hcaObjects"),
	"unified files that are none": onResources(specs.LinuxResources{Unified: map[string]string{
		"../x": "1", "": "1", "..": "1", "memory.high": "\x00",
	}},
		`linux.resources.unified[""]: the key must be a file name (no slashes)`,
		`linux.resources.unified[".."]: the key must be a file name (no slashes)`,
		`linux.resources.unified["../x"]: the key must be a file name (no slashes)`,
		`linux.resources.unified["memory.high"]: contains a NUL byte`),
	"unified files on cgroup v1": {
		mode:   host.CgroupV1,
		change: func(*specs.Spec) {},
		want:   []string{"linux.resources.unified: needs cgroup v2, this machine has only cgroup v1"},
	},
}

var badThrottle = []specs.LinuxThrottleDevice{{LinuxBlockIODevice: specs.LinuxBlockIODevice{Major: 4096, Minor: -1}}}
