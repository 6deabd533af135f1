package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// treeTop is where the tree stands in the machine.
const treeTop = "/gantry"

// slow is how many times longer than on the developer's machine a test may wait.
const slow = "5"

// boot is one machine and what is run in it.
type boot struct {
	name     string
	options  []string // of hack/vm
	has      []string // what tests may rely on: see harness.Need
	packages []string
	pattern  string // of go test -run
	skip     string // of go test -skip
}

var v2Controllers = []string{
	"controller:cpuset", "controller:cpu", "controller:io", "controller:memory",
	"controller:hugetlb", "controller:pids", "controller:rdma", "controller:misc",
}

// boots are as few as the features allow: systemd and a bare cgroup tree exclude each
// other, and so do AppArmor and SELinux.
var boots = []boot{
	{
		name: "cgroup2",
		options: []string{
			"--qemu", "-object memory-backend-ram,id=m0,size=1G -object memory-backend-ram,id=m1,size=1G" +
				" -numa node,cpus=0,memdev=m0 -numa node,cpus=1,memdev=m1",
		},
		has: append([]string{"cgroup2", "apparmor", "numa", "criu", "psi", "sysresource"}, v2Controllers...),
		packages: []string{
			"libcontainer", "libcontainer/cgroup", "libcontainer/host", "libcontainer/launch",
			"libcontainer/procfs", "libcontainer/state",
			"tests/root", "tests/attack", "tests/badinput", "tests/cli",
		},
		// The last two read the source.
		skip: "^(TestSystemd|TestSELinux|TestEveryOperationIsCarriedOut$|TestExecPlansArePerformed$)",
	},
	{
		name:     "systemd",
		options:  []string{"--init", "systemd", "--append", "security=selinux selinux=1 enforcing=0"},
		has:      append([]string{"cgroup2", "systemd", "selinux", "criu", "psi", "sysresource"}, v2Controllers...),
		packages: []string{"tests/root"},
		pattern:  "^(TestSystemd|TestSELinux|TestCgroup|TestUnified)",
	},
}

func bootNames() []string {
	var names []string
	for i := range boots {
		names = append(names, boots[i].name)
	}
	return names
}

// choose narrows the boots down to what the command line asks for.
func choose(only, run, packages string) []boot {
	var list []boot
	for _, b := range boots {
		if only != "" && b.name != only {
			continue
		}
		if run != "" {
			b.pattern = run
		}
		if packages != "" {
			b.packages = strings.Split(packages, ",")
		}
		list = append(list, b)
	}
	return list
}

// packagesOf lists every package once.
func packagesOf(list []boot) []string {
	var all []string
	for i := range list {
		all = append(all, list[i].packages...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// script is the command that runs in the machine. test2json writes one line of JSON for
// each event of a test.
func (b *boot) script() string {
	var s strings.Builder
	for _, p := range b.packages {
		fmt.Fprintf(&s, "cd %s/%s && test2json -t -p %s $PWD/vm.test -test.v=test2json -test.timeout=40m -test.run='%s' -test.skip='%s' </dev/null\n",
			treeTop, p, p, b.pattern, b.skip)
	}
	return s.String()
}

// run boots the machine and reads what its tests say.
func (b *boot) run(ctx context.Context, vm, stage string) (*results, error) {
	r := &results{boot: b.name, out: os.Stdout, began: time.Now()}
	args := append(slices.Clone(b.options), "--timeout", "90m", "--add", stage+":"+treeTop, "--", "env",
		"PATH="+treeTop+"/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"GANTRY_VM_HAS="+strings.Join(b.has, " "), "GANTRY_TEST_SLOW="+slow,
		"GANTRY_PREBUILT="+treeTop+"/prebuilt", "sh", "-c", b.script())
	cmd := exec.CommandContext(ctx, vm, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // so that it ends qemu
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	readErr := r.read(out)
	r.exit = cmd.Wait()
	r.took = time.Since(r.began)
	return r, readErr
}
