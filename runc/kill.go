package main

import (
	"errors"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer"
	"github.com/gantry-containers/gantry/libcontainer/fault"
)

func (p *program) killCommand() *cli.Command {
	return &cli.Command{
		Name:            "kill",
		Usage:           "send a signal (default: SIGTERM) to the container's first process",
		ArgsUsage:       "CONTAINER [SIGNAL]",
		HideHelpCommand: true,
		Flags: []cli.Flag{
			// Obsolete, yet containerd's shim, podman and CRI-O still send it.
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Hidden: true},
		},
		Action: p.kill,
	}
}

func (p *program) kill(c *cli.Context) error {
	if err := wantArgs(c, 1, 2); err != nil {
		return err
	}
	signal := unix.SIGTERM
	if name := c.Args().Get(1); name != "" {
		var err error
		if signal, err = parseSignal(name); err != nil {
			return err
		}
	}
	all := c.Bool("all")
	err := p.runtime.Kill(c.Args().First(), signal, all)
	if all && errors.Is(err, libcontainer.ErrNotRunning) {
		return nil
	}
	return err
}

// lastSignal is the kernel's _NSIG, signal(7).
const lastSignal = 64

// parseSignal reads a number, or a name with or without SIG, in any case.
func parseSignal(s string) (unix.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 0 || n > lastSignal {
			return 0, fault.Usage.Errorf(compatSignal, s)
		}
		return unix.Signal(n), nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	n := unix.SignalNum(name)
	if n == 0 {
		return 0, fault.Usage.Errorf(compatSignal, s)
	}
	return n, nil
}
