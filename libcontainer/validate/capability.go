package validate

import (
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// capabilityNumber is the kernel's number of the capability, capabilities(7), -1 for
// a name that is none.
func capabilityNumber(name string) int {
	for i, known := range capabilityNames {
		if known == name {
			return i
		}
	}
	return -1
}

// capabilityNames are the capabilities of Linux 6.18 by their numbers.
var capabilityNames = [...]string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
	"CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE",
	"CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER",
	"CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT",
	"CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME",
	"CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
	"CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM",
	"CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// capabilities warns of names that can't be granted. The spec wants a warning and no
// error for all of them, for newer engines run on older kernels.
func (c *checker) capabilities(caps *specs.LinuxCapabilities, path string) {
	c.capabilitySet(caps.Bounding, path+".bounding")
	c.capabilitySet(caps.Effective, path+".effective")
	c.capabilitySet(caps.Inheritable, path+".inheritable")
	c.capabilitySet(caps.Permitted, path+".permitted")
	c.capabilitySet(caps.Ambient, path+".ambient")

	// The kernel refuses to raise these; runc spec of many years writes them.
	var lost []string
	for _, name := range caps.Ambient {
		known := capabilityNumber(name) >= 0 && capabilityNumber(name) <= c.facts.LastCap
		if known && !(slices.Contains(caps.Permitted, name) && slices.Contains(caps.Inheritable, name)) {
			lost = append(lost, name)
		}
	}
	if len(lost) > 0 {
		c.add(path+".ambient", refLinuxProcess,
			"can't raise ambient capability "+strings.Join(lost, ", ")+": not both permitted and inheritable")
	}
}

func (c *checker) capabilitySet(set []string, path string) {
	for i, name := range set {
		n := capabilityNumber(name)
		if n < 0 {
			c.addAt(path, i, "", refLinuxProcess, "ignoring unknown capability "+quote(name))
		} else if n > c.facts.LastCap {
			c.addAt(path, i, "", refLinuxProcess, "ignoring "+name+", this kernel does not have it")
		}
	}
}
