// Go's runtime would keep two descriptors of the caller's cgroup open, to follow its CPU
// limit. This program is over before that matters, and must pass on no descriptor.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command runc is an OCI runtime: the command line over package libcontainer.
//
// It answers as the well-known runc does, because engines parse its answers:
// flags and their positions, exit codes, output shapes, the log and the frozen
// texts of compat.go. One file is one command.
package main

import (
	"os"

	"github.com/gantry-containers/gantry/libcontainer/copyup"
)

// Set by the linker: -X main.version=… -X main.commit=….
var (
	version = "0.1.0-dev"
	commit  = ""
)

func main() {
	if len(os.Args) > 0 && os.Args[0] == copyup.Name {
		os.Exit(copyup.Main(os.Args))
	}
	calmSysmon()
	os.Exit(new(program).run(os.Args))
}
