// Command suite runs the whole-system tests in virtual machines that have what the
// developer's machine may lack: `make vm-test`. The machines are hack/vm's.
//
// The tests are compiled here, and run there as they are: a machine has this tree's
// go.mod, bin/runc, hack/make-bundle and test data, and no Go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	boots := flag.String("boot", "", "boot these machines only, separated by commas: "+strings.Join(bootNames(), ", "))
	run := flag.String("run", "", "run the tests that match, instead of the boot's own choice")
	packages := flag.String("packages", "", "run the tests of these packages only, separated by commas")
	quick := flag.Bool("quick", false, "run a choice of tests that takes some minutes, in all boots but clients")
	jobs := flag.Int("jobs", 1, "boot this many machines at the same time; each keeps one CPU busy")
	events := flag.String("events", os.DevNull, "append what test2json says in every boot to this `file`")
	kernel := flag.String("kernel", "", "boot the kernel of this Debian package, and demand nothing that it may lack")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	c := choice{boots: commas(*boots), packages: commas(*packages), run: *run, quick: *quick, kernel: *kernel}
	ok, err := c.runAll(ctx, *jobs, *events)
	if err != nil {
		fmt.Fprintln(os.Stderr, "vm-test:", err)
	}
	if err != nil || !ok {
		stop()
		os.Exit(1)
	}
}

func commas(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}

// runAll runs the boots, jobs of them at a time, and says whether all went well.
func (c *choice) runAll(ctx context.Context, jobs int, eventsFile string) (ok bool, err error) {
	list, err := c.choose()
	if err != nil {
		return false, err
	}
	top, err := os.Getwd()
	if err != nil {
		return false, err
	}
	events, err := os.OpenFile(eventsFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return false, err
	}
	defer events.Close()
	stage, err := os.MkdirTemp("", "gantry-vm-test-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(stage)
	if err := os.Chmod(stage, 0o755); err != nil { // the tests run programs in it as other users
		return false, err
	}
	began := time.Now()
	if err := (&staging{ctx: ctx, top: top, stage: stage}).fill(packagesOf(list)); err != nil {
		return false, err
	}
	fmt.Fprintf(os.Stderr, "compiled in %v\n", time.Since(began).Round(time.Second))
	all, errs := make([]*results, len(list)), make([]error, len(list))
	slots := make(chan struct{}, max(jobs, 1))
	var running sync.WaitGroup
	for i := range list {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			if all[i], errs[i] = list[i].try(ctx, top, stage, events); errs[i] != nil {
				errs[i] = fmt.Errorf("boot %s: %w", list[i].name, errs[i])
			}
		})
	}
	running.Wait()
	if err := errors.Join(errs...); err != nil {
		return false, err
	}
	return summarize(os.Stdout, all), nil
}
