package validate

import (
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// labelRule asks for a profile or a label that the kernel takes whole: it reads one line of
// at most a page from /proc/PID/attr, proc_pid_attr(5).
func labelRule(s string) string {
	const limit = 4000 // below the smallest page, with what stands in front
	if len(s) > limit {
		return "has " + strconv.Itoa(len(s)) + " bytes, must have at most " + strconv.Itoa(limit)
	}
	return lineRule(s)
}

// mountLabelRule asks for a label that can stand in quotes among the options of a mount,
// where one with a quote would become further options.
func mountLabelRule(s string) string {
	if strings.IndexByte(s, '"') >= 0 {
		return "contains a quotation mark"
	}
	return labelRule(s)
}

// memoryPolicyFlags checks which flags go together and with which mode, set_mempolicy(2).
func (c *checker) memoryPolicyFlags(p *specs.LinuxMemoryPolicy, path string) {
	var balancing, relative, static bool
	for i, f := range p.Flags {
		switch f {
		case specs.MpolFNumaBalancing:
			balancing = true
		case specs.MpolFRelativeNodes:
			relative = true
		case specs.MpolFStaticNodes:
			static = true
		default:
			c.addAt(path, i, "", refMemoryPolicy, "invalid memory policy flag: "+oneOf(string(f),
				"MPOL_F_NUMA_BALANCING, MPOL_F_RELATIVE_NODES, MPOL_F_STATIC_NODES"))
		}
	}
	if relative && static {
		c.add(path, refMemoryPolicy, "must not have both MPOL_F_RELATIVE_NODES and MPOL_F_STATIC_NODES")
	}
	if (relative || static) && (p.Mode == specs.MpolLocal || p.Mode == specs.MpolPreferred && namesNone(p.Nodes)) {
		c.add(path, refMemoryPolicy, "must not have MPOL_F_RELATIVE_NODES or MPOL_F_STATIC_NODES, for nodes names none")
	}
	if balancing && p.Mode != specs.MpolBind && p.Mode != specs.MpolPreferredMany {
		c.add(path, refMemoryPolicy, "must not have MPOL_F_NUMA_BALANCING, unless mode is MPOL_BIND or MPOL_PREFERRED_MANY")
	}
}
