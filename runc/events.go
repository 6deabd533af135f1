package main

import (
	"errors"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer"
)

func (p *program) eventsCommand() *cli.Command {
	return &cli.Command{
		Name:      "events",
		Usage:     "print statistics and out-of-memory events of a container",
		ArgsUsage: "CONTAINER",
		Description: `One JSON object a line: {"type":"stats",…} each interval, {"type":"oom",…} when it
happens. It ends when the container stops.`,
		HideHelpCommand: true,
		Flags: []cli.Flag{
			&cli.DurationFlag{Name: "interval", Value: 5 * time.Second, Usage: "`TIME` between statistics"},
			boolFlag("print the statistics once", "stats"),
		},
		Action: p.events,
	}
}

func (p *program) events(c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	id := c.Args().First()
	// A wrong id is the more useful thing to say than a wrong interval.
	if _, err := p.runtime.State(id); err != nil {
		return err
	}
	interval := c.Duration("interval")
	if interval <= 0 {
		return errors.New(compatInterval)
	}
	p.runtime.Warn = p.log.warning
	if c.Bool("stats") {
		e, err := p.runtime.Stats(id)
		if err != nil {
			return err
		}
		return printEvent(e)
	}
	return p.runtime.Events(id, interval, printEvent)
}

func printEvent(e *libcontainer.Event) error {
	return writeAll(unix.Stdout, append(e.AppendJSON(nil), '\n'))
}
