package main

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// boot is one machine and what is run in it.
type boot struct {
	name    string
	options []string // of hack/vm
	has     []string // what tests may rely on: see harness.Need
	clients bool     // it has the programs that people run above runc
	work    []work

	mayBeEmpty bool // it is no failure when a package has no test that matches
	maySkip    bool // any test may be skipped: the kernel is another one
}

// work is a package whose tests a boot runs, and which of them: patterns of go test.
type work struct {
	name      string
	run, skip string
	quick     string // what -quick runs of it in run's place; if empty, nothing
}

// Tests that need one of the boots find it by their names, most of them.
const (
	ofSystemd        = "^(TestSystemd|TestSELinux)"
	ofAppArmor       = "^TestAppArmor"
	attacksOnProfile = "^(TestAProfile|TestCVE_2019_16884_An|TestCVE_2019_19921_A|TestCVE_2025_52881_Exec)"
	// These read or compile source, and there is none in the machine.
	ofSource = "^(TestEveryOperationIsCarriedOut|TestExecPlansArePerformed|TestProgramWithCgoIsRefused|TestEveryMountOptionOfTheSpecHasARow)$"
)

var v2Controllers = []string{
	"controller:cpuset", "controller:cpu", "controller:io", "controller:memory",
	"controller:hugetlb", "controller:pids", "controller:rdma", "controller:misc",
}

// everywhere is what every boot has.
var everywhere = append([]string{"cgroup2", "criu", "psi", "sysresource"}, v2Controllers...)

// boots are as few as the features allow: systemd and a bare cgroup tree exclude each
// other, and so do AppArmor and SELinux.
var boots = []boot{
	{
		name: "cgroup2",
		options: []string{
			"--append", "lsm=landlock,yama", // neither AppArmor nor SELinux: without one, Debian's kernel takes the other
			"--qemu", "-object memory-backend-ram,id=m0,size=1G -object memory-backend-ram,id=m1,size=1G" +
				" -numa node,cpus=0,memdev=m0 -numa node,cpus=1,memdev=m1",
		},
		has: append([]string{"numa"}, everywhere...),
		work: []work{
			{name: "libcontainer"},
			{name: "libcontainer/cgroup", quick: "."},
			{name: "libcontainer/host", quick: "."},
			{name: "libcontainer/launch", skip: ofSource},
			{name: "libcontainer/procfs"},
			{name: "libcontainer/state"},
			{name: "tests/root", skip: ofSystemd + "|" + ofAppArmor + "|" + ofSource, quick: quickRoot},
			{name: "tests/attack", skip: attacksOnProfile, quick: quickAttack},
			{name: "tests/badinput", quick: quickBadInput},
			{name: "tests/cli"},
		},
	},
	{
		name:    "apparmor",
		options: []string{"--append", "apparmor=1 security=apparmor"},
		has:     append([]string{"apparmor"}, everywhere...),
		work: []work{
			{name: "libcontainer/host", run: "LSM", quick: "LSM"},
			{name: "tests/root", run: ofAppArmor, quick: ofAppArmor},
			{name: "tests/attack", run: attacksOnProfile + "|NoModuleNoStart", quick: attacksOnProfile},
		},
	},
	{
		name:    "systemd",
		options: []string{"--init", "systemd", "--append", "security=selinux selinux=1 enforcing=0"},
		has:     append([]string{"systemd", "selinux"}, everywhere...),
		work: []work{
			{name: "tests/root", run: ofSystemd + "|^TestCgroup|^TestUnified", quick: quickSystemd},
		},
	},
	{
		name:    "clients",
		options: []string{"--init", "systemd", "--image", "clients"},
		has:     append([]string{"systemd", "apparmor"}, everywhere...),
		clients: true,
		work:    clientWork(),
	},
}

// What -quick runs: of every part of the runtime whose work differs between machines some
// tests. The developer's machine runs the rest.
const (
	// Life cycle, cgroup v2's controllers, OOM, devices, what CAP_SYS_RESOURCE gives, CRIU.
	quickRoot = "^(TestLifecycle|TestDeleteForce|TestTerminal$|TestHooks$|TestExecIsInTheContainer|" +
		"TestCgroup|TestEveryLimit|TestResources|TestUnified|TestHugetlb|TestRdma|TestCPU|TestMisc|" +
		"TestMemoryLimitHolds|TestPidsLimitHolds|TestUpdate|TestEvents|TestPSI|TestOOM|TestPause|TestDevice|" +
		"TestExecCgroup|TestRootlessInADelegated|TestRlimit|TestScheduler|TestLimitsBeyond|TestMemoryPolicy|" +
		"TestNoAppArmor|TestNoSELinux|TestNoSystemd|TestCheckpointLeaveRunning|TestRestoreGoesOn|TestRestoreSetsCgroupLimits)"
	quickAttack   = "^(TestCVE_2024_21626|TestCVE_2019_5736|TestGHSA|TestCVE_2025_31133|TestCVE_2021_30465|TestCVE_2023_25809|TestCVE_2026_41579)"
	quickBadInput = "^(TestACgroup|TestCgroups|TestAPids|TestAMemory|TestALimit)"
	quickSystemd  = "^(TestSystemd|TestSELinuxProcessLabel)"
)

// clientWork is every package of tests/compat, the shim under the oldest containerd and the newest, and our manager under its
// clients. What it does with its directories (tests/manager/disk, tests/manager/takeover) is the same on every machine.
func clientWork() []work {
	files, _ := filepath.Glob("tests/compat/*/*_test.go")
	list := []work{
		{name: "tests/shim", run: "^(TestMatrix|TestUpgrade|TestSystemd)$/^(1.6|2.4|systemd)$"},
		{name: "tests/manager"},
		{name: "tests/manager/docker"},
		{name: "tests/manager/buildkit"},
	}
	for _, f := range files {
		list = append(list, work{name: path.Dir(f)})
	}
	return slices.Compact(list)
}

func bootNames() []string {
	var names []string
	for i := range boots {
		names = append(names, boots[i].name)
	}
	return names
}

// choice is what the command line asks for.
type choice struct {
	boots, packages []string // all, if empty
	run             string   // instead of the boots' own patterns
	quick           bool
	kernel          string // file of a Debian package to boot instead; nothing is demanded of it
}

// choose narrows the boots down. A boot that has nothing left to run stays out, unless it
// was asked for by its name.
func (c *choice) choose() ([]boot, error) {
	var list []boot
	for _, name := range c.boots {
		if !slices.Contains(bootNames(), name) {
			return nil, fmt.Errorf("no boot is called %q; there are: %s", name, strings.Join(bootNames(), ", "))
		}
	}
	for _, b := range boots {
		named := slices.Contains(c.boots, b.name)
		if len(c.boots) > 0 && !named {
			continue
		}
		b.work, b.mayBeEmpty = c.narrow(b.work, named), c.run != ""
		if c.kernel != "" {
			b.options, b.has, b.maySkip = append(slices.Clone(b.options), "--kernel", c.kernel), nil, true
		}
		if len(b.work) > 0 {
			list = append(list, b)
		} else if named {
			return nil, fmt.Errorf("boot %s has nothing to run", b.name)
		}
	}
	if len(list) == 0 {
		return nil, errors.New("no boot has anything to run")
	}
	return list, nil
}

// narrow returns what is left of a boot's work. Packages that were named need not be those
// of a boot that was named.
func (c *choice) narrow(all []work, named bool) []work {
	list := slices.Clone(all)
	if len(c.packages) > 0 {
		list = c.named(all, named)
	}
	if c.quick {
		list = slices.DeleteFunc(list, func(w work) bool { return w.quick == "" })
	}
	for i := range list {
		if c.quick {
			list[i].run = list[i].quick
		}
	}
	if c.run != "" {
		for i := range list {
			list[i].run, list[i].skip = c.run, ""
		}
	}
	return list
}

func (c *choice) named(all []work, others bool) []work {
	var list []work
	for _, name := range c.packages {
		of := slices.DeleteFunc(slices.Clone(all), func(w work) bool { return w.name != name })
		if len(of) == 0 && others {
			of = []work{{name: name, quick: "."}}
		}
		list = append(list, of...)
	}
	return list
}

// packagesOf lists every package once.
func packagesOf(list []boot) []string {
	var all []string
	for i := range list {
		for _, w := range list[i].work {
			all = append(all, w.name)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
