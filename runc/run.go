package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/gantry-containers/gantry/libcontainer"
)

func (p *program) runCommand() *cli.Command {
	return &cli.Command{
		Name:            "run",
		Usage:           "create and start a container, wait for its end and delete it",
		ArgsUsage:       "CONTAINER",
		Description:     "The exit code is the container's, or 128 plus the number of the signal that ended it.",
		HideHelpCommand: true,
		Flags: append(containerFlags(),
			boolFlag("return once the process runs", "detach", "d"),
			boolFlag("don't delete the container at its end", "keep"),
			boolFlag("don't adopt the orphans of the container", "no-subreaper"),
		),
		Action: p.runContainer,
	}
}

func (p *program) runContainer(c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	options, err := createOptions(c)
	if err == nil {
		p.decideRootless()
		p.runtime.Warn = p.log.warning
		options.Detach = c.Bool("detach")
		options.Keep = c.Bool("keep")
		options.NoSubreaper = c.Bool("no-subreaper")
		p.status, err = p.runtime.Run(options)
	}
	if err == nil {
		return nil
	}
	line := libcontainer.NotExecuted(err)
	err = fmt.Errorf(compatRunFailed, err)
	if line != "" && !c.Bool("detach") { // in runc it is the container's own process that says it, on its stderr
		return &spokenError{err, line}
	}
	return err
}
