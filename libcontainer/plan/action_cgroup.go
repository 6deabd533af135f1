package plan

import "strings"

// Cgroup is one directory of the container in one cgroup hierarchy.
type Cgroup struct {
	Hierarchy string // host.Hierarchy.Name, "" for cgroup v2
	Mount     string // where the hierarchy is mounted
	Path      string // relative to Mount, starts with "/"
}

// Dir is the cgroup's directory on the host.
func (c *Cgroup) Dir() string { return c.Mount + c.Path }

// Title names the hierarchy for people.
func (c *Cgroup) Title() string {
	if c.Hierarchy == "" {
		return "v2"
	}
	return c.Hierarchy
}

// CreateCgroups makes the container's cgroups, one per hierarchy. A cgroup that
// exists already must be empty of processes.
type CreateCgroups struct {
	Cgroups []Cgroup
	// Optional lets a caller without rights over cgroups go on without them (rootless).
	Optional bool
}

// CreateScope has systemd make a scope with the child in it, systemd.scope(5).
type CreateScope struct {
	Unit       Unit
	Properties []Property
	// Devices are for systemd's own knowledge, on cgroup v1: at a daemon-reload it would
	// allow the container all devices. On v2 it leaves our program alone.
	Devices []DeviceRule
}

// AttachToUnit has systemd move an exec'ed process into the container's unit, where its
// user may not do so itself.
type AttachToUnit struct {
	Unit string
	User bool   // of the user's own manager
	Sub  string // a cgroup below the unit's: "/a", or "" for the unit's own
}

// KillDeviceNodes makes device nodes that came with the image unusable, where no cgroup
// forbids their use.
type KillDeviceNodes struct{}

// WriteCgroup writes one cgroup file, cgroups(7).
type WriteCgroup struct {
	Hierarchy string // host.Hierarchy.Name
	File      string // such as "memory.max"
	Value     string
	// MayMiss accepts that the kernel has no such file.
	MayMiss bool
}

// DeviceRule allows or denies access to devices, config-linux.md "Allowed Device list".
type DeviceRule struct {
	Allow  bool
	Type   byte  // 'a' all, 'b' block, 'c' character
	Major  int64 // -1 is any
	Minor  int64 // -1 is any
	Access string
}

// SetDevices installs the complete device rules of the container, in order: a later
// rule overrides an earlier one, and what no rule names is denied.
type SetDevices struct {
	Rules []DeviceRule
}

// JoinCgroups moves the child into the named hierarchies' cgroups of the container.
type JoinCgroups struct {
	Hierarchies []string
	// MayFail goes for hierarchies that only track processes: name=systemd, v2 beside v1.
	MayFail bool
}

func (a *CreateCgroups) String() string {
	var b strings.Builder
	b.WriteString("create cgroups")
	for i := range a.Cgroups {
		c := &a.Cgroups[i]
		b.WriteString(" " + c.Title() + ":" + c.Path)
	}
	return b.String()
}

func (a *CreateScope) String() string {
	manager := "the system's"
	if a.Unit.User {
		manager = "the user's"
	}
	names := make([]string, len(a.Properties))
	for i := range a.Properties {
		names[i] = a.Properties[i].String()
	}
	return "have " + manager + " systemd start " + a.Unit.Name + " in " + a.Unit.Slice + ": " + strings.Join(names, " ")
}

func (a *AttachToUnit) String() string {
	return "have systemd move the child into " + a.Unit + a.Sub
}

func (a *KillDeviceNodes) String() string { return "make device nodes of the image unusable" }

func (a *WriteCgroup) String() string {
	return "write " + strings.TrimSpace(a.Value) + " to cgroup file " + a.File
}

func (a *SetDevices) String() string {
	var b strings.Builder
	b.WriteString("set device rules:")
	for i := range a.Rules {
		b.WriteString(" " + a.Rules[i].String() + ";")
	}
	return b.String()
}

// String renders the rule as cgroup v1 writes it, prefixed with what it does.
func (r *DeviceRule) String() string {
	verb := "deny "
	if r.Allow {
		verb = "allow "
	}
	return verb + r.V1()
}

// V1 renders the rule for devices.allow and devices.deny,
// Documentation/admin-guide/cgroup-v1/devices.rst.
func (r *DeviceRule) V1() string {
	if r.Type == 'a' && r.Major == -1 && r.Minor == -1 {
		return "a *:* " + r.Access
	}
	return string(r.Type) + " " + deviceNumber(r.Major) + ":" + deviceNumber(r.Minor) + " " + r.Access
}

func (a *JoinCgroups) String() string {
	names := make([]string, len(a.Hierarchies))
	for i, h := range a.Hierarchies {
		c := Cgroup{Hierarchy: h}
		names[i] = c.Title()
	}
	return "join cgroups " + strings.Join(names, " ")
}
