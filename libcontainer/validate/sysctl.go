package validate

import (
	"maps"
	"slices"
	"strings"
)

// sysctls lets pass only the kernel parameters that belong to a namespace of the
// container: all others would change the host. Whether a network namespace joined by
// path is the runtime's own is for launch to see.
func (c *checker) sysctls() {
	if len(c.linux.Sysctl) == 0 {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(c.linux.Sysctl)) {
		at := member("linux.sysctl", key)
		c.add(at, refSysctl, c.sysctlRule(key))
		c.add(at, refSysctl, nulRule(c.linux.Sysctl[key]))
	}
}

func (c *checker) sysctlRule(key string) string {
	if rule := textRule(key); rule != "" {
		return "the key " + rule
	}
	name := dotted(key)
	// Between dots a "/" stands for a dot: "/" is "." and "//" is ".." on disk.
	for step := range strings.SplitSeq(name, ".") {
		if step == "" || step == "/" || step == "//" {
			return "has an empty, \".\" or \"..\" step, must be a path below /proc/sys"
		}
	}
	switch {
	case ipcSysctl(name):
		if !c.ns.has(nsIPC) {
			return "is not allowed in the host's ipc namespace"
		}
	case strings.HasPrefix(name, "net."):
		if !c.ns.has(nsNetwork) {
			return "is not allowed in the host's network namespace"
		}
	case name == "kernel.hostname" && c.ns.has(nsUTS):
		return "is not allowed, must be set by the field hostname"
	case name == "kernel.domainname" && c.ns.has(nsUTS):
	case strings.HasPrefix(name, "user."):
		if !c.ns.has(nsUser) {
			return "is not allowed in the host's user namespace"
		}
	default:
		return "is not in a separate kernel namespace"
	}
	return ""
}

// ipcSysctl reports whether the parameter is one of ipc_namespaces(7).
func ipcSysctl(name string) bool {
	switch name {
	case "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall",
		"kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced":
		return true
	}
	return strings.HasPrefix(name, "fs.mqueue.")
}

// dotted turns the two ways to write a parameter into one. The first separator decides,
// sysctl.d(5): after "/" a "." belongs to a name, after "." a "/" does and stands for ".".
func dotted(key string) string {
	i := strings.IndexAny(key, "./")
	if i < 0 || key[i] == '.' {
		return key
	}
	swapped := []byte(key)
	for j, b := range swapped {
		switch b {
		case '.':
			swapped[j] = '/'
		case '/':
			swapped[j] = '.'
		}
	}
	return string(swapped)
}
