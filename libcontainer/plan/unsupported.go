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
	refuse(l.IntelRdt != nil, "linux.intelRdt", "Intel RDT")
	refuse(l.MemoryPolicy != nil, "linux.memoryPolicy", "a NUMA memory policy")
	refuse(l.Personality != nil, "linux.personality", "a personality")
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
