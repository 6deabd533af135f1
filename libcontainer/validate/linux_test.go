package validate

import (
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// onNetDevices is a bad case with other network devices.
func onNetDevices(devices map[string]specs.LinuxNetDevice, want ...string) badCase {
	return onLinux(func(l *specs.Linux) { l.NetDevices = devices }, want...)
}

var linuxCases = map[string]badCase{
	"a cgroup path of two lines": onLinux(func(l *specs.Linux) { l.CgroupsPath = "/a\nb" }, "linux.cgroupsPath: contains a newline"),
	"a cgroup path with a NUL":   onLinux(func(l *specs.Linux) { l.CgroupsPath = "/a\x00" }, "linux.cgroupsPath: contains a NUL byte"),
	"an unknown propagation of the root": onLinux(func(l *specs.Linux) { l.RootfsPropagation = "public" },
		`linux.rootfsPropagation: is "public", must be one of shared, slave, private, unbindable, or the same with r in front`),
	"relative masked and read-only paths": onLinux(func(l *specs.Linux) {
		l.MaskedPaths, l.ReadonlyPaths = []string{"/a", "b"}, []string{"", "/\x00"}
	},
		`linux.maskedPaths[1]: is "b", must be an absolute path`,
		"linux.readonlyPaths[0]: must not be empty", "linux.readonlyPaths[1]: contains a NUL byte"),
	"a mount label that would be options": onLinux(func(l *specs.Linux) { l.MountLabel = `x",size=1k,mode="0` },
		"linux.mountLabel: contains a quotation mark"),
	"a mount label with a NUL": onLinux(func(l *specs.Linux) { l.MountLabel = "\x00" }, "linux.mountLabel: contains a NUL byte"),

	"network devices without a network namespace": onLinux(func(l *specs.Linux) { without(l, "network"); l.Sysctl = nil },
		"linux.netDevices: unable to move network devices without a NET namespace"),
	"network devices of a user": {
		uid:    1000,
		change: func(s *specs.Spec) { s.Mounts = nil },
		want:   []string{"linux.netDevices: network devices are not supported for rootless containers"},
	},
	"network devices with impossible names": onNetDevices(map[string]specs.LinuxNetDevice{
		"..": {}, "a": {Name: "a/b"}, "b": {Name: "sixteen-bytes-16"}, "c:d": {Name: "fine"},
	},
		`linux.netDevices[".."]: the name is "..", which no network device can be called`,
		`linux.netDevices.a.name: is "a/b", which no network device can be called`,
		`linux.netDevices.b.name: is "sixteen-bytes-16", must have at most 15 bytes`,
		`linux.netDevices["c:d"]: the name is "c:d", which no network device can be called`),
	"network devices with templates that are none": onNetDevices(map[string]specs.LinuxNetDevice{
		"a": {Name: "a%"}, "b": {Name: "b%s"}, "c": {Name: "c%d%d"}, "d": {Name: "%d"}, "e": {Name: "e%d"}, "f": {Name: "e%d"},
	},
		`linux.netDevices.a.name: is "a%", must have % only as %d, once, behind a name`,
		`linux.netDevices.b.name: is "b%s", must have % only as %d, once, behind a name`,
		`linux.netDevices.c.name: is "c%d%d", must have % only as %d, once, behind a name`,
		`linux.netDevices.d.name: is "%d", must have % only as %d, once, behind a name`),
	"network devices with one name": onNetDevices(map[string]specs.LinuxNetDevice{"a": {}, "b": {Name: "a"}},
		`linux.netDevices.b.name: is "a", which is already the name of linux.netDevices.a`),

	"a class that is no file name": onLinux(func(l *specs.Linux) { l.IntelRdt.ClosID = "../x" },
		`linux.intelRdt.closID: is "../x", must be a file name, or / for the default class`),
	"a class that goes up": onLinux(func(l *specs.Linux) { l.IntelRdt.ClosID = ".." },
		`linux.intelRdt.closID: is "..", must be a file name, or / for the default class`),
	"a class that is a part of resctrl": onLinux(func(l *specs.Linux) { l.IntelRdt.ClosID = "mon_groups" },
		`linux.intelRdt.closID: is "mon_groups", which is a directory of resctrl itself`),
	"schemata of two lines": onLinux(func(l *specs.Linux) {
		l.IntelRdt = &specs.LinuxIntelRdt{ClosID: "a\nb", Schemata: []string{"L3:0=f", "\n"}, L3CacheSchema: "L3:\n", MemBwSchema: "MB:\n"}
	},
		"linux.intelRdt.closID: contains a newline", "linux.intelRdt.schemata[1]: contains a newline",
		"linux.intelRdt.l3CacheSchema: contains a newline", "linux.intelRdt.memBwSchema: contains a newline"),
	"a bandwidth schema of another kind": onLinux(func(l *specs.Linux) { l.IntelRdt.MemBwSchema = "L3:0=f" },
		`linux.intelRdt.memBwSchema: is "L3:0=f", must start with MB:`),

	"an unknown memory policy": onLinux(func(l *specs.Linux) { l.MemoryPolicy.Mode = "MPOL_X" },
		`linux.memoryPolicy.mode: invalid memory policy mode: is "MPOL_X", must be one of MPOL_DEFAULT, MPOL_BIND, MPOL_INTERLEAVE, `+
			"MPOL_WEIGHTED_INTERLEAVE, MPOL_PREFERRED, MPOL_PREFERRED_MANY, MPOL_LOCAL"),
	"a memory policy without its nodes": onLinux(func(l *specs.Linux) { l.MemoryPolicy.Nodes = "" },
		"linux.memoryPolicy.nodes: must not be empty with MPOL_INTERLEAVE"),
	"a memory policy with nodes it can't have": onLinux(func(l *specs.Linux) { l.MemoryPolicy.Mode = "MPOL_LOCAL" },
		`linux.memoryPolicy.nodes: MPOL_LOCAL mode requires 0 nodes but got 2`,
		"linux.memoryPolicy.flags: must not have MPOL_F_RELATIVE_NODES or MPOL_F_STATIC_NODES, for nodes names none"),
	"a memory policy with bad nodes": onLinux(func(l *specs.Linux) { l.MemoryPolicy.Nodes = "1;2" },
		`linux.memoryPolicy.nodes: invalid memory policy nodes: has "1;2", must be a list like 0-3,7`),
	"a memory policy with bad nodes that it can't have": onLinux(func(l *specs.Linux) {
		l.MemoryPolicy.Mode, l.MemoryPolicy.Nodes = "MPOL_DEFAULT", "x"
	}, `linux.memoryPolicy.nodes: invalid memory policy nodes: has "x", must be a list like 0-3,7`),
	"a memory policy with an unknown flag": onLinux(func(l *specs.Linux) { l.MemoryPolicy.Flags = []specs.MemoryPolicyFlagType{"X"} },
		`linux.memoryPolicy.flags[0]: invalid memory policy flag: is "X", must be one of MPOL_F_NUMA_BALANCING, MPOL_F_RELATIVE_NODES, MPOL_F_STATIC_NODES`),
	"a memory policy that relates to no nodes": onLinux(func(l *specs.Linux) {
		l.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: "MPOL_PREFERRED", Flags: []specs.MemoryPolicyFlagType{"MPOL_F_STATIC_NODES"}}
	}, "linux.memoryPolicy.flags: must not have MPOL_F_RELATIVE_NODES or MPOL_F_STATIC_NODES, for nodes names none"),
	"a memory policy that can't balance": onLinux(func(l *specs.Linux) {
		l.MemoryPolicy.Flags = []specs.MemoryPolicyFlagType{"MPOL_F_NUMA_BALANCING"}
	}, "linux.memoryPolicy.flags: must not have MPOL_F_NUMA_BALANCING, unless mode is MPOL_BIND or MPOL_PREFERRED_MANY"),
	"a memory policy with flags that fight": onLinux(func(l *specs.Linux) {
		l.MemoryPolicy.Flags = []specs.MemoryPolicyFlagType{"MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"}
	}, "linux.memoryPolicy.flags: must not have both MPOL_F_RELATIVE_NODES and MPOL_F_STATIC_NODES"),
	"an unknown personality": onLinux(func(l *specs.Linux) { l.Personality.Domain = "BSD" },
		`linux.personality.domain: is "BSD", must be one of LINUX, LINUX32`),
}

func TestLimitsThatRealEnginesWrite(t *testing.T) {
	for name, change := range map[string]func(*specs.Linux){
		"the root class of resctrl": func(l *specs.Linux) { l.IntelRdt.ClosID = "/" },
		"unlimited memory": func(l *specs.Linux) {
			l.Resources.Memory = &specs.LinuxMemory{Limit: new(int64(-1)), Swap: new(int64(1))}
		},
		"unlimited swap": func(l *specs.Linux) {
			l.Resources.Memory = &specs.LinuxMemory{Limit: new(int64(9)), Swap: new(int64(-1))}
		},
		"a quota of no limit":            func(l *specs.Linux) { l.Resources.CPU = &specs.LinuxCPU{Quota: new(int64(-1)), Burst: new(uint64(5))} },
		"numbers that mean not set":      func(l *specs.Linux) { l.Resources.CPU = &specs.LinuxCPU{Quota: new(int64(0)), Period: new(uint64(0))} },
		"an unlimited real-time runtime": func(l *specs.Linux) { l.Resources.CPU = &specs.LinuxCPU{RealtimeRuntime: new(int64(-1))} },
		"only a weight for a device":     func(l *specs.Linux) { l.Resources.BlockIO.WeightDevice[0].LeafWeight = nil },
		"a pids limit of 0":              func(l *specs.Linux) { l.Resources.Pids.Limit = new(int64(0)) },
		"a CPU list with spaces":         func(l *specs.Linux) { l.Resources.CPU = &specs.LinuxCPU{Cpus: "0-1, 3,\n"} },
		"a policy that prefers no node":  func(l *specs.Linux) { l.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: "MPOL_PREFERRED"} },
		"a propagation below the root":   func(l *specs.Linux) { l.RootfsPropagation = "rshared" },
		"mappings of a joined user namespace": func(l *specs.Linux) {
			l.Namespaces[5].Path = "/proc/1/ns/user"
			l.UIDMappings, l.GIDMappings = nil, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			spec := load(t, "full.json")
			change(spec.Linux)
			if got := Spec(spec, &root); len(got) > 0 {
				t.Errorf("problems: %q", texts(got))
			}
		})
	}
}

func TestConsoleSizeIsIgnoredWithoutTerminal(t *testing.T) {
	spec := load(t, "full.json")
	spec.Process.Terminal = false
	spec.Process.ConsoleSize.Height = 1 << 20
	if got := Spec(spec, &root); len(got) > 0 {
		t.Errorf("problems: %q", texts(got))
	}
}

func TestShortestDeadlineIsTaken(t *testing.T) {
	spec := load(t, "full.json")
	spec.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedDeadline, Runtime: 1024, Deadline: 1024}
	if got := Spec(spec, &root); len(got) > 0 {
		t.Errorf("problems: %q", texts(got))
	}
}
