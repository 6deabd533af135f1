// Command conformance runs the validation programs of OCI runtime-tools against a runtime, and against a peer beside
// it, and prints one table.
//
//	go run ./tests/conformance -runtime bin/runc -peer /usr/sbin/runc [-only name,...] [-v]
//
// The programs are built from the Go module named in build.go and kept in a cache folder. They run in a mount
// namespace of their own, each under a supervisor that reports and removes what the program or the runtime leaves
// behind. The exit status is 1 when a program fails that known.txt doesn't list, or a listed one passes.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stageEnv tells a re-executed copy of this program which of its parts to play.
const stageEnv = "GANTRY_CONFORMANCE_STAGE"

type options struct {
	runtime     string
	peer        string
	only        []string
	known       string
	controllers []string
	timeout     time.Duration
	stock       bool
	verbose     bool
}

func main() {
	if os.Getenv(stageEnv) == "supervise" {
		os.Exit(supervise(os.Args[1:]))
	}
	opts, err := parseOptions()
	if err == nil {
		var ok bool
		if ok, err = stage(opts); err == nil && !ok {
			os.Exit(1)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(2)
	}
}

func parseOptions() (options, error) {
	var o options
	var only, controllers string
	flag.StringVar(&o.runtime, "runtime", "bin/runc", "runtime `path` to judge")
	flag.StringVar(&o.peer, "peer", "", "runtime `path` to run beside it (none when empty)")
	flag.StringVar(&only, "only", "", "run only these programs (`name,...`)")
	flag.StringVar(&o.known, "known", "tests/conformance/known.txt", "`file` of programs that can't pass")
	flag.StringVar(&controllers, "controllers", "",
		"mount these idle cgroup v1 controllers for the time of the run (`name,...`, such as net_cls,net_prio,hugetlb)")
	flag.DurationVar(&o.timeout, "timeout", time.Minute, "time for one program")
	flag.BoolVar(&o.stock, "stock", false, "leave the programs' faulty root file systems as they are (see repairs.go)")
	flag.BoolVar(&o.verbose, "v", false, "print the failing lines under each program")
	flag.Parse()
	o.only = splitList(only)
	o.controllers = splitList(controllers)
	if os.Geteuid() != 0 {
		return o, errors.New("the validation programs need root")
	}
	for _, path := range []*string{&o.runtime, &o.peer} {
		if *path == "" {
			continue
		}
		found, err := exec.LookPath(*path)
		if err != nil {
			return o, err
		}
		if *path, err = filepath.Abs(found); err != nil {
			return o, err
		}
	}
	return o, nil
}

func splitList(text string) []string {
	return slices.DeleteFunc(strings.Split(text, ","), func(s string) bool { return s == "" })
}

// stage builds the programs and runs them in a copy of this process that has a mount namespace of its own. It
// reports whether the results agree with the list of known failures.
func stage(opts options) (bool, error) {
	suite, err := prepareSuite()
	if err != nil {
		return false, err
	}
	if os.Getenv(stageEnv) == "run" {
		return run(opts, suite)
	}
	// The copy cleans up after a signal; this process has to outlive it. An interrupt at the terminal reaches both.
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	runtime.LockOSThread() // a parent-death signal follows the thread that started the child
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), stageEnv+"=run")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	if err = cmd.Start(); err != nil {
		return false, err
	}
	go passOn(stop, cmd.Process)
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ProcessState.Exited() {
		os.Exit(exit.ExitCode()) // the copy has said why
	}
	return err == nil, err
}

// passOn hands termination requests to the copy.
func passOn(stop <-chan os.Signal, copied *os.Process) {
	for sig := range stop {
		if sig == syscall.SIGTERM {
			_ = copied.Signal(sig) // it may have ended this moment
		}
	}
}

// run plays every wanted program against both runtimes and prints the table.
func run(opts options, suite *suite) (bool, error) {
	// Slave, so that nothing mounted by a runtime reaches the machine.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return false, fmt.Errorf("make / a slave mount: %w", err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	known, err := loadKnown(opts.known)
	if err != nil {
		return false, err
	}
	names, err := suite.selectPrograms(opts.only)
	if err != nil {
		return false, err
	}
	undo, err := mountControllers(opts.controllers)
	defer undo()
	if err != nil {
		return false, err
	}
	table := newTable(opts, known)
	table.header()
	for _, name := range names {
		ours, err := runProgram(suite, name, opts.runtime, opts, stop)
		if err != nil {
			return false, fmt.Errorf("%s: %w", name, err)
		}
		var peer *result
		if opts.peer != "" {
			if peer, err = runProgram(suite, name, opts.peer, opts, stop); err != nil {
				return false, fmt.Errorf("%s: %w", name, err)
			}
		}
		table.row(name, ours, peer)
	}
	return table.totals(), nil
}
