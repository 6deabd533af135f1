package main

import (
	"github.com/urfave/cli/v2"

	"github.com/gantry-containers/gantry/libcontainer/fault"
)

func (p *program) mountsCommand() *cli.Command {
	return &cli.Command{
		Name:      "mounts",
		Usage:     "add mounts to a running container, or remove them",
		ArgsUsage: "add|remove CONTAINER FILE",
		Description: `FILE holds a JSON array like mounts of config.json; of mounts to remove only the
destination counts. No destination may lead through a symlink, which a running
container could change. If one mount can't be added, none is.`,
		HideHelpCommand: true,
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 3, 3); err != nil {
				return err
			}
			id, file := c.Args().Get(1), c.Args().Get(2)
			switch verb := c.Args().First(); verb {
			case "add":
				return p.runtime.AddMounts(id, file)
			case "remove":
				return p.runtime.RemoveMounts(id, file)
			default:
				return fault.Usage.Errorf("%q is neither add nor remove", verb)
			}
		},
	}
}
