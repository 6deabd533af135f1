package main

import (
	"errors"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/gantry-containers/gantry/libcontainer"
	"github.com/gantry-containers/gantry/libcontainer/fault"
)

// program is one call of the command line: what the global flags say, and what it ends with.
type program struct {
	log     logger
	runtime libcontainer.Runtime
	// rootGiven says that --root was on the command line.
	rootGiven bool
	// rootless is --rootless, read by the commands that make processes.
	rootless string
	// acting says that the command line was understood and its command has begun.
	acting bool
	// status is the exit code of a call without error: run and exec pass on the container's.
	status int
}

// run parses argv, does what it asks for and returns the exit code.
func (p *program) run(argv []string) int {
	cli.VersionPrinter = printVersion
	err := p.parse(argv)
	if err == nil {
		return p.status
	}
	if errors.Is(err, libcontainer.ErrNoExeSwap) {
		err = errors.Join(err, runSealed(argv))
	}
	if !p.acting && libcontainer.Diagnose(err).Code == fault.Internal {
		err = fault.Usage.Of("", err) // what cli says of a command line
	}
	p.log.failure(err)
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		return coded.ExitCode()
	}
	return 1
}

func (p *program) parse(argv []string) error {
	globals := globalFlags()
	at := commandIndex(globals, argv)
	name := ""
	if at < len(argv) {
		name = argv[at]
	}
	app := p.app(name)
	app.Flags = globals
	if command := app.Command(name); command != nil {
		argv = permute(command, argv, at)
		action := command.Action
		command.Action = func(c *cli.Context) error {
			p.acting = true
			return action(c)
		}
	}
	return app.Run(argv)
}

// app is the command line with the one command that is called, or with all of them
// when it is none: describing 16 commands takes longer than running most.
func (p *program) app(only string) *cli.App {
	return &cli.App{
		Name:        "runc",
		HelpName:    "runc",
		Usage:       "Open Container Initiative runtime",
		Description: appDescription,
		Version:     version,
		// The slices of flags are one value per flag: --env A=1,2 is one variable.
		DisableSliceFlagSeparator: true,
		// Zero would make cli look up the age of the binary.
		Compiled: time.Unix(1, 0),
		// Errors are reported, and the process ended, in one place: run.
		ExitErrHandler: func(*cli.Context, error) {},
		Before:         p.before,
		Commands:       p.commands(only),
	}
}

const appDescription = `runc makes containers from bundles. A bundle is a directory with a config.json
and, usually, the root file system that it names.

   runc spec                    writes a config.json to start from
   runc plan                    shows what would be done for it, step by step
   runc run CONTAINER           makes the container, runs it, removes it

   runc create, start, kill and delete are the same in the four parts that
   engines call.`

func (p *program) commands(only string) []*cli.Command {
	var all []*cli.Command
	for _, c := range []struct {
		name     string
		describe func() *cli.Command
	}{
		{"checkpoint", p.checkpointCommand},
		{"completion", p.completionCommand},
		{"create", p.createCommand},
		{"delete", p.deleteCommand},
		{"events", p.eventsCommand},
		{"exec", p.execCommand},
		{"features", p.featuresCommand},
		{"kill", p.killCommand},
		{"list", p.listCommand},
		{"mounts", p.mountsCommand},
		{"pause", p.pauseCommand},
		{"plan", p.planCommand},
		{"ps", p.psCommand},
		{"restore", p.restoreCommand},
		{"resume", p.resumeCommand},
		{"run", p.runCommand},
		{"spec", p.specCommand},
		{"start", p.startCommand},
		{"state", p.stateCommand},
		{"update", p.updateCommand},
	} {
		if c.name == only {
			return []*cli.Command{c.describe()}
		}
		all = append(all, c.describe())
	}
	return all
}
