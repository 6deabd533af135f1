package plan

import (
	"sort"
)

// unsupported refuses, by name, every field that this build does not compile. A
// field is compiled or refused, never ignored: TestEveryFieldIsAccountedFor.
func (c *compiler) unsupported() {
	refuse := func(set bool, field, what string) {
		if set {
			c.fail(field, what+" is not supported")
		}
	}
	l, p := c.linux, c.proc
	refuse(p.ApparmorProfile != "", "process.apparmorProfile", "AppArmor")
	refuse(p.SelinuxLabel != "", "process.selinuxLabel", "SELinux")
	refuse(p.Scheduler != nil, "process.scheduler", "a scheduler policy")
	refuse(p.IOPriority != nil, "process.ioPriority", "an I/O priority")
	refuse(p.ExecCPUAffinity != nil, "process.execCPUAffinity", "CPU affinity")
	refuse(l.MountLabel != "", "linux.mountLabel", "SELinux")
	refuse(l.MemoryPolicy != nil, "linux.memoryPolicy", "a NUMA memory policy")
	refuse(l.Personality != nil, "linux.personality", "a personality")
	refuse(len(l.NetDevices) > 0, "linux.netDevices", "moving network devices")
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
