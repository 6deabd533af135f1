package cgroup

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// TestChangeDevicesGoesFromAnyRulesToAny tries all pairs on both versions.
func TestChangeDevicesGoesFromAnyRulesToAny(t *testing.T) {
	sets := map[string][]plan.DeviceRule{
		"read null": {denyAll, rule(true, 'c', 1, 3, "r")},
		"read null, write null, read+write null, read zero": {denyAll, rule(true, 'c', 1, 3, "rw"), rule(true, 'c', 1, 5, "r")},
		"write null, read full":                             {denyAll, rule(true, 'c', 1, 3, "w"), rule(true, 'c', 1, 7, "r")},
		"":                                                  {denyAll},
		"read null, write null, read+write null, read zero, read full, mknod zero, mknod null": {allowAll, rule(false, 'c', 1, 5, "w")},
	}
	for _, hierarchy := range []string{"devices", ""} {
		for from, old := range sets {
			for to, rules := range sets {
				t.Run(hierarchy+"/"+from+" to "+to, func(t *testing.T) {
					s := create(t, hierarchy)
					if err := s.SetDevices(old); err != nil {
						t.Fatal(err)
					}
					if err := s.ChangeDevices(rules); err != nil {
						t.Fatal(err)
					}
					if got := access(t, s); got != to {
						t.Errorf("allowed %q, want %q", got, to)
					}
				})
			}
		}
	}
}

// TestChangeDevicesNeverTakesWhatStays watches a device that old and new rules allow.
func TestChangeDevicesNeverTakesWhatStays(t *testing.T) {
	for _, hierarchy := range []string{"devices", ""} {
		t.Run(hierarchy, func(t *testing.T) {
			s := create(t, hierarchy)
			old := []plan.DeviceRule{denyAll, rule(true, 'c', 1, 3, "rwm"), rule(true, 'c', 1, 5, "rwm"), rule(true, 'c', 1, 7, "rwm")}
			rules := []plan.DeviceRule{denyAll, rule(true, 'c', 1, 7, "rwm"), rule(true, 'c', 1, 8, "rwm"), rule(true, 'c', 1, 3, "r")}
			if err := s.SetDevices(old); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("sh", "-c", `while [ ! -e "$1" ]; do : </dev/null || { echo lost; exit 1; }; done`, "sh", t.TempDir()+"/end")
			stop := cmd.Args[len(cmd.Args)-1]
			start(t, s, cmd)
			for i := range 200 {
				if err := s.ChangeDevices([][]plan.DeviceRule{rules, old}[i%2]); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(stop, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("a device that stays allowed was denied for a moment: %v", err)
			}
		})
	}
}

// TestChangeDevicesThatFailsLeavesTheOldRules: v1 grants a cgroup nothing that its parent has not.
func TestChangeDevicesThatFailsLeavesTheOldRules(t *testing.T) {
	parent := create(t, "devices")
	if err := parent.SetDevices([]plan.DeviceRule{denyAll, rule(true, 'c', 1, 3, "rwm"), rule(true, 'c', 1, 5, "r")}); err != nil {
		t.Fatal(err)
	}
	child := &Set{groups: slices.Clone(parent.groups)}
	child.groups[0].dir += "/below"
	if err := unix.Mkdir(child.groups[0].dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := child.ChangeDevices([]plan.DeviceRule{denyAll, rule(true, 'c', 1, 3, "r")}); err != nil {
		t.Fatal(err)
	}
	err := child.ChangeDevices([]plan.DeviceRule{denyAll, rule(true, 'c', 1, 5, "r"), rule(true, 'c', 1, 9, "r")})
	if !errors.Is(err, unix.EPERM) {
		t.Errorf("more than the parent has: %v", err)
	}
	if got := access(t, child); got != "read null" {
		t.Errorf("allowed %q after a change that failed", got)
	}
}

func TestParseDeviceList(t *testing.T) {
	rules, err := parseDeviceList("c 1:3 rwm\nb *:* m\nc 136:* rw\n")
	want := []plan.DeviceRule{rule(true, 'c', 1, 3, "rwm"), rule(true, 'b', -1, -1, "m"), rule(true, 'c', 136, -1, "rw")}
	if err != nil || !slices.Equal(rules, want) {
		t.Errorf("%v, %v", rules, err)
	}
	for _, bad := range []string{"x", "c 1 r", "c 1:x r", "p 1:3 r"} {
		if _, err := parseDeviceList(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
