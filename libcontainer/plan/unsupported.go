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
	l := c.linux
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
