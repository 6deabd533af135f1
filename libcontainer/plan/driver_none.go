package plan

import (
	"path"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// withoutCgroups checks that config.json asks for nothing that takes a cgroup of the
// container's own (docs/decisions/0018). Device rules are the exception: every engine
// writes them, and what they forbid is out of reach of a container that can't make device
// nodes, once those that came with its image are dead. So it can't: CAP_MKNOD is left out.
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
	if !RestrictsDevices(c.Spec) {
		return
	}
	c.deadNodes = true
	c.proc = withoutMknod(c.proc)
	switch {
	case !c.ns.has("mount"):
		c.fail(devicesField, "without a cgroup they need a mount namespace"+disabled)
	case !hasMountAt(c.Spec.Mounts, "/dev"):
		c.fail(devicesField, "without a cgroup they need a mount at /dev"+disabled)
	}
}

// RestrictsDevices reports whether the device rules of a container keep it from any device.
func RestrictsDevices(spec *specs.Spec) bool {
	rules, err := deviceRules(spec)
	return err != nil || len(rules) != 1 || !rules[0].Allow
}

// withoutMknod is the process without the right to make device nodes, mknod(2).
func withoutMknod(p *specs.Process) *specs.Process {
	if p.Capabilities == nil {
		return p
	}
	less, caps := *p, *p.Capabilities
	for _, set := range []*[]string{&caps.Bounding, &caps.Effective, &caps.Permitted, &caps.Inheritable, &caps.Ambient} {
		*set = slices.DeleteFunc(slices.Clone(*set), func(name string) bool { return name == "CAP_MKNOD" })
	}
	less.Capabilities = &caps
	return &less
}

func hasMountAt(mounts []specs.Mount, dest string) bool {
	for i := range mounts {
		if path.Clean("/"+mounts[i].Destination) == dest {
			return true
		}
	}
	return false
}
