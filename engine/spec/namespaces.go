package spec

import (
	"path"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/engine/idmap"
)

// namespaces says of which kinds the container gets its own, and whose it joins.
func namespaces(in *Input, s *specs.Spec) error {
	c, hc := in.Container, in.Container.HostConfig
	add := func(t specs.LinuxNamespaceType, own, join bool) error {
		if !own && !join {
			return nil
		}
		ns := specs.LinuxNamespace{Type: t}
		if join {
			var err error
			if ns.Path, err = in.joined(t); err != nil {
				return err
			}
		}
		s.Linux.Namespaces = append(s.Linux.Namespaces, ns)
		return nil
	}
	// A network that is there already has a path, whatever the mode says.
	net := in.Namespaces[specs.NetworkNamespace] != ""
	for _, n := range []struct {
		kind      specs.LinuxNamespaceType
		own, join bool
	}{
		{specs.MountNamespace, true, false},
		{specs.NetworkNamespace, c.Config.NetworkDisabled || !hc.NetworkMode.IsHost(), net || hc.NetworkMode.IsContainer() && !c.Config.NetworkDisabled},
		{specs.TimeNamespace, timeNamespace(in), false},
		{specs.UTSNamespace, !hc.UTSMode.IsHost(), false},
		{specs.PIDNamespace, !hc.PidMode.IsHost(), hc.PidMode.IsContainer()},
		{specs.IPCNamespace, !hc.IpcMode.IsHost(), hc.IpcMode.IsContainer()},
		{specs.UserNamespace, !c.IDs.Empty(), in.Namespaces[specs.UserNamespace] != ""},
		{specs.CgroupNamespace, hc.CgroupnsMode.IsPrivate(), false},
	} {
		if err := add(n.kind, n.own, n.join); err != nil {
			return err
		}
	}
	s.Linux.UIDMappings, s.Linux.GIDMappings = idmap.Specs(c.IDs.UIDMaps), idmap.Specs(c.IDs.GIDMaps)
	if hc.UTSMode.IsHost() {
		s.Hostname = ""
	}
	return nil
}

// timeNamespace says whether the container gets its own clocks' offsets (all zero): where the kernel and the runtime
// know them, as dockerd does.
func timeNamespace(in *Input) bool {
	return in.Facts.TimeNamespace && in.Features != nil && in.Features.Linux != nil &&
		slices.Contains(in.Features.Linux.Namespaces, string(specs.TimeNamespace))
}

// cgroupsPath is where the container's cgroup goes: a path below the root of the hierarchies, or slice:prefix:name.
func cgroupsPath(in *Input) string {
	parent := in.Container.HostConfig.CgroupParent
	if parent == "" {
		parent = in.Defaults.CgroupParent
	}
	if in.Facts.SystemdCgroup {
		if parent == "" {
			parent = "system.slice"
		}
		return parent + ":docker:" + in.Container.ID
	}
	if parent == "" {
		parent = "/docker"
	}
	return path.Join(parent, in.Container.ID)
}
