package main

import (
	"os"

	"github.com/urfave/cli/v2"

	"github.com/gantry-containers/gantry/libcontainer"
	"github.com/gantry-containers/gantry/libcontainer/fault"
)

func (p *program) planCommand() *cli.Command {
	return &cli.Command{
		Name:      "plan",
		Usage:     "show what create would do for a bundle, step by step",
		ArgsUsage: "[CONTAINER]  |  --diff OLD-BUNDLE NEW-BUNDLE",
		Description: `Each step names the field of config.json that it comes from. Nothing is changed;
values of environment variables are hidden unless asked for.

With --diff it shows what changes between two bundles: - removed, + added, ~ changed and
> moved steps, with their numbers in both plans. The exit code is 0 when nothing changes,
1 when something does, and 2 for an error.`,
		HideHelpCommand: true,
		Flags: []cli.Flag{
			bundleFlag(),
			&cli.StringFlag{Name: "config", Usage: "`FILE` to read instead of the bundle's config.json"},
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Value: "text", Usage: "`text` or json"},
			boolFlag("compare the plans of two bundles", "diff"),
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
	if c.Bool("diff") {
		return p.planDiff(c)
	}
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

// troubleStatus is the exit code of a comparison that failed, as diff(1) has it; 1 says
// that there are differences.
const troubleStatus = 2

func (p *program) planDiff(c *cli.Context) error {
	if err := wantArgs(c, 2, 2); err != nil {
		return &exitError{err, troubleStatus}
	}
	p.decideRootless()
	p.runtime.Warn = p.log.warning
	equal, err := p.diffBundles(c)
	if err != nil {
		return &exitError{err, troubleStatus}
	}
	if !equal {
		p.status = 1
	}
	return nil
}

func (p *program) diffBundles(c *cli.Context) (equal bool, err error) {
	var sides [2]*libcontainer.CreateOptions
	for i := range sides {
		if sides[i], err = createOptions(c); err != nil {
			return false, err
		}
		sides[i].ID = planID
		if sides[i].Bundle, err = absolute(c.Args().Get(i)); err != nil {
			return false, fault.FlagFailed.At("--diff", err)
		}
	}
	return p.runtime.PlanDiff(sides[0], sides[1], os.Stdout, c.String("format"), c.Bool("show-env"))
}
