package validate

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func (c *checker) cgroupsPath() {
	c.add("linux.cgroupsPath", refCgroupsPath, lineRule(c.linux.CgroupsPath))
}

func (c *checker) rootfsPropagation() {
	if p := c.linux.RootfsPropagation; p != "" && !propagation(p) {
		c.add("linux.rootfsPropagation", refPropagation,
			oneOf(p, "shared, slave, private, unbindable, or the same with r in front"))
	}
}

// hiddenPaths checks the paths that are masked or made read-only.
func (c *checker) hiddenPaths(path, ref string, list []string) {
	if len(list) > 0 && !c.ns.has(nsMount) {
		c.add(path, ref, "unable to restrict sys entries without a private MNT namespace")
	}
	for i, p := range list {
		c.addAt(path, i, "", ref, absoluteRule(p))
	}
}

// interfaceRule takes the names that the kernel lets network devices have
// (dev_valid_name in net/core/dev.c): shorter than IFNAMSIZ, a word, a file name.
func interfaceRule(name string) string {
	switch {
	case name == "":
		return "must not be empty"
	case len(name) > 15:
		return "is " + quote(name) + ", must have at most 15 bytes"
	case name == "." || name == ".." || strings.ContainsAny(name, "/: \t\n\v\f\r\x00"):
		return "is " + quote(name) + ", which no network device can be called"
	}
	return ""
}

// templateRule takes the one template that the kernel knows, %d once
// (dev_prep_valid_name in net/core/dev.c).
func templateRule(name string) string {
	before, after, ok := strings.Cut(name, "%")
	if !ok || strings.HasPrefix(after, "d") && !strings.Contains(after, "%") && before != "" {
		return ""
	}
	return "is " + quote(name) + ", must have % only as %d, once, behind a name"
}

func (c *checker) netDevices() {
	const path = "linux.netDevices"
	devices := c.linux.NetDevices
	if len(devices) == 0 {
		return
	}
	if !c.ns.has(nsNetwork) {
		c.add(path, refNetDevices, "unable to move network devices without a NET namespace")
	}
	if c.facts.UID != 0 {
		c.add(path, refNetDevices, "network devices are not supported for rootless containers")
	}
	taken := make(map[string]string, len(devices))
	for _, name := range slices.Sorted(maps.Keys(devices)) {
		at := member(path, name)
		if rule := interfaceRule(name); rule != "" {
			c.add(at, refNetDevices, "the name "+rule)
		}
		target := name
		if inside := devices[name].Name; inside != "" {
			target = inside
			c.add(at+".name", refNetDevices, interfaceRule(inside))
			c.add(at+".name", refNetDevices, templateRule(inside))
		}
		// With %d the kernel picks a free number.
		if other, ok := taken[target]; ok && !strings.Contains(target, "%d") {
			c.add(at+".name", refNetDevices, "is "+quote(target)+", which is already the name of "+member(path, other))
		}
		taken[target] = name
	}
}

func (c *checker) intelRdt(r *specs.LinuxIntelRdt) {
	const path = "linux.intelRdt"
	id := r.ClosID
	// "/" is the default class, the root of resctrl.
	if id == "." || id == ".." || len(id) > 1 && strings.Contains(id, "/") {
		c.add(path+".closID", refIntelRdt, "is "+quote(id)+", must be a file name, or / for the default class")
	}
	if id == "info" || id == "mon_groups" || id == "mon_data" {
		c.add(path+".closID", refIntelRdt, "is "+quote(id)+", which is a directory of resctrl itself")
	}
	c.add(path+".closID", refIntelRdt, lineRule(id))
	for i, line := range r.Schemata {
		c.addAt(path+".schemata", i, "", refIntelRdt, lineRule(line))
	}
	c.add(path+".l3CacheSchema", refIntelRdt, lineRule(r.L3CacheSchema))
	if s := r.MemBwSchema; s != "" && !strings.HasPrefix(s, "MB:") {
		c.add(path+".memBwSchema", refIntelRdt, "is "+quote(s)+", must start with MB:")
	}
	c.add(path+".memBwSchema", refIntelRdt, lineRule(r.MemBwSchema))
}

// memoryPolicy checks by the rules of set_mempolicy(2).
func (c *checker) memoryPolicy(p *specs.LinuxMemoryPolicy) {
	const path = "linux.memoryPolicy"
	listRule := idListRule(p.Nodes)
	if listRule != "" {
		c.add(path+".nodes", refMemoryPolicy, "invalid memory policy nodes: "+listRule)
	}
	switch p.Mode {
	case specs.MpolDefault, specs.MpolLocal:
		if listRule == "" && !namesNone(p.Nodes) {
			c.add(path+".nodes", refMemoryPolicy,
				string(p.Mode)+" mode requires 0 nodes but got "+strconv.Itoa(idCount(p.Nodes)))
		}
	case specs.MpolBind, specs.MpolInterleave, specs.MpolPreferredMany, specs.MpolWeightedInterleave:
		if listRule == "" && namesNone(p.Nodes) {
			c.add(path+".nodes", refMemoryPolicy, "must not be empty with "+string(p.Mode))
		}
	case specs.MpolPreferred:
	default:
		c.add(path+".mode", refMemoryPolicy, "invalid memory policy mode: "+oneOf(string(p.Mode), "MPOL_DEFAULT, MPOL_BIND, MPOL_INTERLEAVE, "+
			"MPOL_WEIGHTED_INTERLEAVE, MPOL_PREFERRED, MPOL_PREFERRED_MANY, MPOL_LOCAL"))
	}
	c.memoryPolicyFlags(p, path+".flags")
}

func (c *checker) personality(p *specs.LinuxPersonality) {
	if p.Domain != specs.PerLinux && p.Domain != specs.PerLinux32 {
		c.add("linux.personality.domain", refPersonality, oneOf(string(p.Domain), "LINUX, LINUX32"))
	}
}

// foreign warns of a section for another platform; the spec lets it be there.
func (c *checker) foreign(section string, present bool) {
	if present {
		c.add(section, refPlatforms, "is ignored, for this is a Linux container")
	}
}
