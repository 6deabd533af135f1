package plan

import (
	"path"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// withoutCgroups checks that config.json asks for nothing that takes a cgroup of the
// container's own (docs/decisions/0018). Device rules are the exception: every engine
// writes them, and what they forbid is out of reach of a container that can't make device
// nodes, once those that came with its image are dead.
func (c *compiler) withoutCgroups() {
	const disabled = ": --cgroup-manager is disabled"
	if c.linux.CgroupsPath != "" {
		c.fail(cgroupsPathField, "there is no cgroup to be in"+disabled)
	}
	limits, err := resourceWrites(c.linux.Resources, c.Facts)
	if err != nil {
		c.errs = append(c.errs, err)
	}
	for i := range limits {
		if v := limits[i].Write.Value; v != "max" && v != "-1" {
			c.fail(limits[i].Field, "there is no cgroup to hold the container to it"+disabled)
		}
	}
	rules, err := deviceRules(c.Spec)
	if err != nil {
		c.errs = append(c.errs, err)
		return
	}
	if len(rules) == 1 && rules[0].Allow {
		return
	}
	c.deadNodes = true
	switch {
	case c.mayMakeNodes():
		c.fail(devicesField, "without a cgroup nothing holds a process with CAP_MKNOD to them"+disabled)
	case !c.ns.has("mount"):
		c.fail(devicesField, "without a cgroup they need a mount namespace"+disabled)
	case !hasMountAt(c.Spec.Mounts, "/dev"):
		c.fail(devicesField, "without a cgroup they need a mount at /dev"+disabled)
	}
}

// mayMakeNodes reports whether a process of the container can ever have the right to make
// device nodes, mknod(2).
func (c *compiler) mayMakeNodes() bool {
	caps := c.proc.Capabilities
	if caps == nil || c.ns.user() || c.Facts.UserNS || c.Facts.UID != 0 {
		return false
	}
	all := capSet(caps.Bounding, c.Facts.LastCap) | capSet(caps.Permitted, c.Facts.LastCap)
	return all&(1<<capMknod) != 0
}

func hasMountAt(mounts []specs.Mount, dest string) bool {
	for i := range mounts {
		if path.Clean("/"+mounts[i].Destination) == dest {
			return true
		}
	}
	return false
}
