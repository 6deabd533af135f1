package main

import (
	"os"

	"github.com/urfave/cli/v2"
)

func (p *program) planCommand() *cli.Command {
	return &cli.Command{
		Name:      "plan",
		Usage:     "show what create would do for a bundle, step by step",
		ArgsUsage: "[CONTAINER]",
		Description: `Each step names the field of config.json that it comes from. Nothing is changed;
values of environment variables are hidden unless asked for.`,
		HideHelpCommand: true,
		Flags: []cli.Flag{
			bundleFlag(),
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Value: "text", Usage: "`text` or json"},
			boolFlag("print the values of environment variables", "show-env"),
			boolFlag("plan for create --no-pivot", "no-pivot"),
			boolFlag("plan for create --no-new-keyring", "no-new-keyring"),
		},
		Action: p.plan,
	}
}

// planID stands for the container that is never made.
const planID = "plan"

func (p *program) plan(c *cli.Context) error {
	if err := wantArgs(c, 0, 1); err != nil {
		return err
	}
	options, err := createOptions(c)
	if err != nil {
		return err
	}
	if options.ID == "" {
		options.ID = planID
	}
	p.decideRootless()
	p.runtime.Warn = p.log.warning
	return p.runtime.Plan(options, os.Stdout, c.String("format"), c.Bool("show-env"))
}
