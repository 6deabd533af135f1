// Command bench compares the CPU time of a runtime with that of its peers, in pairs that run in turn on this machine.
//
//	go run ./tests/bench -runtime bin/runc -peers crun,runc -pairs 40
//
// Both sides of a pair do the same work on the same bundle, the side that begins alternates, and the answer is the
// median of the ratios pair by pair. The CPU time is that of the whole process tree: this program adopts container
// processes (PR_SET_CHILD_SUBREAPER) and counts what wait4 says of each. Nothing is asserted.
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

	"golang.org/x/sys/unix"
)

// stageEnv marks the re-executed copy that runs in its own mount namespace.
const stageEnv = "GANTRY_BENCH_STAGE"

// unifiedMount is where hybrid machines mount cgroup v2; crun refuses to work beside it.
const unifiedMount = "/sys/fs/cgroup/unified"

type options struct {
	ours    side
	peers   []side
	pairs   int
	cases   []string
	busybox string
}

// side is one runtime in the comparison.
type side struct {
	name string // as given on the command line
	path string
}

func main() {
	opts, err := parseOptions()
	if err == nil {
		if os.Getenv(stageEnv) == "" {
			err = isolate()
		} else {
			err = run(opts)
		}
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ProcessState.Exited() {
		os.Exit(exit.ExitCode()) // the copy has said why
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parseOptions() (options, error) {
	var o options
	var ours, peers, cases string
	flag.StringVar(&ours, "runtime", "bin/runc", "runtime `path` to measure")
	flag.StringVar(&peers, "peers", "crun,runc", "runtimes to measure it against (`path,...`)")
	flag.IntVar(&o.pairs, "pairs", 40, "pairs per case and peer")
	flag.StringVar(&cases, "cases", strings.Join(caseNames, ","), "what to measure (`name,...`)")
	flag.StringVar(&o.busybox, "busybox", "busybox", "static busybox for the root file system")
	flag.Parse()
	if os.Geteuid() != 0 {
		return o, errors.New("cgroups and mounts need root")
	}
	if o.pairs < 1 {
		return o, errors.New("-pairs: want at least 1")
	}
	o.cases = strings.Split(cases, ",")
	for _, name := range o.cases {
		if !slices.Contains(caseNames, name) {
			return o, fmt.Errorf("-cases: %q is none of %s", name, strings.Join(caseNames, ", "))
		}
	}
	var err error
	if o.ours, err = findSide(ours); err != nil {
		return o, err
	}
	for name := range strings.SplitSeq(peers, ",") {
		if name == "" {
			continue
		}
		peer, err := findSide(name)
		if err != nil {
			return o, err
		}
		o.peers = append(o.peers, peer)
	}
	return o, nil
}

func findSide(name string) (side, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	return side{name: name, path: path}, err
}

// isolate runs a copy of this program in a mount namespace of its own. A Go program has several threads and can't
// unshare for all of them, so the namespace is made with the copy.
func isolate() error {
	// The copy cleans up after a signal; this process has to outlive it. An interrupt at the terminal reaches both.
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	runtime.LockOSThread() // a parent-death signal follows the thread that started the child
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), stageEnv+"=run")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return err
	}
	go passOn(stop, cmd.Process)
	return cmd.Wait()
}

// passOn hands termination requests to the copy.
func passOn(stop <-chan os.Signal, copied *os.Process) {
	for sig := range stop {
		if sig == syscall.SIGTERM {
			_ = copied.Signal(sig) // it may have ended this moment
		}
	}
}

// run measures every case against every peer. It leaves no container, cgroup, process or file behind.
func run(opts options) (err error) {
	// Slave comes first: without it the unmount below would reach the machine's own namespace.
	if err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make / a slave mount: %w", err)
	}
	if err = unix.Unmount(unifiedMount, 0); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s in this namespace: %w", unifiedMount, err)
	}
	// runc goes on to use the folder as if it were a cgroup: what it makes there must vanish with this namespace.
	if err = unix.Mount("tmpfs", unifiedMount, "tmpfs", 0, ""); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("mount tmpfs on %s: %w", unifiedMount, err)
	}
	if err = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	bench, err := newBench(opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bench.close()) }()
	bench.printHeader()
	for _, peer := range opts.peers {
		for _, name := range opts.cases {
			if name == memoryCase {
				continue
			}
			if err := bench.compare(name, peer); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if slices.Contains(opts.cases, memoryCase) {
		return bench.memoryLimits()
	}
	return nil
}
