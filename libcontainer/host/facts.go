// Package host holds what the runtime must know about this kernel and user
// before it can plan a container. Facts is plain data: Probe fills it on a real
// machine, a test writes one by hand and gets that machine's plan.
package host

import "slices"

// Facts describes the machine and the user that run the container.
type Facts struct {
	Kernel Version `json:"kernel"`
	UID    uint32  `json:"uid"`    // effective user id of the runtime
	GID    uint32  `json:"gid"`    // effective group id of the runtime
	UserNS bool    `json:"userns"` // the runtime itself is in a user namespace other than the initial one
	// NoSetgroups says that setgroups(2) is denied in that namespace, and so in all below it.
	NoSetgroups bool   `json:"noSetgroups,omitempty"`
	LastCap     int    `json:"lastCap"` // highest capability number the kernel knows, capabilities(7)
	Cgroup      Cgroup `json:"cgroup"`
	// Resctrl is where the resctrl file system is mounted, "" for nowhere. Only a config with
	// linux.intelRdt makes it worth asking: Resctrl.
	Resctrl string `json:"resctrl,omitempty"`
	// NoFile is RLIMIT_NOFILE as it was before Go's start-up raised the soft limit.
	NoFile Rlimit `json:"noFile"`
	// LSM is asked for only when a config names a profile or a label.
	LSM LSM `json:"lsm"`
}

// LSM says which of the kernel's security modules can confine a process.
type LSM struct {
	AppArmor bool `json:"apparmor"`
	SELinux  bool `json:"selinux"`
}

// Version is a kernel release cut to the two numbers that decide features.
type Version struct {
	Major int `json:"major"`
	Minor int `json:"minor"`
}

// AtLeast reports whether v is the given release or a later one.
func (v Version) AtLeast(major, minor int) bool {
	return v.Major > major || v.Major == major && v.Minor >= minor
}

// Rlimit is a soft and a hard resource limit, getrlimit(2).
type Rlimit struct {
	Soft uint64 `json:"soft"`
	Hard uint64 `json:"hard"`
}

// CgroupMode says which cgroup hierarchies the machine has mounted.
type CgroupMode string

// The modes, named as systemd does.
const (
	CgroupNone   CgroupMode = "none"   // nothing mounted
	CgroupV1     CgroupMode = "v1"     // only cgroup v1 hierarchies
	CgroupHybrid CgroupMode = "hybrid" // v1 controllers, and a v2 hierarchy beside them
	CgroupV2     CgroupMode = "v2"     // one unified hierarchy
)

// Cgroup is the cgroup set-up of the machine.
type Cgroup struct {
	Mode        CgroupMode  `json:"mode"`
	Hierarchies []Hierarchy `json:"hierarchies"`
}

// Hierarchy is one mounted cgroup hierarchy.
type Hierarchy struct {
	// Name is what the hierarchy is called in /proc/self/cgroup: its v1 controllers
	// ("memory", "cpu,cpuacct"), a named one without its prefix ("systemd"), or "" for v2.
	Name string `json:"name"`
	// Mount is where the hierarchy is mounted on the host.
	Mount string `json:"mount"`
	// Own is the cgroup of the runtime itself, relative to Mount ("/" for the root).
	Own string `json:"own"`
	// Named marks a v1 hierarchy without controllers (name=systemd).
	Named bool `json:"named,omitempty"`
	// Controllers are the controllers of the hierarchy: of a v1 one its name split at commas,
	// of v2 the words of cgroup.controllers in its root.
	Controllers []string `json:"controllers"`
}

// Unified reports whether h is the cgroup v2 hierarchy.
func (h *Hierarchy) Unified() bool { return h.Name == "" }

// Hierarchy returns the hierarchy of a name, or nil.
func (c *Cgroup) Hierarchy(name string) *Hierarchy {
	for i := range c.Hierarchies {
		if c.Hierarchies[i].Name == name {
			return &c.Hierarchies[i]
		}
	}
	return nil
}

// Find returns the hierarchy that has the controller (of v1 first), or nil.
func (c *Cgroup) Find(controller string) *Hierarchy {
	for i := range c.Hierarchies {
		h := &c.Hierarchies[i]
		if slices.Contains(h.Controllers, controller) {
			return h
		}
	}
	return nil
}
