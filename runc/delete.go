package main

import "github.com/urfave/cli/v2"

func (p *program) deleteCommand() *cli.Command {
	return &cli.Command{
		Name:            "delete",
		Usage:           "remove what is left of a stopped or only created container",
		ArgsUsage:       "CONTAINER",
		HideHelpCommand: true,
		Flags: []cli.Flag{
			boolFlag("kill a running container first; a missing one is no error", "force", "f"),
		},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1); err != nil {
				return err
			}
			p.runtime.Warn = p.log.warning
			return p.runtime.Delete(c.Args().First(), c.Bool("force"))
		},
	}
}
