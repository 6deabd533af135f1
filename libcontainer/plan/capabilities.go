package plan

import "strings"

// CapSet is a set of capabilities, bit n for capability number n, capabilities(7).
type CapSet uint64

// Capabilities are the sets that a process has beside the bounding one.
type Capabilities struct {
	Effective, Permitted, Inheritable, Ambient CapSet
}

// capNames are the capabilities in the order of their numbers, include/uapi/linux/capability.h.
var capNames = [...]string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
	"SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
	"IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
	"SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
	"LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
	"WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
}

// Capability numbers that the runtime itself needs.
const (
	capSysAdmin = 21
	capSetPCap  = 8
)

// CapNames returns the names of all capabilities that this build knows, up to the
// kernel's last one.
func CapNames(last int) []string {
	names := make([]string, 0, len(capNames))
	for i, n := range capNames {
		if i <= last {
			names = append(names, "CAP_"+n)
		}
	}
	return names
}

// CapByName returns the number of a capability such as "CAP_KILL", or -1.
func CapByName(name string) int {
	rest, ok := strings.CutPrefix(name, "CAP_")
	if !ok {
		return -1
	}
	for i, n := range capNames {
		if n == rest {
			return i
		}
	}
	return -1
}

// capSet collects the named capabilities. Those that the kernel lacks are left out,
// as runc does: config.json files are written for newer kernels than they meet.
func capSet(names []string, last int) CapSet {
	var set CapSet
	for _, n := range names {
		if i := CapByName(n); i >= 0 && i <= last {
			set |= 1 << i
		}
	}
	return set
}

// allCaps is every capability up to the kernel's last one.
func allCaps(last int) CapSet { return 1<<(last+1) - 1 }

// Has reports whether capability number n is in the set.
func (s CapSet) Has(n int) bool { return s&(1<<n) != 0 }

func (s CapSet) String() string {
	if s == 0 {
		return "none"
	}
	var names []string
	for i := range 64 {
		if s.Has(i) {
			if i < len(capNames) {
				names = append(names, capNames[i])
			} else {
				names = append(names, "CAP_"+count(i))
			}
		}
	}
	return strings.Join(names, ",")
}
