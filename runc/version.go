package main

import (
	"fmt"
	"runtime"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"

	"github.com/gantry-containers/gantry/libcontainer/seccomp"
)

// printVersion answers --version. go-runc reads the first line, moby that and the
// commit; the rest is for people.
func printVersion(c *cli.Context) {
	out := c.App.Writer
	fmt.Fprintf(out, "runc version %s\n", version)
	if commit != "" {
		fmt.Fprintf(out, "commit: %s\n", commit)
	}
	fmt.Fprintf(out, "spec: %s\ngo: %s\n", specs.Version, runtime.Version())
	if libseccomp := libseccompVersion(); libseccomp != "" {
		fmt.Fprintf(out, "libseccomp: %s\n", libseccomp)
	}
}

// libseccompVersion is "" in a build without the seccomp compiler.
func libseccompVersion() string {
	text, err := seccomp.LibseccompVersion()
	if err != nil {
		return ""
	}
	return text
}
