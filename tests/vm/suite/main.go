// Command suite runs the whole-system tests in virtual machines that have what the
// developer's machine may lack: `make vm-test`. The machines are hack/vm's.
//
// The tests are compiled here, and run there as they are: a machine has this tree's
// go.mod, bin/runc, hack/make-bundle and test data, and no Go.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	only := flag.String("boot", "", "boot this machine only: "+strings.Join(bootNames(), ", "))
	run := flag.String("run", "", "run the tests that match, instead of the boot's own choice")
	packages := flag.String("packages", "", "run the tests of these packages only, separated by commas")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	ok, err := runAll(ctx, choose(*only, *run, *packages))
	if err != nil {
		fmt.Fprintln(os.Stderr, "vm-test:", err)
	}
	if err != nil || !ok {
		stop()
		os.Exit(1)
	}
}

// runAll runs the boots one after the other, and says whether all went well.
func runAll(ctx context.Context, list []boot) (ok bool, err error) {
	if len(list) == 0 {
		return false, fmt.Errorf("no such boot; there are: %s", strings.Join(bootNames(), ", "))
	}
	top, err := os.Getwd()
	if err != nil {
		return false, err
	}
	stage, err := os.MkdirTemp("", "gantry-vm-test-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(stage)
	if err := os.Chmod(stage, 0o755); err != nil { // the tests run programs in it as other users
		return false, err
	}
	s := &staging{ctx: ctx, top: top, stage: stage}
	began := time.Now()
	for _, p := range packagesOf(list) {
		if err := s.compile(p); err != nil {
			return false, err
		}
	}
	if err := s.addTree(); err != nil {
		return false, err
	}
	fmt.Fprintf(os.Stderr, "compiled in %v\n", time.Since(began).Round(time.Second))
	var all []*results
	for i := range list {
		r, err := list[i].run(ctx, filepath.Join(top, "hack", "vm"), stage)
		if err != nil {
			return false, fmt.Errorf("boot %s: %w", list[i].name, err)
		}
		all = append(all, r)
	}
	return summarize(os.Stdout, all), nil
}
