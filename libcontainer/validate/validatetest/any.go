package validatetest

// Any are the fields of the spec, [] for each element and * for each key, that may
// have any value of their type, and why. The others are in Values.
var Any = map[string]string{
	"process.terminal":                   "a switch",
	"process.noNewPrivileges":            "a switch",
	"process.user.username":              "only for Windows, ignored elsewhere",
	"process.commandLine":                "only for Windows, ignored elsewhere",
	"process.capabilities.bounding[]":    "unknown names are ignored with a warning",
	"process.capabilities.effective[]":   "unknown names are ignored with a warning",
	"process.capabilities.inheritable[]": "unknown names are ignored with a warning",
	"process.capabilities.permitted[]":   "unknown names are ignored with a warning",
	"process.capabilities.ambient[]":     "unknown names are ignored with a warning",
	"process.rlimits[].hard":             "checked against soft; every number is a limit",
	"annotations.*":                      "free text that no kernel sees",
	"root.readonly":                      "a switch, ignored with a warning without a mount namespace",

	"linux.timeOffsets.*.secs":                               "every offset that the clock can show is one; the kernel knows which",
	"linux.devices[].uid":                                    "every number is an id; in a user namespace owners are those of the host's node",
	"linux.devices[].gid":                                    "every number is an id; in a user namespace owners are those of the host's node",
	"linux.resources.devices[].allow":                        "a switch",
	"linux.resources.memory.disableOOMKiller":                "a switch",
	"linux.resources.memory.useHierarchy":                    "a switch",
	"linux.resources.memory.checkBeforeUpdate":               "a switch",
	"linux.resources.cpu.shares":                             "the kernel and the conversion to weights clamp it",
	"linux.resources.cpu.realtimePeriod":                     "checked against realtimeRuntime",
	"linux.resources.blockIO.throttleReadBpsDevice[].rate":   "every number is a rate",
	"linux.resources.blockIO.throttleWriteBpsDevice[].rate":  "every number is a rate",
	"linux.resources.blockIO.throttleReadIOPSDevice[].rate":  "every number is a rate",
	"linux.resources.blockIO.throttleWriteIOPSDevice[].rate": "every number is a rate",
	"linux.resources.hugepageLimits[].limit":                 "every number is a limit",
	"linux.resources.network.classID":                        "every number is a class",
	"linux.resources.network.priorities[].priority":          "every number is a priority",
	"linux.resources.rdma.*.hcaHandles":                      "every number is a limit",
	"linux.resources.rdma.*.hcaObjects":                      "every number is a limit",
	"linux.seccomp.listenerMetadata":                         "free text for the agent; checked against listenerPath",
	"linux.seccomp.syscalls[].args[].value":                  "every number can be compared",
	"linux.seccomp.syscalls[].args[].valueTwo":               "every number can be compared",
	"linux.intelRdt.enableMonitoring":                        "a switch",
	"linux.personality.flags[]":                              "ignored with a warning",
}

// Foreign are sections for other platforms, ignored with a warning.
var Foreign = []string{"solaris", "windows", "vm", "zos", "freebsd"}
