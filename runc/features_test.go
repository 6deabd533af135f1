package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
	"github.com/gantry-containers/gantry/libcontainer/plan"
)

func TestMountOptionsAreSorted(t *testing.T) {
	if all := mountOptions(); !slices.IsSorted(all) || len(slices.Compact(slices.Clone(all))) != len(all) {
		t.Errorf("not sorted, or twice: %v", all)
	}
}

// TestMountOptionsAreTrue plans a mount with each option: one that the runtime knows is
// not passed on to the file system, and not refused.
func TestMountOptionsAreTrue(t *testing.T) {
	for _, option := range mountOptions() {
		if passed, err := planMount(option); err != nil || passed {
			t.Errorf("%s: passed on to the file system: %v, error: %v", option, passed, err)
		}
	}
	if passed, err := planMount("size=1k"); err != nil || !passed {
		t.Errorf("an option of tmpfs: passed on %v, error %v", passed, err)
	}
}

// TestMissingMountOptionsAreMissing holds the list complete: what runc has and the plan
// implements must be in it.
func TestMissingMountOptionsAreMissing(t *testing.T) {
	for _, option := range []string{"acl", "noacl"} {
		if passed, err := planMount(option); err == nil && !passed {
			t.Errorf("%s works: add it", option)
		}
	}
}

// able is a machine and user that can have every feature.
func able() *host.Facts {
	return &host.Facts{
		Kernel:  host.Version{Major: 6, Minor: 1},
		LSM:     host.LSM{AppArmor: true, SELinux: true},
		Resctrl: "/sys/fs/resctrl",
		Cgroup: host.Cgroup{Mode: host.CgroupV2, Hierarchies: []host.Hierarchy{
			{Mount: "/sys/fs/cgroup", Own: "/", Controllers: []string{"memory", "rdma"}},
		}},
	}
}

// TestFeaturesAreTrue plans a container for each claim: what features says is there must
// come to an operation with that text, and what is not there to an error.
func TestFeaturesAreTrue(t *testing.T) {
	l := featureList().Linux
	mappings := []specs.LinuxIDMapping{{HostID: 1, Size: 1}}
	for text, feature := range map[string]struct {
		claim *bool
		ask   func(*specs.Spec)
	}{
		"AppArmor profile p":                   {l.Apparmor.Enabled, func(s *specs.Spec) { s.Process.ApparmorProfile = "p" }},
		"SELinux label u:r:t:s0":               {l.Selinux.Enabled, func(s *specs.Spec) { s.Process.SelinuxLabel = "u:r:t:s0" }},
		"find resctrl group /sys/fs/resctrl/c": {l.IntelRdt.Enabled, func(s *specs.Spec) { s.Linux.IntelRdt = &specs.LinuxIntelRdt{ClosID: "c"} }},
		"write L3:0=f": {l.IntelRdt.Schemata, func(s *specs.Spec) {
			s.Linux.IntelRdt = &specs.LinuxIntelRdt{ClosID: "c", Schemata: []string{"L3:0=f"}}
		}},
		"make its monitoring group": {l.IntelRdt.Monitoring, func(s *specs.Spec) {
			s.Linux.IntelRdt = &specs.LinuxIntelRdt{ClosID: "c", EnableMonitoring: true}
		}},
		"eth7": {l.NetDevices.Enabled, func(s *specs.Spec) {
			s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"eth7": {}}
		}},
		"bind /m on /m, map the owners": {l.MountExtensions.IDMap.Enabled, func(s *specs.Spec) {
			s.Mounts = []specs.Mount{{
				Destination: "/m", Source: "/m", Options: []string{"bind", "idmap"}, UIDMappings: mappings, GIDMappings: mappings,
			}}
		}},
		"write mlx5 hca_handle=1": {l.Cgroup.Rdma, func(s *specs.Spec) {
			n := uint32(1)
			s.Linux.Resources = &specs.LinuxResources{Rdma: map[string]specs.LinuxRdma{"mlx5": {HcaHandles: &n}}}
		}},
	} {
		t.Run(text, func(t *testing.T) {
			spec := exampleSpec()
			feature.ask(spec)
			p, err := plan.Create(&plan.Input{Spec: spec, Facts: able(), ID: "c", Bundle: "/b", Rootfs: "/b/r"})
			found := err == nil && slices.ContainsFunc(p.Ops, func(op plan.Op) bool { return strings.Contains(op.Do.String(), text) })
			if found != *feature.claim {
				t.Errorf("features says %v, but the plan has it: %v, %v", *feature.claim, found, err)
			}
		})
	}
}

// TestMemoryPolicyIsTrue plans each mode and flag that features lists.
func TestMemoryPolicyIsTrue(t *testing.T) {
	list := featureList().Linux.MemoryPolicy
	for _, mode := range list.Modes {
		for _, flag := range list.Flags {
			spec := exampleSpec()
			spec.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{
				Mode: specs.MemoryPolicyModeType(mode), Nodes: "0", Flags: []specs.MemoryPolicyFlagType{specs.MemoryPolicyFlagType(flag)},
			}
			p, err := plan.Create(&plan.Input{Spec: spec, Facts: able(), ID: "c", Bundle: "/b", Rootfs: "/b/r"})
			if err != nil || !slices.ContainsFunc(p.Ops, func(op plan.Op) bool { return op.Field == "linux.memoryPolicy" }) {
				t.Errorf("%s with %s is not in the plan: %v", mode, flag, err)
			}
		}
	}
}

// planMount reports whether the option ends in the data for the file system.
func planMount(option string) (passed bool, err error) {
	spec := exampleSpec()
	spec.Mounts = []specs.Mount{{Destination: "/m", Type: "tmpfs", Source: "/m", Options: []string{option}}}
	p, err := plan.Create(&plan.Input{Spec: spec, Facts: &host.Facts{Kernel: able().Kernel, Cgroup: host.Cgroup{Mode: host.CgroupNone}, UID: 1}, ID: "c", Bundle: "/b", Rootfs: "/b/r"})
	if err != nil {
		return false, err
	}
	for i := range p.Ops {
		if m, ok := p.Ops[i].Do.(*plan.Mount); ok && slices.Contains(strings.Split(m.Data, ","), option) {
			passed = true
		}
	}
	return passed, nil
}
