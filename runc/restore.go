package main

import (
	"github.com/urfave/cli/v2"

	"github.com/gantry-containers/gantry/libcontainer"
)

func (p *program) restoreCommand() *cli.Command {
	return &cli.Command{
		Name:            "restore",
		Usage:           "make a container from the files of a checkpoint",
		ArgsUsage:       "CONTAINER",
		Description:     "Without --detach it waits for the container's end and deletes it, as run does. Needs criu.",
		HideHelpCommand: true,
		Flags: append(criuFlags(),
			bundleFlag(),
			&cli.StringFlag{Name: "console-socket", Usage: "unix `SOCKET` that receives the master of the process's terminal"},
			&cli.StringFlag{Name: "pid-file", Usage: "write the process id to `FILE`"},
			boolFlag("return once the processes run", "detach", "d"),
			boolFlag("don't adopt the orphans of the container", "no-subreaper"),
			boolFlag("accepted; CRIU decides how the root is entered", "no-pivot"),
			boolFlag("restore open TCP connections closed", "tcp-close"),
			&cli.StringFlag{Name: "lsm-profile", Usage: "run confined by `TYPE:NAME` (apparmor or selinux) instead of as dumped"},
			&cli.StringFlag{Name: "lsm-mount-context", Usage: "SELinux `CONTEXT` of the mounts instead of the dumped one"},
		),
		Action: p.restore,
	}
}

func (p *program) restore(c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	create, err := createOptions(c)
	if err != nil {
		return err
	}
	o := &libcontainer.RestoreOptions{
		CreateOptions:   *create,
		TCPClose:        c.Bool("tcp-close"),
		LSMProfile:      c.String("lsm-profile"),
		LSMMountContext: c.String("lsm-mount-context"),
	}
	o.Detach = c.Bool("detach")
	o.NoSubreaper = c.Bool("no-subreaper")
	if o.CriuOptions, err = criuOptions(c); err != nil {
		return err
	}
	p.decideRootless()
	p.runtime.Warn = p.log.warning
	p.status, err = p.runtime.Restore(o)
	return err
}
