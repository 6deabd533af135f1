package plan

import (
	"errors"
	"path"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

// MountsInput is everything that decides how mounts of a running container change.
type MountsInput struct {
	Mounts []specs.Mount
	Config *specs.Spec // the container's
	Facts  *host.Facts
	Bundle string
	// Namespaces are the kinds in which the container's init differs from the runtime.
	Namespaces []string
	// UserNS is a path of the container's user namespace; "" when it has none of its own.
	UserNS string
	// HasCgroups says that there are cgroups of the container's own.
	HasCgroups bool
	// DenySetgroups is set where the container's user namespace denies setgroups(2).
	DenySetgroups bool
}

// AddMounts compiles the plan of a process that mounts in a running container. The container
// may be hostile: sources are opened before, on the host, and a destination that leads
// through a symlink is refused.
func AddMounts(in *MountsInput) (*Plan, error) {
	c := in.compiler()
	if c.Facts.Lacks(host.MountSetattr) {
		// Without it a mount has its attributes only when the container can reach it already.
		c.lacks("mounts", "mounting in a running container", host.MountSetattr)
	}
	c.openSources()
	c.enterMounts(in)
	if slices.ContainsFunc(in.Mounts, func(m specs.Mount) bool { return m.Type == "proc" }) && slices.Contains(in.Namespaces, "pid") {
		c.add(Child, "linux.namespaces", &Fork{}) // it shows the pid namespace of whoever mounts it
	}
	for i := range in.Mounts {
		c.addMount(i, &in.Mounts[i])
	}
	c.add(Child, "mounts", &Exit{})
	if len(c.errs) > 0 {
		return nil, errors.Join(c.errs...)
	}
	return &c.Plan, nil
}

// RemoveMounts compiles the plan of a process that unmounts in a running container; only the
// destinations count.
func RemoveMounts(in *MountsInput) *Plan {
	c := in.compiler()
	c.enterMounts(in)
	for i := range in.Mounts {
		c.add(Child, index("mounts", i)+".destination", &Unmount{Destination: path.Clean("/" + in.Mounts[i].Destination)})
	}
	c.add(Child, "mounts", &Exit{})
	return &c.Plan
}

func (in *MountsInput) compiler() *compiler {
	linux := specs.Linux{}
	if in.Config.Linux != nil {
		linux = *in.Config.Linux
	}
	linux.Namespaces = []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	if in.UserNS != "" {
		linux.Namespaces = append(linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: in.UserNS})
	}
	c := newCompiler(&Input{Spec: &specs.Spec{Mounts: in.Mounts, Linux: &linux}, Facts: in.Facts, Bundle: in.Bundle})
	c.everySource, c.hasCgroups = true, in.HasCgroups
	return c
}

// enterMounts makes a process in the container's namespaces, as exec does: without
// privilege, the right to seal its exe comes from the container's user namespace.
func (c *compiler) enterMounts(in *MountsInput) {
	c.add(Runtime, "mounts", &Clone{})
	c.add(Child, "mounts", &CloseFDs{})
	privileged := in.Facts.UID == 0
	if privileged {
		c.add(Child, "root", &SealExe{})
		c.add(Child, "process", &Undumpable{})
	}
	c.add(Child, "linux.namespaces", &JoinContainer{Types: in.Namespaces})
	if !privileged {
		c.add(Child, "root", &SealExe{})
		c.add(Child, "process", &Undumpable{})
	}
	if in.UserNS != "" {
		c.add(Child, "linux.uidMappings", &BecomeRoot{KeepGroups: in.DenySetgroups})
	}
	c.add(Child, "process", &SetUmask{Mask: 0})
}

func (c *compiler) addMount(i int, m *specs.Mount) {
	o := c.options[i]
	c.checkMount(i, m, &o)
	if !isBind(m, &o) {
		c.filesystem(i, m, &o, true)
		return
	}
	c.add(Child, index("mounts", i), &BindMount{
		Index: i, Destination: path.Clean("/" + m.Destination), Source: c.hostPath(m.Source), Recursive: o.recursive, Flags: o.flags,
		SourceNoFollow: o.sourceNoFollow, NoSymlinks: true,
	})
}
