package main

import "github.com/urfave/cli/v2"

func (p *program) resumeCommand() *cli.Command {
	return &cli.Command{
		Name:            "resume",
		Usage:           "continue every process of a paused container",
		ArgsUsage:       "CONTAINER",
		HideHelpCommand: true,
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1); err != nil {
				return err
			}
			return p.runtime.Resume(c.Args().First())
		},
	}
}
