package main

import "github.com/urfave/cli/v2"

func (p *program) pauseCommand() *cli.Command {
	return &cli.Command{
		Name:            "pause",
		Usage:           "suspend every process of a container",
		ArgsUsage:       "CONTAINER",
		HideHelpCommand: true,
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1); err != nil {
				return err
			}
			return p.runtime.Pause(c.Args().First())
		},
	}
}
