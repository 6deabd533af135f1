package plan

import (
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Labelled reports whether a config names a profile or a label, and a plan for it needs
// to know Facts.LSM.
func Labelled(p *specs.Process, l *specs.Linux) bool {
	return p.ApparmorProfile != "" || p.SelinuxLabel != "" || l != nil && l.MountLabel != ""
}

// checkLabels refuses what no security module of this machine can do: a process that was
// to be confined must not run without.
func (c *compiler) checkLabels() {
	const noSELinux = "asks for a SELinux label, but SELinux is not enabled on this machine"
	if c.proc.ApparmorProfile != "" && !c.Facts.LSM.AppArmor {
		c.fail("process.apparmorProfile", "asks for a profile, but AppArmor is not enabled on this machine")
	}
	if c.proc.SelinuxLabel != "" && !c.Facts.LSM.SELinux {
		c.fail("process.selinuxLabel", noSELinux)
	}
	if c.linux.MountLabel != "" && !c.Facts.LSM.SELinux {
		c.fail("linux.mountLabel", noSELinux)
	}
}

// labels has the program confined when it is executed. The kernel changes the thread that
// executes, and lets no_new_privs forbid a change, so it is asked for before that is set.
func (c *compiler) labels() {
	if p := c.proc.ApparmorProfile; p != "" {
		c.add(Child, "process.apparmorProfile", &ChangeProfile{Profile: p})
	}
	if l := c.proc.SelinuxLabel; l != "" {
		c.add(Child, "process.selinuxLabel", &SetExecLabel{Label: l})
	}
}

// mountLabel is how the root of a new file system, and all in it, gets linux.mountLabel:
// by an option in data, or for mqueue, which has none, by an operation of its own. What
// shows the kernel's own objects has labels from the policy, and a bind mount has those of
// its files.
func (c *compiler) mountLabel(fsType, data string) (withLabel string, byAttribute bool) {
	label := c.linux.MountLabel
	switch {
	case label == "" || fsType == "proc" || fsType == "sysfs":
		return data, false
	case fsType == "mqueue":
		return data, true
	}
	for option := range strings.SplitSeq(data, ",") {
		if strings.HasPrefix(option, "context=") {
			return data, false // the mount's own goes before the container's
		}
	}
	option := `context="` + label + `"`
	if data == "" {
		return option, false
	}
	return data + "," + option, false
}
