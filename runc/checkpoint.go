package main

import (
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/gantry-containers/gantry/libcontainer"
	"github.com/gantry-containers/gantry/libcontainer/fault"
)

func (p *program) checkpointCommand() *cli.Command {
	return &cli.Command{
		Name:            "checkpoint",
		Usage:           "write a running container to files",
		ArgsUsage:       "CONTAINER",
		Description:     "The container is ended and deleted, unless it is to run on. Needs criu.",
		HideHelpCommand: true,
		Flags: append(criuFlags(),
			&cli.StringFlag{Name: "parent-path", Usage: "`DIR` of an earlier pre-dump, relative to --image-path"},
			boolFlag("dump memory only and let the container run on", "pre-dump"),
			boolFlag("let the container run on", "leave-running"),
			boolFlag("leave out TCP connections that are being opened", "tcp-skip-in-flight"),
			boolFlag("allow files that were unlinked", "link-remap"),
			&cli.StringFlag{Name: "page-server", Usage: "send memory to `ADDRESS:PORT` instead of into files"},
			&cli.IntFlag{Name: "status-fd", Value: -1, Usage: "with --lazy-pages, write to descriptor `FD` when memory is served", DefaultText: "none"},
		),
		Action: p.checkpoint,
	}
}

func (p *program) checkpoint(c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	o := &libcontainer.CheckpointOptions{
		ID:              c.Args().First(),
		ParentPath:      c.String("parent-path"),
		PreDump:         c.Bool("pre-dump"),
		LeaveRunning:    c.Bool("leave-running"),
		TCPSkipInFlight: c.Bool("tcp-skip-in-flight"),
		LinkRemap:       c.Bool("link-remap"),
		StatusFD:        c.Int("status-fd"),
	}
	var err error
	if o.CriuOptions, err = criuOptions(c); err != nil {
		return err
	}
	if o.PageServer, o.PageServerPort, err = pageServer(c.String("page-server")); err != nil {
		return err
	}
	p.runtime.Warn = p.log.warning
	return p.runtime.Checkpoint(o)
}

// pageServer splits ADDRESS:PORT; an IPv6 address may be in brackets.
func pageServer(value string) (address string, port int, err error) {
	if value == "" {
		return "", 0, nil
	}
	i := strings.LastIndexByte(value, ':')
	if i > 0 {
		address = strings.TrimSuffix(strings.TrimPrefix(value[:i], "["), "]")
		port, err = strconv.Atoi(value[i+1:])
	}
	if address == "" || err != nil || port < 1 || port > 65535 {
		return "", 0, fault.Usage.Atf("--page-server", "%q is not ADDRESS:PORT", value)
	}
	return address, port, nil
}
