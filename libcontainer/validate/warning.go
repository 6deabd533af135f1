package validate

import (
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

// Warnings finds what a runtime takes but the user should know: what is deprecated,
// what this kernel can't grant, and what is ignored. The order is that of Spec.
func Warnings(spec *specs.Spec, facts *host.Facts) []Problem {
	c := newChecker(spec, facts)
	if spec.Process != nil && spec.Process.Capabilities != nil {
		c.capabilities(spec.Process.Capabilities, "process.capabilities")
	}
	if spec.Root != nil && spec.Root.Readonly && !c.ns.has(nsMount) {
		c.add("root.readonly", refRoot, "is ignored, for linux.namespaces has no mount namespace")
	}
	c.mountWarnings(spec.Mounts)
	if c.ns.has(nsUser) && !c.ns.creates(nsUser) {
		const rule = "is not used, for linux.namespaces joins a user namespace by path"
		if c.linux.UIDMappings != nil {
			c.add("linux.uidMappings", refMappings, rule)
		}
		if c.linux.GIDMappings != nil {
			c.add("linux.gidMappings", refMappings, rule)
		}
	}
	if r := c.linux.Resources; r != nil && r.Memory != nil {
		const rule = "has no effect on kernels that have given up kernel memory limits"
		if r.Memory.Kernel != nil { //nolint:staticcheck // SA1019: deprecated, which is the warning
			c.add("linux.resources.memory.kernel", refMemory, rule)
		}
		if r.Memory.KernelTCP != nil {
			c.add("linux.resources.memory.kernelTCP", refMemory, rule)
		}
	}
	if p := c.linux.Personality; p != nil && len(p.Flags) > 0 {
		c.add("linux.personality.flags", refPersonality, "is ignored, no flags are supported")
	}
	c.foreign("solaris", spec.Solaris != nil)
	c.foreign("windows", spec.Windows != nil)
	c.foreign("vm", spec.VM != nil)
	c.foreign("zos", spec.ZOS != nil)
	c.foreign("freebsd", spec.FreeBSD != nil)
	return c.problems
}

func (c *checker) mountWarnings(list []specs.Mount) {
	if len(list) > 0 && !c.ns.has(nsMount) {
		c.add("mounts", refMounts, "are made on the host and stay there, for linux.namespaces has no mount namespace")
	}
	for i := range list {
		m := &list[i]
		if m.Destination != "" && m.Destination[0] != '/' {
			c.addAt("mounts", i, ".destination", refMounts,
				"is "+quote(m.Destination)+", relative paths are deprecated: taken as relative to /")
		}
		opts := scanOptions(m)
		if opts.tmpcopyup > 0 && (opts.bind || m.Type != "tmpfs") {
			c.add(element(element("mounts", i)+".options", opts.tmpcopyup-1), refMountOptions,
				"tmpcopyup is ignored, only a tmpfs can have it")
		}
		for j, o := range m.Options {
			if opts.bind && o != "" && !knownOption(o) {
				c.add(element(element("mounts", i)+".options", j), refMountOptions,
					"is "+quote(o)+", ignored, for a bind mount has no options of a filesystem")
			}
		}
	}
}
