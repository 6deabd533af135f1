package main

import (
	"os"

	"github.com/urfave/cli/v2"
)

func (p *program) startCommand() *cli.Command {
	return &cli.Command{
		Name:            "start",
		Usage:           "let a created container execute its program",
		ArgsUsage:       "CONTAINER",
		HideHelpCommand: true,
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1); err != nil {
				return err
			}
			p.runtime.Warn = p.log.warning
			return p.runtime.Start(c.Args().First(), os.Getenv("NOTIFY_SOCKET"))
		},
	}
}
