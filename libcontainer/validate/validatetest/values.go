// Package validatetest has the values of config.json that must be refused, for the tests
// of package validate and for docs/spec-conformance.md.
package validatetest

// Bad is one bad value of a field.
type Bad struct {
	Value  string            // JSON
	Beside map[string]string // other fields, with the JSON that makes the value bad
	Place  string            // where the value goes, if not to the field itself
	Want   string            // the field that is refused, if not the field itself
}

// of lists values that are bad whatever stands beside them.
func of(values ...string) (list []Bad) {
	for _, v := range values {
		list = append(list, Bad{Value: v})
	}
	return list
}

// onlyNUL is for texts that may be anything but a text with a NUL byte, which
// TestEveryFieldRefusesAWrongType tries everywhere.
var onlyNUL = of(`"a\u0000"`)

// Values are values of the right type that must be refused, for every field that is not
// in Any: out of range, not in the list, or in conflict with another field.
var Values = map[string][]Bad{
	"ociVersion":                    of(`""`, `"1.3"`, `"2.0.0"`, `"v1.3.0"`),
	"process.consoleSize.height":    of(`65536`),
	"process.consoleSize.width":     of(`65536`),
	"process.user.uid":              of(`5000`, `4294967295`),
	"process.user.gid":              of(`5000`, `4294967295`),
	"process.user.umask":            of(`512`),
	"process.user.additionalGids[]": of(`5000`, `4294967295`),
	"process.args[]":                {{Value: `[]`, Place: "process.args", Want: "process.args"}},
	"process.env[]":                 of(`"A"`, `""`, `"=x"`),
	"process.cwd":                   of(`""`, `"x"`, `"./x"`),
	"process.rlimits[].type":        of(`""`, `"NOFILE"`, `"RLIMIT_NOFILE"`),
	"process.rlimits[].soft":        {{Value: `2`, Beside: map[string]string{"process.rlimits[].hard": `1`}}},
	"process.apparmorProfile":       onlyNUL,
	"process.oomScoreAdj":           of(`-1001`, `1001`),
	"process.scheduler.policy":      of(`""`, `"SCHED_EXT"`),
	"process.scheduler.nice": {
		{Value: `20`, Beside: map[string]string{"process.scheduler": `{"policy":"SCHED_OTHER"}`}},
		{Value: `-21`, Beside: map[string]string{"process.scheduler": `{"policy":"SCHED_BATCH"}`}},
	},
	"process.scheduler.priority": {
		{Value: `1`},
		{Value: `0`, Beside: map[string]string{"process.scheduler": `{"policy":"SCHED_FIFO"}`}},
		{Value: `100`, Beside: map[string]string{"process.scheduler": `{"policy":"SCHED_RR"}`}},
	},
	"process.scheduler.flags[]": of(`"X"`),
	"process.scheduler.runtime": {
		{Value: `1023`},
		{Value: `1`, Beside: map[string]string{"process.scheduler": `{"policy":"SCHED_OTHER"}`}},
	},
	"process.scheduler.deadline": {
		{Value: `0`},
		{Value: `9223372036854775808`},
		{Value: `1`, Beside: map[string]string{"process.scheduler": `{"policy":"SCHED_OTHER"}`}},
	},
	"process.scheduler.period": {
		{Value: `1`},
		{Value: `9223372036854775808`},
		{Value: `1`, Beside: map[string]string{"process.scheduler": `{"policy":"SCHED_OTHER"}`}},
	},
	"process.selinuxLabel":            onlyNUL,
	"process.ioPriority.class":        of(`""`, `"IOPRIO_CLASS_NONE"`),
	"process.ioPriority.priority":     of(`-1`, `8`),
	"process.execCPUAffinity.initial": of(`"a"`, `"3-1"`, `"70000"`, `","`),
	"process.execCPUAffinity.final":   of(`"a"`, `"3-1"`),
	"root.path":                       of(`""`),
	"hostname": {
		{Value: `"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"`},
		{Value: `"x"`, Beside: map[string]string{"linux.namespaces": `[{"type":"mount"}]`}},
	},
	"domainname": {
		{Value: `"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"`},
		{Value: `"x"`, Beside: map[string]string{"linux.namespaces": `[{"type":"mount"}]`}},
	},
	"mounts[].destination": of(`""`, `"/proc"`, `"/proc/x"`),
	"mounts[].type": {
		{Value: `""`, Beside: map[string]string{"mounts[]": `{"destination":"/m"}`}},
		{Value: `"rbind"`, Beside: map[string]string{"mounts[]": `{"destination":"/m"}`}},
	},
	"mounts[].source":                    {{Value: `""`, Beside: map[string]string{"mounts[]": `{"destination":"/m","type":"none","source":"/s","options":["bind"]}`}}},
	"mounts[].options[]":                 onlyNUL,
	"mounts[].uidMappings[].containerID": {{Value: `4294967295`, Beside: map[string]string{"mounts[]": `{"destination":"/m","type":"none","source":"/s","options":["bind","idmap"],"uidMappings":[{"containerID":0,"hostID":0,"size":1}],"gidMappings":[{"containerID":0,"hostID":0,"size":1}]}`}}},
	"mounts[].uidMappings[].hostID":      {{Value: `4294967295`, Beside: map[string]string{"mounts[]": `{"destination":"/m","type":"none","source":"/s","options":["bind","idmap"],"uidMappings":[{"containerID":0,"hostID":0,"size":1}],"gidMappings":[{"containerID":0,"hostID":0,"size":1}]}`}}},
	"mounts[].uidMappings[].size":        {{Value: `0`, Beside: map[string]string{"mounts[]": `{"destination":"/m","type":"none","source":"/s","options":["bind","idmap"],"uidMappings":[{"containerID":0,"hostID":0,"size":1}],"gidMappings":[{"containerID":0,"hostID":0,"size":1}]}`}}},
	"mounts[].gidMappings[].containerID": {{Value: `4294967295`, Beside: map[string]string{"mounts[]": `{"destination":"/m","type":"none","source":"/s","options":["bind","idmap"],"uidMappings":[{"containerID":0,"hostID":0,"size":1}],"gidMappings":[{"containerID":0,"hostID":0,"size":1}]}`}}},
	"mounts[].gidMappings[].hostID":      {{Value: `4294967295`, Beside: map[string]string{"mounts[]": `{"destination":"/m","type":"none","source":"/s","options":["bind","idmap"],"uidMappings":[{"containerID":0,"hostID":0,"size":1}],"gidMappings":[{"containerID":0,"hostID":0,"size":1}]}`}}},
	"mounts[].gidMappings[].size":        {{Value: `0`, Beside: map[string]string{"mounts[]": `{"destination":"/m","type":"none","source":"/s","options":["bind","idmap"],"uidMappings":[{"containerID":0,"hostID":0,"size":1}],"gidMappings":[{"containerID":0,"hostID":0,"size":1}]}`}}},
	"hooks.prestart[].path":              of(`""`, `"bin/x"`),
	"hooks.prestart[].args[]":            onlyNUL,
	"hooks.prestart[].env[]":             of(`"A"`, `"=x"`),
	"hooks.prestart[].timeout":           of(`0`, `-1`),
	"hooks.createRuntime[].path":         of(`""`, `"bin/x"`),
	"hooks.createRuntime[].args[]":       onlyNUL,
	"hooks.createRuntime[].env[]":        of(`"A"`, `"=x"`),
	"hooks.createRuntime[].timeout":      of(`0`, `-1`),
	"hooks.createContainer[].path":       of(`""`, `"bin/x"`),
	"hooks.createContainer[].args[]":     onlyNUL,
	"hooks.createContainer[].env[]":      of(`"A"`, `"=x"`),
	"hooks.createContainer[].timeout":    of(`0`, `-1`),
	"hooks.startContainer[].path":        of(`""`, `"bin/x"`),
	"hooks.startContainer[].args[]":      onlyNUL,
	"hooks.startContainer[].env[]":       of(`"A"`, `"=x"`),
	"hooks.startContainer[].timeout":     of(`0`, `-1`),
	"hooks.poststart[].path":             of(`""`, `"bin/x"`),
	"hooks.poststart[].args[]":           onlyNUL,
	"hooks.poststart[].env[]":            of(`"A"`, `"=x"`),
	"hooks.poststart[].timeout":          of(`0`, `-1`),
	"hooks.poststop[].path":              of(`""`, `"bin/x"`),
	"hooks.poststop[].args[]":            onlyNUL,
	"hooks.poststop[].env[]":             of(`"A"`, `"=x"`),
	"hooks.poststop[].timeout":           of(`0`, `-1`),
	"linux.uidMappings[].containerID":    of(`4294967295`, `0`),
	"linux.uidMappings[].hostID":         of(`4294967295`, `100000`),
	"linux.uidMappings[].size":           of(`0`),
	"linux.gidMappings[].containerID":    of(`4294967295`, `0`),
	"linux.gidMappings[].hostID":         of(`4294967295`, `100000`),
	"linux.gidMappings[].size":           of(`0`),
	"linux.sysctl.*":                     onlyNUL,
	"linux.resources.devices[].type":     of(`"x"`, `"p"`),
	"linux.resources.devices[].major":    of(`-2`, `4294967296`),
	"linux.resources.devices[].minor":    of(`-2`, `4294967296`),
	"linux.resources.devices[].access":   of(`""`, `"rx"`),
	"linux.resources.memory.limit":       of(`-2`),
	"linux.resources.memory.reservation": of(`-2`),
	"linux.resources.memory.kernel":      of(`-2`),
	"linux.resources.memory.kernelTCP":   of(`-2`),
	"linux.resources.memory.swap": {
		{Value: `-2`},
		{Value: `1`},
		{Value: `1073741824`, Beside: map[string]string{"linux.resources.memory": `{}`}},
	},
	"linux.resources.memory.swappiness":                       of(`101`),
	"linux.resources.cpu.quota":                               of(`1`, `999`),
	"linux.resources.cpu.burst":                               of(`1000001`),
	"linux.resources.cpu.period":                              of(`999`, `1000001`),
	"linux.resources.cpu.realtimeRuntime":                     of(`-2`, `1000001`),
	"linux.resources.cpu.cpus":                                of(`"a"`, `"3-1"`),
	"linux.resources.cpu.mems":                                of(`"a"`, `"3-1"`),
	"linux.resources.cpu.idle":                                of(`2`, `-1`),
	"linux.resources.pids.limit":                              of(`-2`),
	"linux.resources.blockIO.weight":                          of(`9`, `1001`),
	"linux.resources.blockIO.leafWeight":                      of(`9`, `1001`),
	"linux.resources.blockIO.weightDevice[].major":            of(`-1`, `4096`),
	"linux.resources.blockIO.weightDevice[].minor":            of(`-1`, `1048576`),
	"linux.resources.blockIO.throttleReadBpsDevice[].major":   of(`-1`, `4096`),
	"linux.resources.blockIO.throttleReadBpsDevice[].minor":   of(`-1`, `1048576`),
	"linux.resources.blockIO.throttleWriteBpsDevice[].major":  of(`-1`, `4096`),
	"linux.resources.blockIO.throttleWriteBpsDevice[].minor":  of(`-1`, `1048576`),
	"linux.resources.blockIO.throttleReadIOPSDevice[].major":  of(`-1`, `4096`),
	"linux.resources.blockIO.throttleReadIOPSDevice[].minor":  of(`-1`, `1048576`),
	"linux.resources.blockIO.throttleWriteIOPSDevice[].major": of(`-1`, `4096`),
	"linux.resources.blockIO.throttleWriteIOPSDevice[].minor": of(`-1`, `1048576`),
	"linux.resources.blockIO.weightDevice[].weight":           of(`9`, `1001`),
	"linux.resources.blockIO.weightDevice[].leafWeight":       of(`9`, `1001`),
	"linux.resources.hugepageLimits[].pageSize":               of(`""`, `"2M"`, `"../2MB"`),
	"linux.resources.network.priorities[].name":               of(`""`, `"a/b"`, `".."`),
	"linux.resources.unified.*":                               {{Value: `{"../x":"1"}`, Place: "linux.resources.unified"}},
	"linux.cgroupsPath":                                       of(`"/a\nb"`),
	"linux.namespaces[].type": {
		{Value: `""`},
		{Value: `"net"`},
		{Value: `"pid"`, Want: "linux.namespaces[]"},
	},
	"linux.namespaces[].path": {{Value: `"ns/net"`}},
	"linux.devices[].path":    of(`""`, `"dev/x"`),
	"linux.devices[].type":    of(`""`, `"x"`),
	"linux.devices[].major": {
		{Value: `-1`, Beside: map[string]string{"linux.devices[].type": `"c"`}},
		{Value: `4096`, Beside: map[string]string{"linux.devices[].type": `"b"`}},
	},
	"linux.devices[].minor": {
		{Value: `-1`, Beside: map[string]string{"linux.devices[].type": `"c"`}},
		{Value: `1048576`, Beside: map[string]string{"linux.devices[].type": `"b"`}},
	},
	"linux.devices[].fileMode":    of(`4294967295`),
	"linux.netDevices.*.name":     of(`"a/b"`, `"sixteen-bytes-16"`, `".."`, `"."`),
	"linux.seccomp.defaultAction": of(`""`, `"ALLOW"`, `"SCMP_ACT_NOTIFY"`),
	"linux.seccomp.defaultErrnoRet": {
		{Value: `4096`},
		{Value: `1`, Beside: map[string]string{"linux.seccomp.defaultAction": `"SCMP_ACT_ALLOW"`}},
	},
	"linux.seccomp.architectures[]": of(`""`, `"SCMP_ARCH_VAX"`, `"x86"`),
	"linux.seccomp.flags[]":         of(`""`, `"X"`, `"SECCOMP_FILTER_FLAG_NEW_LISTENER"`),
	"linux.seccomp.listenerPath":    {{Value: `""`}},
	"linux.seccomp.syscalls[].names[]": {
		{Value: `"write"`, Beside: map[string]string{"linux.seccomp.syscalls[].action": `"SCMP_ACT_NOTIFY"`}},
		{Value: `[]`, Place: "linux.seccomp.syscalls[].names", Want: "linux.seccomp.syscalls[].names"},
	},
	"linux.seccomp.syscalls[].action": of(`""`, `"ALLOW"`),
	"linux.seccomp.syscalls[].errnoRet": {
		{Value: `1`, Beside: map[string]string{"linux.seccomp.syscalls[].action": `"SCMP_ACT_ALLOW"`}},
		{Value: `4096`, Beside: map[string]string{"linux.seccomp.syscalls[].action": `"SCMP_ACT_ERRNO"`}},
	},
	"linux.seccomp.syscalls[].args[].index": of(`6`),
	"linux.seccomp.syscalls[].args[].op":    of(`""`, `"="`),
	"linux.rootfsPropagation":               of(`"public"`),
	"linux.maskedPaths[]":                   of(`""`, `"proc"`),
	"linux.readonlyPaths[]":                 of(`""`, `"proc"`),
	"linux.mountLabel":                      onlyNUL,
	"linux.intelRdt.closID":                 of(`"../x"`, `".."`, `"a\nb"`),
	"linux.intelRdt.schemata[]":             of(`"a\nb"`),
	"linux.intelRdt.l3CacheSchema":          of(`"a\nb"`),
	"linux.intelRdt.memBwSchema":            of(`"L3:0=f"`, `"MB:\n"`),
	"linux.memoryPolicy.mode":               of(`""`, `"MPOL_X"`),
	"linux.memoryPolicy.nodes": {
		{Value: `"a"`},
		{Value: `""`},
		{Value: `"1"`, Beside: map[string]string{"linux.memoryPolicy.mode": `"MPOL_LOCAL"`}},
	},
	"linux.memoryPolicy.flags[]":   of(`"X"`),
	"linux.personality.domain":     of(`""`, `"BSD"`),
	"linux.timeOffsets.*.nanosecs": of(`1000000000`),
}

// Keys are objects with keys that must be refused.
var Keys = []Bad{
	{Place: "linux.sysctl", Value: `{"kernel.hostname": "x"}`, Want: "linux.sysctl.*"},
	{Place: "linux.sysctl", Value: `{"vm.swappiness": "1"}`, Want: "linux.sysctl.*"},
	{Place: "linux.sysctl", Value: `{"net/../x": "1"}`, Want: "linux.sysctl.*"},
	{Place: "linux.sysctl", Value: `{"": "1"}`, Want: "linux.sysctl.*"},
	{Place: "annotations", Value: `{"": "x"}`, Want: "annotations"},
	{Place: "linux.resources.rdma", Value: `{"a b": {"hcaHandles": 1}}`, Want: "linux.resources.rdma.*"},
	{Place: "linux.resources.rdma", Value: `{"mlx5_1": {}}`, Want: "linux.resources.rdma.*"},
	{Place: "linux.resources.unified", Value: `{"": "x"}`, Want: "linux.resources.unified.*"},
	{Place: "linux.netDevices", Value: `{"..": {}}`, Want: "linux.netDevices.*"},
	{Place: "linux.timeOffsets", Value: `{"realtime": {"secs": 1}}`, Want: "linux.timeOffsets.*"},
}
