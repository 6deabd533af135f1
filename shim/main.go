// Go's runtime would keep two descriptors of the daemon's cgroup open, to follow its CPU limit, and read the
// whole table of mounts at each start to find them.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command containerd-shim-gantry-v2 is containerd's shim: it runs one container or the containers of one pod, by an
// OCI runtime's binary. containerd starts it for the runtime io.containerd.gantry.v2.
package main

import (
	"fmt"
	"os"
)

// The names of the program and of the runtime that it is for containerd.
const (
	name        = "containerd-shim-gantry-v2"
	runtimeName = "io.containerd.gantry.v2"
)

// version and commit are set by the build.
var version, commit = "unknown", "unknown"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// run does what a daemon asks for: information, an action, or, without any, the work itself.
func run(args []string) error {
	f, err := parse(args)
	switch {
	case err != nil:
		return err
	case f.version:
		return printVersion(os.Stdout)
	case f.info:
		return info(os.Stdin, os.Stdout)
	}
	if err := f.check(); err != nil {
		return err
	}
	switch f.action {
	case "start":
		return start(f)
	case "delete":
		return remove(f)
	case "deliver":
		return deliver(f)
	case "", "serve":
		return serve(f)
	}
	return fmt.Errorf("unknown action %q: want start, delete or none", f.action)
}
