package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Feature is something that not every machine has and a test can't do without. The name is
// what $GANTRY_VM_HAS promises it by.
type Feature string

// The features that tests ask for.
const (
	CgroupV2    Feature = "cgroup2"     // cgroup v2 alone, as /sys/fs/cgroup
	Systemd     Feature = "systemd"     // as process 1
	AppArmor    Feature = "apparmor"    // active, and securityfs mounted
	SELinux     Feature = "selinux"     // active, enforcing or not
	NUMA        Feature = "numa"        // more than one memory node
	CRIU        Feature = "criu"        // installed, and content with the kernel
	PSI         Feature = "psi"         // pressure stall information
	SysResource Feature = "sysresource" // CAP_SYS_RESOURCE: hard limits can be raised
)

// Controller is the feature of having this controller in the root of cgroup v2.
func Controller(name string) Feature { return Feature("controller:" + name) }

// probes say why the machine lacks a feature, or nothing.
var probes = map[Feature]func() error{
	CgroupV2: probeCgroupV2,
	// sd_booted(3)
	Systemd:     func() error { return probeFile("/run/systemd/system") },
	AppArmor:    func() error { return probeFile("/sys/kernel/security/apparmor/profiles") },
	SELinux:     func() error { return probeFile("/sys/fs/selinux/enforce") },
	NUMA:        func() error { return probeFile("/sys/devices/system/node/node1") },
	CRIU:        probeCRIU,
	PSI:         func() error { return probeFile("/proc/pressure/memory") },
	SysResource: probeSysResource,
}

// Need skips the test on a machine that lacks one of the features. Where $GANTRY_VM_HAS
// promises the feature (make vm-test sets it), the lack is a failure instead: a test that
// is always skipped proves nothing.
func Need(t testing.TB, features ...Feature) {
	t.Helper()
	for _, f := range features {
		if err := f.Probe(); err != nil {
			Lacks(t, f, err.Error())
		}
	}
}

// Lacks ends a test that has found out itself that the machine lacks a feature: it is
// skipped, or fails where the feature is promised.
func Lacks(t testing.TB, f Feature, why string) {
	t.Helper()
	if slices.Contains(strings.Fields(os.Getenv("GANTRY_VM_HAS")), string(f)) {
		t.Fatalf("this machine promises %s: %s", f, why)
	}
	t.Skipf("needs %s: %s", f, why)
}

// Probe says why the machine lacks the feature, or nothing.
func (f Feature) Probe() error {
	if name, ok := strings.CutPrefix(string(f), "controller:"); ok {
		return probeController(name)
	}
	probe, ok := probes[f]
	if !ok {
		return fmt.Errorf("no such feature: %q", string(f))
	}
	return probe()
}

func probeFile(name string) error {
	_, err := os.Stat(name)
	return err
}

func probeCgroupV2() error {
	var st unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &st); err != nil {
		return err
	}
	if st.Type != unix.CGROUP2_SUPER_MAGIC {
		return errors.New("/sys/fs/cgroup is not cgroup v2")
	}
	return nil
}

func probeController(name string) error {
	if err := probeCgroupV2(); err != nil {
		return err
	}
	b, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	if err == nil && !slices.Contains(strings.Fields(string(b)), name) {
		err = fmt.Errorf("not among the controllers %q", strings.TrimSpace(string(b)))
	}
	return err
}

func probeCRIU() error {
	if out, err := exec.Command("criu", "check").CombinedOutput(); err != nil {
		return fmt.Errorf("criu check: %w: %s", err, out)
	}
	return nil
}

func probeSysResource() error {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(string(b), "\nCapEff:")
	digits, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
	caps, err := strconv.ParseUint(digits, 16, 64)
	if err == nil && caps&(1<<unix.CAP_SYS_RESOURCE) == 0 {
		err = errors.New("CAP_SYS_RESOURCE is not among the effective capabilities")
	}
	return err
}

// Until asks every 20 ms whether something is so, and gives up after Limit(d).
func Until(d time.Duration, so func() bool) bool {
	for end := time.Now().Add(Limit(d)); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// Limit is when a test gives up on what takes d at most on a machine that is not slow: four times Slow(d), as CI's
// machines have neighbours. It costs nothing where nothing fails.
func Limit(d time.Duration) time.Duration { return 4 * Slow(d) }

// Slow is how long a test should let something go on that takes d on a fast machine: d, times Slowness.
func Slow(d time.Duration) time.Duration { return time.Duration(float64(d) * Slowness()) }

// Slowness is $GANTRY_TEST_SLOW, or 1. A machine without KVM is slower by a factor of ten. A
// test that does the same thing very often may divide by it.
func Slowness() float64 {
	if factor, err := strconv.ParseFloat(os.Getenv("GANTRY_TEST_SLOW"), 64); err == nil && factor > 1 {
		return factor
	}
	return 1
}
