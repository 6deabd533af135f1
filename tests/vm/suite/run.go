package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// treeTop is where the tree stands in the machine.
const treeTop = "/gantry"

// slow is how many times longer than on the developer's machine a test may wait.
const slow = "5"

// clientsDir is where hack/install-clients puts what it builds.
const clientsDir = ".tools/clients"

// script is the command that runs in the machine. test2json writes one line of JSON for
// each event of a test.
func (b *boot) script() string {
	var s strings.Builder
	for _, w := range b.work {
		fmt.Fprintf(&s, "cd %s/%s && test2json -t -p %s $PWD/vm.test -test.v=test2json -test.timeout=40m -test.run='%s' -test.skip='%s' </dev/null\n",
			treeTop, w.name, w.name, w.run, w.skip)
	}
	return s.String()
}

// arguments are hack/vm's.
func (b *boot) arguments(top, stage string) []string {
	args := append(slices.Clone(b.options), "--timeout", "90m", "--add", stage+":"+treeTop)
	environment := []string{
		"PATH=" + treeTop + "/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"GANTRY_VM_HAS=" + strings.Join(b.has, " "), "GANTRY_TEST_SLOW=" + slow,
		"GANTRY_PREBUILT=" + treeTop + "/prebuilt",
	}
	if b.clients {
		args = append(args, "--add", filepath.Join(top, clientsDir)+":"+filepath.Join(treeTop, clientsDir))
		environment = append(environment, "GANTRY_CLIENTS=installed")
	}
	args = append(append(args, "--", "env"), environment...)
	return append(args, "sh", "-c", b.script())
}

// run boots the machine and reads what its tests say. The events go to a file, too, if there
// is one.
func (b *boot) run(ctx context.Context, top, stage string, events io.Writer) (*results, error) {
	r := &results{boot: b.name, out: os.Stdout, began: time.Now(), mayBeEmpty: b.mayBeEmpty, maySkip: b.maySkip}
	cmd := exec.CommandContext(ctx, filepath.Join(top, machineProgram), b.arguments(top, stage)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // so that it ends qemu
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	readErr := r.read(io.TeeReader(out, events))
	r.exit = cmd.Wait()
	r.took = time.Since(r.began)
	return r, readErr
}
