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
	for _, option := range []string{"acl", "noacl", "idmap", "ridmap", "tmpcopyup"} {
		if passed, err := planMount(option); err == nil && !passed {
			t.Errorf("%s works: add it", option)
		}
	}
}

// planMount reports whether the option ends in the data for the file system.
func planMount(option string) (passed bool, err error) {
	spec := exampleSpec()
	spec.Mounts = []specs.Mount{{Destination: "/m", Type: "tmpfs", Source: "/m", Options: []string{option}}}
	p, err := plan.Create(&plan.Input{Spec: spec, Facts: &host.Facts{Cgroup: host.Cgroup{Mode: host.CgroupNone}, UID: 1}, ID: "c", Bundle: "/b", Rootfs: "/b/r"})
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
