package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

func (p *program) createCommand() *cli.Command {
	return &cli.Command{
		Name:            "create",
		Usage:           "make a container whose process waits for start",
		ArgsUsage:       "CONTAINER",
		Description:     "Everything but the execution of process.args is done when create returns.",
		HideHelpCommand: true,
		Flags:           containerFlags(),
		Action:          p.create,
	}
}

func (p *program) create(c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	options, err := createOptions(c)
	if err == nil {
		p.decideRootless()
		p.runtime.Warn = p.log.warning
		options.Detach = true
		err = p.runtime.Create(options)
	}
	if err != nil {
		return fmt.Errorf(compatCreateFailed, err)
	}
	return nil
}
