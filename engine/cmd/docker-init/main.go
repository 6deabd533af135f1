// Command docker-init is the first process of containers that were made with --init, for machines that have no other.
package main

import (
	"fmt"
	"os"

	"github.com/gantry-containers/gantry/engine/pid1"
)

// version is set by the build.
var version = "unknown"

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Fprintln(os.Stdout, "docker-init version", version, "(Gantry)")
		return
	}
	os.Exit(pid1.Main(os.Args[1:], os.Stderr)) //nolint:forbidigo // this is main
}
