package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/gantry-containers/gantry/libcontainer/fault"
)

// wantArgs checks the number of a command's arguments. What it refuses is answered as
// real runc does: help on stdout, the error through the log.
func wantArgs(c *cli.Context, least, most int) error {
	n, name := c.NArg(), c.Command.Name
	var err error
	switch {
	case least == most && n != least:
		err = fmt.Errorf(compatArgsExact, name, least)
	case n < least:
		err = fmt.Errorf(compatArgsMin, name, least)
	case n > most:
		err = fmt.Errorf(compatArgsMax, name, most)
	default:
		return nil
	}
	fmt.Fprint(c.App.Writer, "Incorrect Usage.\n\n")
	_ = cli.ShowSubcommandHelp(c) // a help that can't be written changes nothing
	return fault.Usage.Of("", err)
}

// anyNumber is the upper bound of commands that pass arguments on.
const anyNumber = 1 << 30
